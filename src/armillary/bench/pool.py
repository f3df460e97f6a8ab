"""Processes side by side: each does one job, and its row is kept as soon as it is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..recipes.run import Json, write_json
from . import rows
from .contenders import PIXELS, Contender
from .flops import affordable
from .jobs import Job, Terms, best, known, pending, total, tries
from .splits import Splits
from .worker import Order

PAUSE = 0.1  # seconds between looks at the processes
LAST = 2000  # characters of what a failed process said, at most
Ready = Callable[["State"], None]


@dataclass
class Running:
    """A process at work."""

    job: Job
    process: subprocess.Popen[bytes]
    begun: float
    weight: float


@dataclass
class State:
    """Where a comparison stands. done, all: work in units of one full training; failures: of this call."""

    rows: dict[str, Json]
    running: list[Running] = field(default_factory=list)
    failures: list[Json] = field(default_factory=list)
    finished: list[Json] = field(default_factory=list)
    spent: float = 0.0
    weight: float = 0.0
    left: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison is made of. cost: FLOPs of a step of each contender, by its name."""

    contenders: Sequence[Contender]
    terms: Terms
    splits: Splits
    cost: Callable[[Contender], float]
    out: Path
    processes: int


def run(plan: Comparison, shown: Ready) -> State:
    """Do what is missing in OUT/rows.jsonl; `shown` is told now and then, and whenever something ends.

    However this ends, no process is left behind, and what was finished is kept.
    """
    path, scratch = plan.out / "rows.jsonl", plan.out / ".work"
    state = State(known(plan.contenders, plan.terms, plan.splits, rows.read(path)))
    failed: set[str] = set()
    shutil.rmtree(scratch, ignore_errors=True)
    with _ended(state):
        while True:
            skipped = failed | {one.job.key for one in state.running}
            todo = pending(plan.contenders, plan.terms, plan.splits, state.rows, skipped)
            while todo and len(state.running) < plan.processes:
                job = todo.pop(0)
                state.running.append(Running(job, _started(job, plan, scratch), time.monotonic(), _weight(job, plan)))
            state.left = _left(plan, state, failed)
            shown(state)
            if not state.running:
                break
            for one in _over(state, shown):
                state.running.remove(one)
                row = rows.one(scratch / f"{one.job.key}.json") if one.process.returncode == 0 else None
                if row is None:
                    failed.add(one.job.key)
                    state.failures.append(_failure(one, scratch, rows.places(plan.splits.config.path, plan.out)))
                    continue
                rows.append(path, row)
                state.rows[one.job.key] = row
                state.finished.append(row)
                state.spent += time.monotonic() - one.begun
                state.weight += one.weight
    state.failures += _hopeless(plan, state)
    shutil.rmtree(scratch, ignore_errors=True)
    return state


def _over(state: State, shown: Ready) -> list[Running]:
    """Wait until processes end, and return these."""
    while not (over := [one for one in state.running if one.process.poll() is not None]):
        time.sleep(PAUSE)
        shown(state)
    return over


def _started(job: Job, plan: Comparison, scratch: Path) -> subprocess.Popen[bytes]:
    cost, steps, text = 0.0, 0, PIXELS
    if job.kind != PIXELS:
        one = next(one for one in plan.contenders if one.name == job.contender)
        cost, text = plan.cost(one), one.text or one.name
        steps = affordable(job.budget, cost, job.contender)
    order = Order(
        job.key, job.kind, text, job.seed, job.factor, cost, steps, plan.terms, job.run.probe,
        plan.splits.config, str(plan.out),
    )  # fmt: skip
    write_json(scratch / f"{job.key}.order.json", asdict(order))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "armillary", "bench", "worker", str(scratch / f"{job.key}.order.json")]
    with (scratch / f"{job.key}.said").open("wb") as said:
        # A session of its own: Ctrl-C reaches this process alone, which ends the others in order.
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, start_new_session=True
        )


@contextmanager
def _ended(state: State) -> Iterator[None]:
    """Whatever still runs at the end is stopped."""
    try:
        yield
    finally:
        for one in state.running:
            one.process.terminate()
        for one in state.running:
            try:
                one.process.wait(5)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()


def _failure(one: Running, scratch: Path, places: dict[str, str]) -> Json:
    said = (scratch / f"{one.job.key}.said").read_text(encoding="utf-8", errors="replace").strip()
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    code = one.process.returncode
    words = errors[-1].removeprefix("error: ") if errors else said.splitlines()[-1] if said else "it said nothing"
    words = f"ended by signal {-code}" if code < 0 else words
    job = one.job
    return {
        "contender": job.contender,
        "kind": job.kind,
        "seed": job.seed,
        "factor": job.factor,
        "message": rows.without(words, places)[:LAST],
    }


def _hopeless(plan: Comparison, state: State) -> list[Json]:
    """Contenders of which every try of a learning rate failed to train."""
    found: list[Json] = []
    for one in plan.contenders:
        tried = tries(one, plan.terms, plan.splits)
        if tried and all(job.key in state.rows for job in tried) and best([state.rows[j.key] for j in tried]) is None:
            message = f"none of {len(tried)} learning rates trained: {state.rows[tried[0].key].get('error', '')}"
            found.append({"contender": one.name, "kind": "try", "seed": 0, "factor": 1.0, "message": message})
    return found


def _weight(job: Job, plan: Comparison) -> float:
    return {"run": 1.0, "try": plan.terms.share}.get(job.kind, 0.1)


def _left(plan: Comparison, state: State, failed: set[str]) -> float:
    """Work that is left, in full trainings: all, less what is finished or has failed."""
    done = 0.0
    for one in plan.contenders:
        mine = [row for row in state.rows.values() if row.get("contender") == one.name]
        tried = {job.key for job in tries(one, plan.terms, plan.splits)}
        done += plan.terms.share * len(tried & (state.rows.keys() | failed))
        done += min(plan.terms.seeds, sum(row.get("kind") == "run" for row in mine))
    return max(0.0, total(plan.contenders, plan.terms, plan.splits) - done - len(failed))
