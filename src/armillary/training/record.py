"""The run folder while training: locked, resumed, logged, saved. Rank 0 writes; without a folder nobody does."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path

import torch

from .. import __version__
from ..contracts import Method
from ..diagnostics.radar import Radar
from ..diagnostics.score import score
from ..errors import CheckpointError
from ..parallel import rank
from . import checkpoint as disk
from .distribute import from_first
from .log import Log, Row, has_rows

log = logging.getLogger("armillary.training")


@dataclass
class Progress:
    """How far a run is.

    skipped: non-finite steps; in_a_row: those since the last finite one. scale: factor of the learning rate, lowered by
    each roll-back. best_step: of the checkpoint that the radar scores highest, -1 for none; best_score: its score.
    """

    step: int = 0
    skipped: int = 0
    in_a_row: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    scale: float = 1.0
    best_step: int = -1
    best_score: float = 0.0

    def judge(self, radar: Radar) -> None:
        """Take this step for the best one if the last reading is healthy and scores higher than any before."""
        value = None if radar.active or not radar.history else score(radar.history[-1])
        if value is not None and (self.best_step < 0 or value > self.best_score):
            self.best_step, self.best_score = self.step, value


@dataclass(frozen=True)
class Identity:
    """What a checkpoint says of its run, by name.

    fixed: must be the same to go on; names that only one of two versions of the code knows are let pass aloud.
    settings: may change, but then the run is no longer the uninterrupted one.
    """

    fixed: dict[str, str]
    settings: dict[str, str]

    def check(self, state: disk.Json, source: Path) -> None:
        """Compare with what a checkpoint holds.

        Raises:
            CheckpointError: something fixed differs.
        """
        before, settings = _texts(state["fixed"]), _texts(state["settings"])
        both = [name for name in before if name in self.fixed]
        changed = _changed({name: before[name] for name in both}, {name: self.fixed[name] for name in both})
        if changed:
            raise CheckpointError(
                f"{source} belongs to another run: {'; '.join(changed[:6])}. Go on with the settings that wrote it "
                "(--resume), or start again (--fresh)"
            )
        for change in _changed(before, self.fixed) + _changed(settings, self.settings):
            log.warning("%s: going on, but no longer as the run that was interrupted", change)


class Record:
    """The folder of one run, held by one training."""

    def __init__(
        self, folder: Path | None, method: Method, optimizer: torch.optim.Optimizer, identity: Identity, keep: int = 2
    ):
        self.folder, self.method, self.optimizer, self.identity, self.keep = folder, method, optimizer, identity, keep
        self.damaged: list[str] = []
        self._log: Log | None = None

    @contextlib.contextmanager
    def opened(self, resume: bool, tensorboard: bool = False) -> Iterator[Progress]:
        """Lock the folder, go back to its newest checkpoint if `resume`, else write a first one; gives how far it is.

        The first checkpoint, of step 0, shows before hours of work that checkpoints can be written, and makes a run
        that dies early one that can be resumed.
        Raises:
            CheckpointError: there is a run and no `resume`, or the reverse; the checkpoint belongs to another run; the
                folder is in use or cannot be written.
        """
        if self.folder is None:
            if resume:
                raise CheckpointError("there is no folder to resume from; give `folder`, or resume=False")
            yield Progress()
            return
        with contextlib.ExitStack() as stack:
            path = self._chosen(stack, self.folder, resume)
            done = Progress() if path is None else self._restored(path)
            if rank() == 0:
                self._log = Log(self.folder, done.step, tensorboard)
                stack.callback(self._log.close)
                if path is None:
                    self.save(done)
            yield done

    def write(self, row: Row) -> None:
        """Add a row to the log."""
        if self._log is not None:
            self._log.write(row)

    def save(self, done: Progress) -> None:
        """Write a checkpoint; the rows before it are made durable first."""
        if self.folder is None or rank() != 0:
            return
        if self._log is not None:
            self._log.sync()
        versions = {"armillary": __version__, "torch": torch.__version__}
        state = {**asdict(done), **asdict(self.identity), "versions": versions}
        disk.write(self.folder, disk.capture(done.step, self.method, self.optimizer, state), self.keep, done.best_step)

    def _chosen(self, stack: contextlib.ExitStack, folder: Path, resume: bool) -> Path | None:
        """The checkpoint to go on from, None for a new run. Rank 0 finds it and tells the others, also if it fails."""
        device = next(self.method.parameters()).device
        if rank() != 0:
            step = from_first(0, device)
            if step < 0:
                raise CheckpointError(f"rank 0 could not open {folder}; its message says why")
            return disk.place(folder, step) if resume else None
        step, path = -1, None
        try:
            stack.enter_context(disk.lock(folder))
            disk.sweep(folder)
            if resume:
                path, self.damaged = disk.recover(folder)
            elif disk.checkpoints(folder) or has_rows(folder):
                raise CheckpointError(
                    f"{folder} already holds a run: continue it with --resume, or start again with --fresh, which "
                    "moves it aside"
                )
            step = disk.step_of(path) if path else 0
        finally:
            from_first(step, device)
        return path

    def _restored(self, path: Path) -> Progress:
        found = disk.read(path)
        self.identity.check(found.state, path)
        disk.restore(found, self.method, self.optimizer, path)
        return Progress(**{f.name: found.state.get(f.name, f.default) for f in fields(Progress)})  # type: ignore[arg-type]


def go_back(folder: Path, since: int, device: torch.device) -> int:
    """Set the checkpoints from step `since` on aside, and return the step of the newest before, on every rank.

    Raises:
        CheckpointError: none is left, also on the other ranks.
    """
    step = -1
    try:
        step = disk.withdraw(folder, since) if rank() == 0 else step
    finally:
        step = from_first(step, device)
    if step < 0:
        raise CheckpointError(f"rank 0 could not go back in {folder}; its message says why")
    return step


def flat(prefix: str, value: object) -> dict[str, str]:
    """Nested dataclasses by dotted name, as text: the class of each, and its fields."""
    if not is_dataclass(value):
        return {prefix: repr(value)}
    named = {prefix: type(value).__name__}
    for f in fields(value):
        named |= flat(f"{prefix}.{f.name}", getattr(value, f.name))
    return named


def _texts(tree: object) -> dict[str, str]:
    return {str(name): str(value) for name, value in tree.items()} if isinstance(tree, dict) else {}


def _changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in names]
