"""The training loop: one function, read top to bottom. No callbacks; hooks are arguments."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ..contracts import Method
from ..diagnostics.health import Health
from ..diagnostics.radar import Alarm, Radar
from ..diagnostics.reading import Reading
from ..errors import CollapseError, ConfigError, require
from ..functional.order import order
from ..functional.schedule import progress
from ..parallel import rank, ranks
from ..randomness import Random
from ..types import Batch
from .distribute import averaged, last_only, objective
from .examiner import Examiner, finite_rows
from .feed import Dataset, feed, to
from .log import Row, readings
from .optim import Optim, optimizer_of, schedule
from .precision import Precision, autocast, resolve
from .record import Identity, Progress, Record, flat, go_back

log = logging.getLogger("armillary.training")

EXAMINED = 150  # rows trained on per row examined; an examination costs up to 1.1 times a row's training (I-JEPA)
CONTINUE = "Change what usually causes it and start again, or go on with --resume --loop.on-alarm warn"
RATES = ("lr", "start_lr", "final_lr")
EVERY, FEWEST, MOST = 75, 32, 512  # steps from one examination to the next if they are to cost no more; rows of one


@dataclass(frozen=True)
class Loop:
    """How a run is carried out; nothing here is part of what is learned, save the precision and the micro-batches."""

    precision: Precision = "auto"
    """bfloat16 where the machine computes in it, or one of the two by force"""
    accumulate: int = 1
    """micro-batches whose gradients make one step"""
    log_every: int = 20
    """steps from one row of log.jsonl to the next"""
    save_every: int = 500
    """steps from one checkpoint to the next; one is also saved at the start, at the end and on SIGTERM or Ctrl-C"""
    keep: int = 2
    """newest checkpoints that are kept, 2 or more"""
    skip_limit: int = 10
    """non-finite steps in a row after which the run stops"""
    diagnose_every: int = 0
    """steps from one examination of the representations to the next; 0 keeps it below 1 % of the time"""
    monitor: int = 0
    """rows that are examined, the same ones each time; 0 takes what 1 % of the time allows every 75 steps, 32 to 512"""
    on_alarm: Literal["warn", "stop", "roll_back"] = "warn"
    """an alarm of the radar only warns; or saves and ends the run; or goes back to before it, with a lower rate"""
    roll_back_lr: float = 0.5
    """factor of the learning rate at each roll-back"""
    roll_backs: int = 2
    """how often a run goes back before it ends"""
    threads: int = 0
    """threads of torch; 0 leaves them as they are"""
    tensorboard: bool = False
    """also write the log for TensorBoard"""

    def __post_init__(self) -> None:
        least = {"accumulate": 1, "log_every": 1, "save_every": 1, "keep": 2, "skip_limit": 1, "diagnose_every": 0}
        least |= {"monitor": 2 if self.monitor else 0, "threads": 0, "roll_backs": 0}
        require(0, 1, roll_back_lr=self.roll_back_lr)
        wrong = [
            f"{name} is {getattr(self, name)}, at least {low}"
            for name, low in least.items()
            if getattr(self, name) < low
        ]
        if wrong:
            raise ConfigError(f"{'; '.join(wrong)} is allowed")


@dataclass(frozen=True)
class Outcome:
    """What a run came to. Durations and counts include what was done before it was resumed.

    steps:    the last step done. stopped: the signal that ended it early ("SIGTERM", "SIGINT"), else ""; the command
              line then exits with 128 + the signal's number: 143 or 130.
    resumed:  the step it went on from, 0 for a new run. damaged: sentences about checkpoints that were passed over.
    skipped:  steps that were not finite and changed nothing. health: what the radar said last, None if it saw nothing.
    """

    steps: int
    samples: int
    seconds: float
    cpu_seconds: float
    skipped: int
    parameters: int
    precision: str
    health: Health | None
    resumed: int = 0
    stopped: str = ""
    damaged: tuple[str, ...] = ()


def train(
    method: Method,
    dataset: Dataset,
    steps: int,
    batch: int,
    optim: Optim = Optim(),  # noqa: B008 (frozen)
    loop: Loop = Loop(),
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    on_log: Callable[[Row], None] | None = None,
) -> Outcome:
    """Train `method` on its device, and leave it in evaluation mode.

    Everything random is a function of (seed, step, row), so a resumed run on a CPU with as many threads and processes
    is the uninterrupted one to the last bit. SIGTERM and Ctrl-C end it after the step under way, with a checkpoint; a
    second Ctrl-C does not wait.

    Args:
        batch: rows in a step, over all processes and micro-batches.
        folder: the run folder, which receives log.jsonl and checkpoints; None writes nothing.
        resume: go on from the newest checkpoint in `folder`, which must then have one; must have none otherwise.
        on_log: called with each row of the log, on rank 0.
    Raises:
        CheckpointError: `resume` does not fit `folder`, its checkpoint belongs to another run, or writing failed; no
            checkpoint is left to roll back to.
        CollapseError: `loop.skip_limit` steps in a row were not finite, or an alarm ended the run.
        ConfigError: impossible batch or precision; rolling back without a folder.
    """
    if loop.on_alarm == "roll_back" and folder is None:
        raise ConfigError("loop.on_alarm roll_back needs a run folder: checkpoints are what it goes back to")
    scale: float | None = None
    signals = Signals()  # one that comes while a run goes back must not be lost
    for left in range(loop.roll_backs, -1, -1):
        try:
            return _fit(method, dataset, steps, batch, optim, loop, seed, folder, resume, on_log, scale, signals)
        except CollapseError as error:
            if loop.on_alarm != "roll_back" or folder is None or not left or not error.since:
                raise
            step = go_back(folder, error.since, next(method.parameters()).device)
            resume, scale = True, error.scale * loop.roll_back_lr
            if rank() == 0:
                log.warning("back to step %s, at %g of the learning rate", f"{step:,}", scale)
    raise AssertionError("the last round returns or raises")


def _fit(
    method: Method,
    dataset: Dataset,
    steps: int,
    batch: int,
    optim: Optim,
    loop: Loop,
    seed: int,
    folder: Path | None,
    resume: bool,
    on_log: Callable[[Row], None] | None,
    scale: float | None,
    signals: Signals,
) -> Outcome:
    """`train` once; scale: factor of the learning rate from here on, None for that of the checkpoint."""
    device = next(method.parameters()).device
    precision = resolve(loop.precision, device)
    optimizer = optimizer_of(method, optim)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    identity = _identity(method, len(dataset), steps, batch, optim, loop, seed, precision)
    record = Record(folder, method, optimizer, identity, loop.keep)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_threads(loop.threads))
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        done = stack.enter_context(record.opened(resume, loop.tensorboard))
        done.scale = done.scale if scale is None else scale
        optim = replace(optim, **{name: getattr(optim, name) * done.scale for name in RATES})
        stack.enter_context(signals)
        began, began_cpu = time.perf_counter() - done.seconds, time.process_time() - done.cpu_seconds
        batches = feed(dataset, batch, seed, range(done.step + 1, steps + 1), loop.accumulate)
        rows = loop.monitor or min(MOST, max(FEWEST, batch * EVERY // EXAMINED))
        examiner = Examiner(dataset, rows, max(1, batch // ranks() // loop.accumulate), seed)
        diagnose_every = loop.diagnose_every or math.ceil(EXAMINED * examiner.rows / batch)
        radar = Radar(readings(folder) if folder and resume else ())
        model, buffers = objective(method.train()), Buffers(method)
        resumed, logged, since, stopped, alarmed = done.step, done.step, time.perf_counter(), "", []

        for step, parts in enumerate(batches, done.step + 1):
            rate, decay = schedule(optimizer, optim, step, steps)
            torch.manual_seed(_step_seed(seed, step))  # for dropout; all else is drawn from `Random`
            total = torch.zeros(1, device=device)
            for i, raw in enumerate(parts):
                ready = dataset.prepare(to(raw, device))
                with last_only(model, i == len(parts) - 1):
                    with autocast(precision, device):
                        energy, terms = model(ready, Random(seed, step, ready["index"]))
                    (energy / loop.accumulate).backward()
                total = total + torch.stack([energy, *terms.values()]).detach().float() / loop.accumulate
            norm = get_total_norm([p.grad for p in trained if p.grad is not None])
            flag = torch.tensor([float(signals.name != "")], device=device)
            numbers = averaged(torch.cat([total, norm[None], flag])).tolist()  # the one wait for the device in a step
            mean_energy, *mean_terms, gradient_norm, stop = numbers
            named, done.step = dict(zip(terms, mean_terms, strict=True)), step

            if all(map(math.isfinite, numbers)):
                if optim.clip:
                    clip_grads_with_norm_(trained, optim.clip, norm)
                optimizer.step()
                method.after_step(progress(step, steps, optim.stretch))
                buffers.keep()
                done.in_a_row = 0
            else:  # neither weights nor moments nor teacher move; statistics that the forward pass moved go back
                buffers.put_back()
                done.skipped, done.in_a_row = done.skipped + 1, done.in_a_row + 1
                said = f"energy {mean_energy}, gradient norm {gradient_norm}, terms {named}"
                index = order(seed, len(dataset), (step - 1) * batch, batch)
                _refuse(f"step {step} is not finite: {said}", index, _broken(dataset, parts), done, loop.skip_limit)
            optimizer.zero_grad(set_to_none=True)
            done.seconds, done.cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu

            last = step == steps
            examined = last or step % diagnose_every == 0
            if examined or step == 1 or step % loop.log_every == 0:
                reading = examiner.reading(method, precision, step) if examined else None
                raised = radar.add(reading) if reading else []
                row: Row = {"step": step, "energy": mean_energy, "terms": named}
                row |= {"learning_rate": rate, "weight_decay": decay, "gradient_norm": gradient_norm}
                row |= {"samples_per_second": (step - logged) * batch / (time.perf_counter() - since)}
                row |= {"seconds": done.seconds, "skipped": done.skipped}
                row |= _seen(reading, radar.verdict, raised) if reading else {}
                alarmed = raised if loop.on_alarm != "warn" else []
                record.write(row)
                if on_log and rank() == 0:
                    on_log(row)
                logged, since = step, time.perf_counter()
            if last or stop or step % loop.save_every == 0 or (alarmed and loop.on_alarm == "stop"):
                done.judge(radar)
                record.save(done)
            if alarmed and not stop and (not last or loop.on_alarm == "roll_back"):
                raise _ended(alarmed, done, loop)
            if stop and not last:
                stopped = signals.name or "SIGTERM"  # another process was told
                break
    health = Health.of(radar)
    if health and not stopped:  # once more, of as many rows as a report deserves
        examiner = Examiner(dataset, loop.monitor or MOST, max(1, batch // ranks() // loop.accumulate), seed)
        health = replace(health, reading=examiner.reading(method, precision, done.step) or health.reading)
    method.eval()
    parameters = sum(p.numel() for p in trained)
    return Outcome(
        done.step, done.step * batch, done.seconds, done.cpu_seconds, done.skipped, parameters, precision, health,
        resumed, stopped, tuple(record.damaged),
    )  # fmt: skip


def _seen(reading: Reading, verdict: str, raised: list[Alarm]) -> Row:
    """What a row of the log tells of a reading; alarms that it raised are warned of."""
    for alarm in raised:
        log.warning("step %s: %s", f"{reading.step:,}", alarm.sentence())
    row: Row = {"diagnostics": dict(reading.numbers), "verdict": verdict, "spectrum": reading.by_rank()}
    return row | ({"alarms": [alarm.row() for alarm in raised]} if raised else {})


def _ended(alarms: list[Alarm], done: Progress, loop: Loop) -> CollapseError:
    """What ends a run, or takes it back."""
    said = "; ".join(f"{alarm.title} since step {alarm.since:,}: {alarm.seen}" for alarm in alarms)
    saved = "stopped, with a checkpoint" if loop.on_alarm == "stop" else f"after {loop.roll_backs} roll-backs"
    error = CollapseError(f"step {done.step:,}: {said} ({saved}). {CONTINUE}")
    error.since, error.scale = min(alarm.since for alarm in alarms), done.scale
    return error


class Signals:
    """SIGTERM and SIGINT are noted, not obeyed; a second one does what it did before. Inert outside the main thread."""

    def __init__(self) -> None:
        self.name = ""
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        log.warning("%s: stopping after this step, with a checkpoint", self.name)
        self.__exit__()


class Buffers:
    """The buffers of a module as they were after the last good step."""

    def __init__(self, module: nn.Module):
        self._own = list(module.buffers())
        self._kept = [b.clone() for b in self._own]

    def keep(self) -> None:
        """Remember them as they are."""
        if self._own:
            torch._foreach_copy_(self._kept, self._own)

    def put_back(self) -> None:
        """Make them what they were."""
        if self._own:
            torch._foreach_copy_(self._own, self._kept)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Torch with `count` threads; 0 changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _step_seed(seed: int, step: int) -> int:
    """For torch's global generator: a function of (seed, step, rank)."""
    return int(Random(seed, step, torch.tensor([rank()])).bits("torch", 1))


def _identity(
    method: Method, rows: int, steps: int, batch: int, optim: Optim, loop: Loop, seed: int, precision: str
) -> Identity:
    fixed = flat("method", getattr(method, "config", None)) | {"method": type(method).__name__}
    fixed |= flat("seed", seed) | flat("batch", batch) | flat("rows", rows) | flat("loop.accumulate", loop.accumulate)
    settings = flat("steps", steps) | flat("optim", optim) | {"precision": precision, "processes": str(ranks())}
    return Identity(
        fixed, settings | {"threads": str(loop.threads or torch.get_num_threads()), "torch": torch.__version__}
    )


def _broken(dataset: Dataset, parts: list[Batch]) -> list[int]:
    """The rows of this rank whose input is not finite."""
    ready = [dataset.prepare(raw) for raw in parts]
    return [int(i) for batch in ready for i in batch["index"][~finite_rows(batch)]]


def _refuse(what: str, index: Int64[Tensor, " B"], broken: list[int], done: Progress, limit: int) -> None:
    """Report a step that was skipped, or stop.

    Raises:
        CollapseError: it was the last that is allowed in a row.
    """
    cause = f"input that is not finite in rows {broken}" if broken else "every input is finite"
    if done.in_a_row < limit:
        log.warning("%s; %s; skipped (%d so far)", what, cause, done.skipped)
        return
    remedy = "mend these rows" if broken else "lower the learning rate, clip the gradient, or use precision fp32"
    raise CollapseError(
        f"{what}, which makes {limit} such steps in a row. The batch is rows {index.tolist()} of the data set; "
        f"{cause}. Weights and checkpoints are as before these steps: {remedy}, then continue with --resume"
    )
