"""The radar: readings come in step by step, alarms go out, each with what was seen, since when, how sure and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from .alarms import KINDS
from .reading import BROKEN, Reading

CONFIRMED = 2  # readings in a row beyond the border that raise an alarm
CERTAIN = 2.0  # level at which one reading is enough
IMPLIED = {"full": set(KINDS) - {"full", "teacher"}}  # kinds that say nothing more where another one is seen
ALONE = ("teacher",)  # kinds that are no company of others: they are of weights, not of embeddings


@dataclass(frozen=True)
class Alarm:
    """A failure. kind: a key of KINDS. step: when it was raised. since: the first reading in a row beyond the border.

    sure: from 0 to 1, growing with how far beyond and how often; no probability. seen: what was, in words. beside: the
    other kinds beyond their borders, but less far: mostly what this one brings about.
    """

    kind: str
    step: int
    since: int
    sure: float
    seen: str
    beside: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The kind in words."""
        return KINDS[self.kind].title

    @property
    def causes(self) -> tuple[str, ...]:
        """Settings that usually cause it, the likeliest first."""
        return KINDS[self.kind].causes

    def sentence(self) -> str:
        """All of it in one sentence."""
        why, also = "; ".join(self.causes), ", ".join(KINDS[kind].title for kind in self.beside)
        seen = self.seen + (f" (with it, less: {also})" if also else "")
        return f"{self.title} since step {self.since:,} ({self.sure:.0%} sure): {seen}. Usually because {why}"

    def row(self) -> dict[str, object]:
        """For a log, or another program."""
        return {**asdict(self), "title": self.title, "causes": list(self.causes)}


class Radar:
    """Remembers the readings of a run, of the same inputs each time, and says which failures there are now.

    A kind is raised by two readings in a row beyond its border, or by one that is twice beyond; it ends with the first
    reading inside. Of several the one that is furthest beyond is raised. Readings beyond a border are no past
    that later ones are compared with.
    history: earlier readings of the run, when it is resumed. confirm: readings in a row that raise; 1 for one look.
    """

    def __init__(self, history: Iterable[Reading] = (), confirm: int = CONFIRMED):
        self.confirm = confirm
        self.history: list[Reading] = []
        self.active: dict[str, Alarm] = {}
        self._past: list[Reading] = []
        self._levels: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for reading in history:
            self.add(reading)

    def add(self, reading: Reading) -> list[Alarm]:
        """Take in a reading; returns the alarms that it raises, not those that go on."""
        if self.history:
            self.history[-1] = replace(self.history[-1], spectrum=())  # the newest alone is kept whole
        self.history.append(reading)
        found = {} if reading.broken else self._judged(reading)
        raised = [alarm for kind, alarm in found.items() if kind not in self.active]
        before = {kind: alarm.step for kind, alarm in self.active.items()}
        self.active = {kind: replace(alarm, step=before.get(kind, alarm.step)) for kind, alarm in found.items()}
        if not reading.broken and all(levels[-1] < 1 for levels in self._levels.values()):
            self._past.append(replace(reading, spectrum=()))
        return raised

    @property
    def verdict(self) -> str:
        """The state of the last reading in a few words: "healthy", or what is wrong with it."""
        if not self.history:
            return "not examined"
        now = self.history[-1]
        if now.broken:
            return BROKEN + now.broken
        if self.active:
            return "; ".join(f"{alarm.title}: {alarm.seen}" for alarm in self.active.values())
        return unpredicted(now) or "healthy"

    def _judged(self, now: Reading) -> dict[str, Alarm]:
        """What is beyond its border now: what was so before, and what is furthest beyond, without what it implies."""
        found, levels, steps = {}, {}, [past.step for past in self.history if not past.broken]
        for kind, how in KINDS.items():
            level = how.level([*self._past, now])
            before = self._levels[kind]
            before.append(level.value)
            count = next((i for i, value in enumerate(reversed(before)) if value < 1), len(before))
            if count >= self.confirm or level.value >= CERTAIN:
                sure = 1 - 1 / (1 + level.value * count)
                found[kind], levels[kind] = Alarm(kind, now.step, steps[-count], sure, level.seen), level.value
        implied = {other for kind in found for other in IMPLIED.get(kind, ())}
        left = [kind for kind in found if kind not in implied]
        first = max(left, key=levels.__getitem__, default="")
        shown = [kind for kind in left if kind in (first, *self.active, *ALONE)]
        beside = tuple(kind for kind in left if kind not in shown)
        return {kind: replace(found[kind], beside=beside if kind == first else ()) for kind in shown}


def unpredicted(reading: Reading) -> str:
    """What is wrong with a forecast; it holds for some time at the start of healthy training too, so it is no alarm."""
    r2, copied = reading.get("r2"), reading.get("copy_ratio")
    if r2 is not None and r2 <= 0:
        return f"prediction explains nothing yet: R² {r2:.2f}, no better than the mean of the targets"
    if copied is not None and copied >= 1:
        return f"prediction no better than copying the last observation: {copied:.2f} times its error"
    return ""
