"""Charts of a comparison: scores with intervals, and score against compute."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..report import words
from ..report.plots import Chart
from ..report.style import Colors
from .contenders import PIXELS
from .summary import Line, Summary

SHADES = ("#1f77b4", "#c2570c", "#00795c", "#b3261e", "#8250c4", "#8c6d1f", "#b0307c", "#5b6475", "#2c8fa3", "#6b8e23")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
LOW_SHOT = "low_shot"  # how names of these probes begin
ROW = 22.0  # pixels of a contender in the chart of scores


def height(found: Summary) -> float:
    """Of a chart in which each contender needs a line of text."""
    return max(240.0, 60 + ROW * len(found.lines))


def charts(found: Summary) -> list[Chart]:
    """Those that the rows have numbers for."""
    made = [scores(found)]
    if found.labeled and any(line.curve for line in found.lines):
        made.append(compute(found))
    if any(name.startswith(LOW_SHOT) for line in found.lines for held in line.further for name in held):
        made.append(shots(found))
    return made


def scores(found: Summary) -> Chart:
    """A dot for each contender, with its interval, the untrained backbones and raw pixels among them."""

    def draw(axes: Axes, colors: Colors) -> None:
        lines = found.lines[::-1]
        for y, line in enumerate(lines):
            color = {"run": colors.accent, PIXELS: colors.raw}.get(line.kind, colors.untrained)
            score = line.scores.get("linear")
            x = 100 * line.main if score or found.masked else line.main
            if score:
                low, high = (100 * end for end in score.interval)
                axes.plot([low, high], [y, y], color=color, linewidth=1.6)
                axes.plot(
                    [100 * value for value in score.seeds], [y] * len(score.seeds), "|", color=color, markersize=7
                )
            elif line.iou:
                axes.plot([100 * value for value in line.iou], [y] * len(line.iou), "|", color=color, markersize=7)
            axes.plot([x], [y], "o" if line.kind == "run" else "D", color=color, markersize=5)
        axes.yaxis.set_major_locator(MaxNLocator(1))
        axes.set_yticks([])
        axes.grid(axis="x", color=colors.line, linewidth=0.8)
        axes.set_ylim(-0.7, len(lines) - 0.3)
        for y, line in enumerate(lines):
            axes.annotate(
                _short(line.name), (1, y), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                va="center", color=colors.ink, fontsize=_font(line.name),
            )  # fmt: skip

    masked = "Mean IoU, %" if found.masked else "Uniformity of embeddings, negative: higher is more uniform"
    what = "Linear accuracy, %" if found.labeled else masked
    spread = "mean, interval over seeds, and single seeds" if found.labeled else "mean, and single seeds"
    return Chart(what, f"{spread}; diamonds are floors", draw, labels=True)


def compute(found: Summary) -> Chart:
    """Nearest-neighbor accuracy along each training against FLOPs: mean of seeds over their range."""
    lines = [line for line in found.lines if line.curve]

    def draw(axes: Axes, colors: Colors) -> None:
        ends = []
        for place, line in enumerate(lines):
            x, mean, low, high = np.array(line.curve).T
            color, dash = SHADES[place % len(SHADES)], DASHES[place // len(SHADES) % len(DASHES)]
            axes.fill_between(x, 100 * low, 100 * high, color=color, alpha=0.1, linewidth=0)
            axes.plot(x, 100 * mean, color=color, linewidth=1.6, linestyle=dash, marker="o", markersize=3)
            ends.append((100 * float(mean[-1]), color, line.name))
        axes.set_xlim(0, max(float(line.curve[-1][0]) for line in lines))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda value, _: words.compact(float(value)))
        axes.set_xlabel("counted FLOPs of training", color=colors.quiet, fontsize=12)
        _name(axes, ends)

    return Chart(
        "Score against compute", "nearest-neighbor accuracy along training, %; range of seeds", draw, labels=True
    )


def shots(found: Summary) -> Chart:
    """Accuracy of the low-shot probes against labeled images, mean of seeds over their range, raw pixels beside."""
    lines = [line for line in found.lines if any(name.startswith(LOW_SHOT) for held in line.further for name in held)]

    def draw(axes: Axes, colors: Colors) -> None:
        ends = []
        for place, line in enumerate(lines):
            x, scores = _low_shot(line, "score")
            color = SHADES[place % len(SHADES)]
            axes.fill_between(x, scores.min(1), scores.max(1), color=color, alpha=0.1, linewidth=0)
            axes.plot(x, scores.mean(1), color=color, linewidth=1.6, marker="o", markersize=3)
            ends.append((float(scores.mean(1)[-1]), color, line.name))
        x, scores = _low_shot(lines[0], "raw")
        axes.plot(x, scores.mean(1), color=colors.raw, linewidth=1.4, linestyle=DASHES[1])
        ends.append((float(scores.mean(1)[-1]), colors.raw, "raw pixels"))
        axes.set_xscale("log")
        axes.set_xticks(x, [words.count(value) for value in x])
        axes.minorticks_off()
        axes.set_xlabel("labeled images", color=colors.quiet, fontsize=12)
        _name(axes, ends)

    return Chart("Score against labels", "accuracy of a linear probe, %; range of seeds", draw, labels=True)


def _low_shot(line: Line, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Labeled images, each count once, and what was reached with so many: [counts, seeds] in percent."""
    found: dict[int, list[float]] = {}
    for name in (name for name in line.further[0] if name.startswith(LOW_SHOT)):
        told = [held[name] for held in line.further if name in held]
        found[int(told[0]["train"])] = [100 * float(one[key]) for one in told]
    order = sorted(found)
    return np.array(order), np.array([found[count] for count in order])


def _name(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names beside the ends of curves, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = min(0.05, 0.98 / max(1, len(ends)))
    order = sorted(ends, key=lambda end: end[0])
    places = [(end[0] - low) / (high - low) for end in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    over = max(0.0, places[-1] - 1.0)
    places = [place - over for place in places]
    for i in range(len(places) - 2, -1, -1):
        places[i] = min(places[i], places[i + 1] - gap)
    for place, (_, color, name) in zip(places, order, strict=True):
        axes.annotate(
            _short(name), (1, place), (8, 0), xycoords="axes fraction", textcoords="offset points", va="center",
            color=color, fontsize=_font(name),
        )  # fmt: skip


def _short(name: str) -> str:
    """At most 21 letters; the end of a longer name is what tells variants of a method apart."""
    return name if len(name) <= 21 else f"{name[:9]}…{name[-11:]}"


def _font(name: str) -> float:
    """The size in which a name fits beside a chart."""
    return min(12.0, 180 / len(_short(name)))
