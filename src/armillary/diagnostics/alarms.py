"""The kinds of failure, how each shows in readings, and which settings usually cause it.

Each kind has a level: how far a reading is beyond what is healthy, 1 at the border. It looks at the reading alone, or
beside the same run's earlier readings, which are of the same inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from ..functional.statistics import kendall
from .reading import Reading

SPREAD = 0.05  # deviation over root mean square below which embeddings count as constant
FEW, SHARE = 8, 0.05  # fewer directions than both 8 and 5 % of the dimensions are a dimensional collapse
HEAPS, LOOSE = 0.05, 0.15  # distance to neighbors over that in a normal cloud: below, few points; above, a fall is fine
ALIKE, UNLIKE = 0.02, 0.1  # share of the tokens' variance within a datum: below, collapsed; above, a fall is healthy
PLACE, GAIN = 0.95, 0.05  # share of a prediction's variance that its place explains, while it gains less than that
RISE = 0.3  # by how much that share may rise against the run's own past
APART = 1.0  # distance of the teacher's weights from its source's over their size
USUAL = {  # how many times a number may change against the run's own past before it counts: from healthy runs, widened
    "spread": 2.0, "std": 2.5, "effective_rank": 1.65, "clumping": 1.5, "within": 2.3, "over_time": 2.0, "norm": 2.0,
    "teacher_gap": 4.0,
}  # fmt: skip
SHRUNK = 5.0  # how many times the spread, or with it the deviation, may fall against its peak
LESS = 0.8  # share of its peak below which the spread counts as falling
EVER, EARLY = 8.0, 3  # how many times it may against the first readings of a run, and how many these are
DECLINE, READINGS = 0.15, 6  # late collapse: the rank falls by this share of its peak over at least so many readings
NEW = 2  # newest readings that a reference leaves out, once there are enough others
MANY = 60  # readings of a trend at most, evenly spread
STEADY = 0.8  # Kendall's tau of a fall that goes on reading after reading

History = Sequence[Reading]  # in order of steps; the last one is judged


@dataclass(frozen=True)
class Level:
    """How far beyond healthy, 1 at the border, and what was seen, in words."""

    value: float
    seen: str = ""


NONE = Level(0.0)


@dataclass(frozen=True)
class Kind:
    """A kind of failure: its name in verdicts, its level, and settings that usually cause it, the likeliest first."""

    title: str
    level: Callable[[History], Level]
    causes: tuple[str, ...]


def full(history: History) -> Level:
    """All inputs get nearly one embedding, or differ much less than before."""
    now = history[-1]
    spread, target = now.get("spread"), now.get("target_spread")
    if spread is None:
        return NONE
    said = f"embeddings of different inputs differ by {spread:.1%} of their size"
    found = [Level(_ratio(SPREAD, spread), said), _fallen(history, "spread", said)]
    peak = max(_values(history[:-1], "spread"), default=0.0)
    found.append(Level(_ratio(peak / SHRUNK, spread), f"{said}, {peak:.1%} at their peak"))
    if spread < LESS * peak:  # what shrinks faster than the embeddings is how they differ
        shrunk = f"embeddings shrink and differ by {now.get('std') or 0:.2g}"
        most = max(_values(history[:-1], "std"), default=0.0)
        found += [_fallen(history, "std", shrunk), Level(_ratio(most / SHRUNK, now.get("std") or 0.0), shrunk)]
    if target is not None:
        said = f"what is to be predicted differs by {target:.1%} of its size, so R² means nothing"
        found.append(Level(_ratio(SPREAD, target), said))
    return _highest(*found)


def dimensional(history: History) -> Level:
    """Embeddings use few directions, or far fewer than before."""
    now = history[-1]
    directions, width, rows = (now.get(name) for name in ("directions", "dimensions", "rows"))
    if directions is None or not width or not rows or width < 2:
        return NONE
    limit = max(1.5, min(FEW, SHARE * min(rows - 1, width)))
    certain = Level(limit / directions if directions else 0.0, f"{directions:.0f} of {width:.0f} directions used")
    return _highest(certain, _fallen(history, "effective_rank", f"effective rank {now.get('effective_rank') or 0:.1f}"))


def cluster(history: History) -> Level:
    """Embeddings fall into a few heaps."""
    now = history[-1].get("clumping")
    if now is None:
        return NONE
    said = f"neighbors are {now:.1%} as far away as in a normal cloud"
    fall = _fallen(history, "clumping", said)
    return _highest(Level(_ratio(HEAPS, now), said), fall if now < LOOSE else NONE)


def token_uniform(history: History) -> Level:
    """All tokens of a datum get nearly one embedding."""
    now = history[-1].get("within")
    if now is None:
        return NONE
    said = f"tokens of one input hold {now:.1%} of the variance"
    fall = _fallen(history, "within", said)
    return _highest(Level(_ratio(ALIKE, now), said), fall if now < UNLIKE else NONE)


def temporal(history: History) -> Level:
    """A trajectory has one code: slow features have won."""
    now, first = history[-1].get("over_time"), _first(history, "over_time")
    if now is None:
        return NONE
    said = f"steps of one trajectory hold {now:.1%} of the variance"
    ever = Level(_ratio(first / EVER, now), f"{said}, {first:.1%} at the start") if first else NONE
    return _highest(_fallen(history, "over_time", said), ever)


def position(history: History) -> Level:
    """Predictions follow the place of the target and nothing of the context, or do so more and more."""
    place, gain = history[-1].get("predicted_place"), history[-1].get("place_gain")
    if place is None or gain is None:
        return NONE
    said = f"the place explains {place:.0%} of what is predicted; prediction gains {max(gain, 0):.0%} over knowing it"
    early = 1 < len(_values(history, "predicted_place")) <= EARLY  # all that a predictor has before it has learned
    certain = Level(place / PLACE if gain < GAIN and not early else 0.0, said)
    found, before = [certain], reference(history, "predicted_place")
    if before is not None:
        found.append(Level((place - before) / RISE, f"{said}; the place explained {before:.0%} before"))
    return _highest(*found)


def norm(history: History) -> Level:
    """Embeddings grow or shrink without end."""
    now, before, first = history[-1].get("norm"), reference(history, "norm"), _first(history, "norm")
    if not now or not before or not first:
        return NONE
    spread, peak = history[-1].get("spread"), max(_values(history[:-1], "spread"), default=0.0)
    if now < before and spread is not None and spread < LESS * peak:
        return NONE  # on the way to one point, which is a complete collapse
    recent = Level(
        abs(math.log(now / before)) / math.log(USUAL["norm"]), f"{now / before:.3g} times as large as before"
    )
    ever = Level(abs(math.log(now / first)) / math.log(EVER), f"{now / first:.3g} times as large as at the start")
    level = _highest(recent, ever)
    return Level(level.value, f"embeddings are {level.seen}")


def teacher(history: History) -> Level:
    """The teacher's weights leave those of its source."""
    gap, before = history[-1].get("teacher_gap"), reference(history, "teacher_gap")
    if gap is None:
        return NONE
    said = f"the teacher is {gap:.0%} of its source's size away from it"
    grown = math.log(gap / before) / math.log(USUAL["teacher_gap"]) if gap and before else 0.0
    return Level(max(gap / APART, grown), said + (f", {before:.0%} before" if before else ""))


def late(history: History) -> Level:
    """The rank falls slowly, reading after reading, while all else looks well.

    The second half of the readings is looked at: early in healthy training the rank falls too.
    """
    ranks = _values(history, "effective_rank")
    ranks = ranks[len(ranks) // 2 :]
    if len(ranks) < READINGS:
        return NONE
    stride = -(-len(ranks) // MANY)
    smooth = [median(ranks[max(0, i - 2) : i + 1]) for i in range(len(ranks) - 1, -1, -stride)][::-1]
    top = max(range(len(smooth)), key=smooth.__getitem__)
    since, fall = len(smooth) - 1 - top, 1 - smooth[-1] / smooth[top]
    if since < READINGS or not _falling(smooth[top:]) >= STEADY:
        return NONE
    said = f"effective rank fell by {fall:.0%} over the last {since * stride} readings, step by step"
    return Level(fall / DECLINE, said)


KINDS = {
    "full": Kind("complete collapse", full, (
        "the learning rate is too high (optim.lr), or its warm-up too short",
        "the teacher follows too fast (method.momentum), or is not used (stop-gradient)",
        "the regularizer is too weak (method.sigreg_weight, method.variance, method.vicreg_weight)",
        "inputs hardly differ as they are normalized (data.mean, data.std): likely if it is so from the start",
    )),
    "dimensional": Kind("dimensional collapse", dimensional, (
        "the covariance or SIGReg term is too weak (method.covariance, method.sigreg_weight)",
        "the learning rate is too high (optim.lr)",
        "weight decay is too strong for the predictor or projector (optim.weight_decay)",
    )),
    "cluster": Kind("cluster collapse", cluster, (
        "the temperature is too low, or centering is off (method.teacher_temperature, method.center_momentum)",
        "there are too few prototypes (method.prototypes)",
        "the views of an input are too alike (method.view)",
    )),
    "token_uniform": Kind("token-uniform collapse", token_uniform, (
        "targets are pooled or too large (method.target_scale)",
        "the encoder is too deep for its learning rate (optim.lr)",
        "nothing asks tokens of one input to differ: add a variance term over tokens",
    )),
    "temporal": Kind("temporal collapse, a static code", temporal, (
        "what never changes is easiest to predict: raise the regularizer over time (method.sigreg_weight)",
        "predict further ahead (method.rollout), or give the inverse dynamics a weight",
        "backgrounds differ between episodes more than what moves: normalize or crop them",
    )),
    "position": Kind("position shortcut", position, (
        "the context is too small or too far from the targets (method.context_scale, method.min_context)",
        "the predictor is too weak for its task (method.predictor_depth, method.predictor_width)",
        "positions dominate the targets: lower their scale, or normalize targets per place",
    )),
    "norm": Kind("norm drift", norm, (
        "nothing fixes the size of embeddings: normalize targets, or add weight decay (optim.weight_decay)",
        "the learning rate is too high (optim.lr)",
        "gradients are not clipped (optim.clip)",
    )),
    "teacher": Kind("teacher runaway", teacher, (
        "momentum is too near 1 for the number of steps (method.momentum)",
        "the learning rate is too high (optim.lr)",
        "the teacher is updated from another module than the one that trains",
    )),
    "late": Kind("slow partial collapse", late, (
        "the schedule runs on after learning has ended: stop here, or anneal sooner (steps, optim.stretch)",
        "weight decay or momentum rises too far at the end (optim.final_weight_decay, method.momentum)",
        "the regularizer is too weak to hold what was learned",
    )),
}  # fmt: skip


def reference(history: History, name: str) -> float | None:
    """What a number was in the run's own recent past: the median of the later half of the readings before this one.

    The newest of them are left out once there are enough others, so that a fall over a few readings is seen whole.
    None while there are fewer than 2, or while these differ among themselves by more than what counts as a change: as
    early as that, everything changes, and there is no past to compare with.
    """
    past = _values(history[:-1], name)
    past = past[:-NEW] if len(past) >= 3 * NEW else past
    past = past[-max(2, len(past) - len(past) // 2) :]
    return median(past) if len(past) >= 2 and _steady(past, name) else None


def _steady(values: Sequence[float], name: str) -> bool:
    low, high = min(values), max(values)
    return high - low <= RISE if name == "predicted_place" else high <= low * USUAL[name]


def _first(history: History, name: str) -> float | None:
    """The median of the first readings before this one; None if it is the first."""
    past = _values(history[:-1], name)
    return median(past[:EARLY]) if past else None


def _fallen(history: History, name: str, said: str) -> Level:
    """How far a number fell against its reference: 1 where it did so by as many times as is usual."""
    now, before = history[-1].get(name), reference(history, name)
    if now is None or not before or before <= 0:
        return NONE
    times = before / now if now > 0 else math.inf
    return Level(min(100.0, math.log(times) / math.log(USUAL[name])), f"{said}, {now / before:.0%} of what it was")


def _highest(*levels: Level) -> Level:
    return max(levels, key=lambda level: level.value)


def _ratio(limit: float, value: float) -> float:
    """How far below the limit a value is; bounded, so that 0 has a level too."""
    return min(100.0, limit / value) if value > 0 else 100.0


def _values(history: History, name: str) -> list[float]:
    return [value for reading in history if (value := reading.get(name)) is not None]


def _falling(values: Sequence[float]) -> float:
    """Kendall's tau with the reverse of time: 1 where each value is below all before it, NaN where all are equal."""
    return -float(kendall(torch.arange(len(values)).double(), torch.tensor(values, dtype=torch.float64)))
