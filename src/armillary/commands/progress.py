"""Live progress on stderr: what is happening, how fast, how long it will take, whether the model is healthy."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from . import screen

EVERY = 30.0  # seconds between lines where stderr is no terminal


class Watch:
    """One thing that takes `total` steps, watched: `with Watch("training", 2000) as watch: ...; watch.at(step, note)`.

    On a terminal a line that renews itself, elsewhere a line now and then. done: steps that were done before. shown:
    False on processes that are not to speak. The pace is measured from the first call of `at`: what is made ready
    before it says nothing of the steps.
    """

    def __init__(self, what: str, total: int, done: int = 0, unit: str = "step", shown: bool = True):
        self.what, self.total, self.unit = what, total, unit
        self._begun: tuple[int, float] | None = None
        self._said, self._note = -EVERY, ""
        columns = (
            "{task.description}",
            BarColumn(24),
            MofNCompleteColumn(),
            "{task.fields[pace]}",
            "{task.fields[note]}",
        )
        texts = [TextColumn(c, markup=False) if isinstance(c, str) else c for c in columns]
        self._progress = Progress(
            *texts, console=screen.err, transient=True, disable=not (shown and screen.err.is_terminal)
        )
        self._task = self._progress.add_task(what, total=total, completed=done, pace="", note="")

    def __enter__(self) -> Watch:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def at(self, done: int, note: str = "") -> None:
        """`done` of `total` steps are done. `note` says how it goes; an empty one leaves the last."""
        self._note = note or self._note
        now = time.monotonic()
        first, begun = self._begun = self._begun or (done, now)
        spent, made, pace = now - begun, done - first, ""
        if made > 0 and spent > 0:
            left = screen.duration((self.total - done) * spent / made)
            pace = f"{screen.rate(made / spent, self.unit)}, {left} left"
        self._progress.update(self._task, completed=done, pace=pace, note=self._note)
        if not screen.err.is_terminal and (now - self._said >= EVERY or done >= self.total):
            self._said = now
            parts = [f"{self.what}: {done:,} of {self.total:,}", pace, self._note]
            screen.err.print(", ".join(filter(None, parts)), markup=False, soft_wrap=True)
