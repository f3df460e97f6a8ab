"""The table of a comparison as text, for every page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..report import words
from .summary import Interval, Line, Score, Summary

MINUS = "−"
FEW = 2  # seeds whose ranks have no interval
SHOWN = ("score", "untrained", "raw", "difference", "chance")  # of a probe, in columns of their own


def columns(found: Summary, short: bool = False) -> dict[str, list[str]]:
    """Cells by heading, a row per line. short: what fits on a screen."""
    made: dict[str, Callable[[Line], str]] = {"Contender": lambda line: line.name}
    if found.labeled:
        made["Linear, %"] = lambda line: percent(line.scores["linear"])
        made["Over untrained"] = lambda line: gain(line.scores["linear"])
        made["kNN, %"] = lambda line: percent(line.scores["knn"])
        if not short:
            made["kNN over untrained"] = lambda line: gain(line.scores["knn"])
        made["Rank"] = rank
    else:
        if found.masked:
            made["Mean IoU, % (each seed)"] = iou
        made["Uniformity"] = lambda line: number(line.diagnostics.get("uniformity"))
        made["RankMe"] = lambda line: number(line.diagnostics.get("rankme"))
        made["Untrained"] = lambda line: number(line.untrained_diagnostics.get("rankme"))
        made["Participation"] = lambda line: number(line.diagnostics.get("participation"))
        made["Spread"] = lambda line: number(line.diagnostics.get("spread"))
        made["Verdict"] = lambda line: "; ".join(line.verdicts)
    made["Backbone"] = lambda line: line.backbone
    made["CPU min"] = lambda line: number(_cost(line, "cpu_seconds", 60))
    if not short:
        made |= {
            "Wall min": lambda line: number(_cost(line, "seconds", 60)) if line.kind == "run" else "",
            "FLOPs": lambda line: words.compact(_cost(line, "flops")) if line.kind == "run" else "",
            "Samples": lambda line: words.count(_cost(line, "samples")) if line.kind == "run" else "",
            "Learning rate": learning_rate(found),
            "Seeds": lambda line: str(line.seeds),
            "Commit": lambda line: str(line.cost.get("commit", "")),
        }
    return {heading: [cell(line) for line in found.lines] for heading, cell in made.items()}


def further(found: Summary) -> dict[str, list[str]]:
    """The other probes: value with interval of each seed, what it is over the untrained backbone, and the floors."""
    lines = [line for line in found.lines if any(line.further)]
    shown: dict[str, list[str]] = {"Probe": [], "Contender": [], "Backbone": [], "Score": [], "Over untrained": [],
                                   "Untrained": [], "Raw pixels": [], "Also": []}  # fmt: skip
    for name in dict.fromkeys(name for line in lines for held in line.further for name in held):
        have = [line for line in lines if any(name in held for held in line.further)]
        ordered = sorted(have, key=lambda line: -_first(line, name, "score"))
        for line in ordered:
            seeds = [held[name] for held in line.further if name in held]
            measure = seeds[0].get("measure", "accuracy")
            shown["Probe"].append(f"{name.replace('_', ' ')}, {measure}")
            shown["Contender"].append(line.name)
            shown["Backbone"].append(line.backbone)
            shown["Score"].append(_seeds(seeds, "score", "interval"))
            shown["Over untrained"].append(_seeds(seeds, "difference", "difference_interval", sign="+"))
            shown["Untrained"].append(_seeds(seeds, "untrained", "untrained_interval"))
            shown["Raw pixels"].append(_seeds(seeds[:1], "raw", "raw_interval"))
            shown["Also"].append(_also(seeds))
    return shown


def _also(seeds: list[dict[str, Any]]) -> str:
    """The other figures of a probe, one value for each seed, in percent."""
    names = [name for name, value in seeds[0].items() if isinstance(value, float) and name not in SHOWN]
    names = [name for name in names if seeds[0][name] != seeds[0]["score"]]
    told = [
        f"{name.replace('_', ' ')} " + ", ".join(f"{100 * one[name]:.1f}" for one in seeds if name in one)
        for name in names
    ]
    return "; ".join(told).replace("-", MINUS)


def _first(line: Line, name: str, key: str) -> float:
    return next(float(held[name].get(key) or 0.0) for held in line.further if name in held)


def _seeds(seeds: list[dict[str, Any]], key: str, interval: str, sign: str = "") -> str:
    cells = [
        f"{100 * one[key]:{sign}.1f} ({_ends(one[interval], bool(sign))})" for one in seeds if one.get(key) is not None
    ]
    return "; ".join(cells).replace("-", MINUS)


def percent(score: Score) -> str:
    """A mean with its interval, in percent."""
    return f"{100 * score.mean:.1f} ({_ends(score.interval)})"


def gain(score: Score) -> str:
    """A difference in points with its interval; nothing for floors."""
    return "" if score.gain is None else points(score.gain, score.gain_interval)


def points(difference: float, interval: Interval | None) -> str:
    """A difference in percentage points with its interval."""
    shown = f"{100 * difference:+.1f}".replace("-", MINUS)
    return f"{shown} ({_ends(interval, sign=True)})" if interval else shown


def rank(line: Line) -> str:
    """The rank with its interval."""
    if line.rank is None:
        return ""
    return f"{line.rank[0]:g}" + (f" ({line.rank[1]} to {line.rank[2]})" if line.seeds > FEW else "")


def iou(line: Line) -> str:
    """Mean IoU over seeds, and of each of them."""
    if not line.iou:
        return ""
    each = ", ".join(f"{100 * value:.1f}" for value in line.iou)
    return f"{100 * sum(line.iou) / len(line.iou):.1f}" + (f" ({each})" if len(line.iou) > 1 else "")


def number(value: object) -> str:
    """A number with three digits, nothing where there is none."""
    return words.compact(value) if isinstance(value, float) else ""


def learning_rate(found: Summary) -> Callable[[Line], str]:
    """The chosen rate, and whether it is the lowest or highest of those that were tried."""

    def cell(line: Line) -> str:
        if "lr" not in line.cost:
            return ""
        factors = sorted(float(row["factor"]) for row in found.tries if row["contender"] == line.name)  # type: ignore[arg-type]
        mine, shown = line.cost["factor"], number(line.cost["lr"])
        if len(factors) > 1 and mine in (factors[0], factors[-1]):
            shown += " (lowest)" if mine == factors[0] else " (highest)"
        return shown

    return cell


def _cost(line: Line, name: str, unit: float = 1.0) -> float | None:
    value = line.cost.get(name)
    return float(value) / unit if isinstance(value, float | int) else None


def _ends(interval: Sequence[float | None], sign: bool = False) -> str:
    plus = "+" if sign else ""
    low, high = ("?" if end is None else f"{100 * end:{plus}.1f}".replace("-", MINUS) for end in interval)
    return f"{low} to {high}"
