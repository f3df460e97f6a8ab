"""What rows say: one line per contender, with intervals, gains over its untrained backbone, ranks and cost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import torch

from ..errors import DataError
from ..recipes.run import Json
from . import intervals
from .contenders import PIXELS, UNTRAINED
from .intervals import Right
from .jobs import MEASURED, probing
from .measure import PROBES
from .rows import unpacked

Interval = tuple[float, float]
FLOOR = "floor"
LONGEST = 300  # characters of a warning that rows keep


@dataclass(frozen=True)
class Score:
    """A mean over seeds and its interval. gain: over the untrained backbone, paired; None for floors."""

    mean: float
    interval: Interval
    seeds: tuple[float, ...]
    gain: float | None = None
    gain_interval: Interval | None = None


@dataclass(frozen=True)
class Line:
    """A contender, or a floor. cost: sums and means over its runs as JSON; curve: (FLOPs, mean, lowest, highest).

    further: of each seed, the other probes that were asked for, by name. supervised: whether it was trained on labels.
    iou: mean IoU of each seed, where there are masks.
    """

    name: str
    kind: str
    backbone: str
    seeds: int
    scores: dict[str, Score] = field(default_factory=dict)
    rank: tuple[float, int, int] | None = None
    diagnostics: Json = field(default_factory=dict)
    untrained_diagnostics: Json = field(default_factory=dict)
    cost: Json = field(default_factory=dict)
    curve: tuple[tuple[float, float, float, float], ...] = ()
    further: tuple[dict[str, Any], ...] = ()
    verdicts: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    supervised: bool = False
    iou: tuple[float, ...] = ()

    @property
    def main(self) -> float:
        """By what lines are ordered: linear accuracy; without labels mean IoU, or minus the embeddings' uniformity."""
        if self.scores:
            return self.scores["linear"].mean
        return sum(self.iou) / len(self.iou) if self.iou else -float(self.diagnostics.get("uniformity") or 0.0)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Pair:
    """How much better the first of two contenders is, paired over test rows and seeds."""

    first: str
    second: str
    difference: float
    interval: Interval

    @property
    def differ(self) -> bool:
        """Whether the interval leaves zero out."""
        return not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Summary:
    """A whole comparison. lines: best first; tries: rows of tuning; failures: what did not come to a row."""

    data: Json
    lines: tuple[Line, ...]
    pairs: tuple[Pair, ...]
    tries: tuple[Json, ...]
    failures: tuple[Json, ...]
    warnings: tuple[str, ...]
    labeled: bool
    commits: tuple[str, ...]
    budget: float
    probe_rows: tuple[int, int]
    floors: tuple[Json, ...] = ()

    @property
    def masked(self) -> bool:
        """Whether masks judge, for want of labels."""
        return not self.labeled and any(line.iou for line in self.lines)

    def tree(self) -> Json:
        """As JSON."""
        return asdict(self)


def summary(rows: Sequence[Json], failures: Sequence[Json] = ()) -> Summary:
    """Everything that pages show, from rows alone.

    Rows of kind "floor", written by hand, hold what trivial baselines reach on the test images: contender, measure,
    score.
    Raises:
        DataError: there are no runs, or runs of different data, budgets or settings of probes are mixed.
    """
    floors = tuple(row for row in rows if row["kind"] == FLOOR)
    rows = _current([row for row in rows if row["kind"] != FLOOR])
    runs = [row for row in rows if row["kind"] == "run"]
    if not runs:
        raise DataError("no run is finished: there is nothing to compare yet")
    _check_alike(runs)
    rows = [row for row in rows if row["data"] == runs[0]["data"]]
    grouped: dict[str, list[Json]] = defaultdict(list)
    for row in sorted(runs, key=lambda row: int(row["seed"])):  # type: ignore[call-overload]
        grouped[str(row["contender"])].append(row)
    lines = [_line(name, mine) for name, mine in grouped.items()]
    lines += _untrained(runs) + [_pixels(row, runs) for row in rows if row["kind"] == PIXELS]
    labeled = all(line.scores for line in lines)
    if labeled:
        lines = _ranked(lines, {name: _answers(mine, "linear") for name, mine in grouped.items()})
    lines.sort(key=lambda line: -line.main)
    order = [line.name for line in lines if line.kind == "run"]
    pairs = _pairs(order, grouped) if labeled else ()
    tries = tuple(row for row in rows if row["kind"] == "try")
    commits = tuple(sorted({str(row["commit"]) for row in runs}))
    data, budget, first = _held(runs[0], "data"), float(runs[0]["budget"]), _held(runs[0], "scores")  # type: ignore[arg-type, call-overload]
    used = (int(first.get("train", 0)), int(first.get("test", 0)))
    return Summary(data, tuple(lines), pairs, tries, tuple(failures), _warnings(runs), labeled, commits, budget, used,
                   floors)  # fmt: skip


def _warnings(runs: Sequence[Json]) -> tuple[str, ...]:
    """What runs warned of, whole sentences only, with whose run it was; tries are left out."""
    found = {}
    for row in runs:
        for text in row.get("warnings") or ():  # type: ignore[attr-defined]
            whole = str(text) if len(str(text)) < LONGEST else str(text).rpartition(". ")[0] + "."
            found.setdefault(whole, []).append(f"{row['contender']}, seed {row['seed']}")
    return tuple(sorted(f"{'; '.join(whose)}: {text}" for text, whose in found.items()))


def _check_alike(runs: Sequence[Json]) -> None:
    found: dict[str, set[str]] = {what: {json.dumps(row[what]) for row in runs} for what in ("data", "budget")}
    for name in MEASURED:
        found[f"probe.{name}"] = {json.dumps(probing(row)[name]) for row in runs if name in probing(row)}
    for what, kinds in found.items():
        if len(kinds) > 1:
            raise DataError(
                f"rows of different {what} are mixed: {'; '.join(sorted(kinds))}; the command that trained shows its "
                "own, and each comparison in an --out of its own keeps them apart"
            )


def _current(rows: Sequence[Json]) -> list[Json]:
    """Rows without what a later one replaces: same place, or a contender's rows with other settings than its last."""
    last: dict[object, Json] = {(row["kind"], row["contender"]): row for row in rows}
    found: dict[object, Json] = {}
    for row in rows:
        place = (row["kind"], row["contender"], row["seed"], row.get("factor") if row["kind"] == "try" else None)
        if _alike(row.get("values"), last[row["kind"], row["contender"]].get("values"), row["kind"] == "try"):
            found[place] = row
    return list(found.values())


def _alike(first: object, second: object, any_rate: bool) -> bool:
    """Whether two rows tell the same settings, as far as both tell them and but for the seed."""
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return first == second
    shared = (first.keys() & second.keys()) - {"seed"} - ({"lr"} if any_rate else set())
    return all(_alike(first[name], second[name], any_rate) for name in shared)


def _line(name: str, mine: list[Json]) -> Line:
    scores = {}
    for probe in PROBES if "linear" in _held(mine[0], "scores") else ():
        right, before = _answers(mine, probe), _answers(mine, probe, UNTRAINED)
        gain, low, high = intervals.difference(right, before)
        means = tuple(right.double().mean(1).tolist())
        scores[probe] = Score(float(right.double().mean()), intervals.over_seeds(right), means, gain, (low, high))
    totals = ("flops", "flops_per_step", "samples", "steps", "seconds", "cpu_seconds", "parameters", "lr", "batch")
    cost: Json = {key: _mean([row[key] for row in mine]) for key in (*totals, "encoder_parameters")}
    cost |= {"factor": mine[0]["factor"], "commit": ", ".join(sorted({str(row["commit"])[:8] for row in mine}))}
    return Line(
        name, "run", str(mine[0]["backbone"]), len(mine), scores, None,
        _averaged([_held(row, "scores") for row in mine]), _averaged([_held(row, UNTRAINED) for row in mine]),
        cost, _curve(mine), _further(mine), tuple(sorted({str(_held(row, "scores")["verdict"]) for row in mine})),
        tuple(str(row["key"]) for row in mine), _supervised(mine[0]), _iou(mine, "score"),
    )  # fmt: skip


def _supervised(row: Json) -> bool:
    """Whether a run was trained on labels: its method has classes."""
    told = row.get("values")
    method = told.get("method") if isinstance(told, dict) else None
    return isinstance(method, dict) and "classes" in method


def _untrained(runs: list[Json]) -> list[Line]:
    """One line per backbone: its encoders as they were initialized, each distinct one once."""
    found: dict[str, dict[str, Json]] = defaultdict(dict)
    for row in runs:
        floor = _held(row, UNTRAINED)
        told = floor["linear"]["rows"] if "linear" in floor else floor["diagnostics"].get("rankme")  # of any version
        found[str(row["backbone"])].setdefault(str(told), row)
    lines = []
    for name, rows in found.items():
        held = [{"scores": _held(row, UNTRAINED), "commit": row["commit"]} for row in rows.values()]
        iou = _iou(list(rows.values()), UNTRAINED)
        lines.append(_floor(f"{UNTRAINED} {name}", UNTRAINED, name, held, iou))
    return lines


def _pixels(row: Json, runs: list[Json]) -> Line:
    return _floor("raw pixels", PIXELS, "", [row], _iou(runs[:1], "raw"))


def _iou(runs: Sequence[Json], key: str) -> tuple[float, ...]:
    """Mean IoU of each run's segmentation; key: of the trained encoder, the untrained one, or raw patches."""
    parts = [row["further"].get("segmentation", {}) for row in runs if isinstance(row.get("further"), dict)]  # type: ignore[union-attr]
    return tuple(float(part[key]) for part in parts if part.get(key) is not None)


def _floor(name: str, kind: str, backbone: str, held: list[Json], iou: tuple[float, ...] = ()) -> Line:
    parts, scores = [_held(row, "scores") for row in held], {}
    for probe in PROBES if "linear" in parts[0] else ():
        right = _answers(held, probe)
        means = tuple(right.double().mean(1).tolist())
        scores[probe] = Score(float(right.double().mean()), intervals.over_seeds(right), means)
    cost: Json = {"commit": ", ".join(sorted({str(row["commit"])[:8] for row in held}))}
    verdicts = tuple(sorted({str(part["verdict"]) for part in parts}))
    keys = tuple(str(row["key"]) for row in held if "key" in row)
    return Line(name, kind, backbone, len(held), scores, None, _averaged(parts), {}, cost, (), (), verdicts, keys,
                iou=iou)  # fmt: skip


def _ranked(lines: list[Line], answers: dict[str, Right]) -> list[Line]:
    ranks = dict(zip(answers, intervals.ranks(list(answers.values())), strict=True))
    return [Line(**{**vars(line), "rank": ranks.get(line.name)}) for line in lines]


def _pairs(order: Sequence[str], grouped: dict[str, list[Json]]) -> tuple[Pair, ...]:
    """All pairs in the order of their scores, over the seeds that both have."""
    found = []
    for first, second in combinations(order, 2):
        shared = {row["seed"] for row in grouped[first]} & {row["seed"] for row in grouped[second]}
        if shared:
            a, b = ([row for row in grouped[name] if row["seed"] in shared] for name in (first, second))
            mean, low, high = intervals.difference(_answers(a, "linear"), _answers(b, "linear"))
            found.append(Pair(first, second, mean, (low, high)))
    return tuple(found)


def _answers(mine: Sequence[Json], probe: str, part: str = "scores") -> Right:
    held = [_held(row, part) for row in mine]
    return torch.stack([unpacked(str(one[probe]["rows"]), int(one["test"])) for one in held])


def _curve(mine: list[Json]) -> tuple[tuple[float, float, float, float], ...]:
    curves = [row.get("curve") or [] for row in mine]
    points: list[Any] = list(zip(*curves, strict=False))
    return tuple(
        (float(at[0][0]), sum(y for _, y in at) / len(at), min(y for _, y in at), max(y for _, y in at))
        for at in points
    )


def _further(mine: Sequence[Json]) -> tuple[dict[str, Any], ...]:
    return tuple(_held(row, "further") if "further" in row else {} for row in mine)


def _held(row: Json, part: str) -> dict[str, Any]:
    held = row.get(part)
    if not isinstance(held, dict):
        raise DataError(f"the row {row.get('key')} of {row.get('contender')} has no {part!r}: delete it and run again")
    return held


def _averaged(parts: Sequence[dict[str, Any]]) -> Json:
    names = [name for name, value in parts[0]["diagnostics"].items() if value is not None]
    return {name: _mean([part["diagnostics"].get(name) for part in parts]) for name in names}


def _mean(values: Sequence[Any]) -> float:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")
