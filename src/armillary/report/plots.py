"""The charts of a run, drawn on matplotlib's axes, so that the page and the wide picture draw the same ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from . import words
from .record import Record, branch, number, numbers
from .style import Colors

Series = Float[np.ndarray, " n"]
Bins = tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"]]
Draw = Callable[[Axes, Colors], None]
BINS = 160  # of a curve: more cannot be seen, and would only make the page larger
GAP = 0.11  # between the labels at the ends of curves, as a share of the height
DIAGNOSTICS = {  # name in the log: (title, what a reader should know)
    "participation": ("Participation ratio", "directions that carry the variance"),
    "effective_rank": ("Effective rank", "directions in use, counting faint ones"),
    "spread": ("Spread", "deviation over size: 0 when all inputs get one embedding"),
    "within": ("Variance within an input", "share of it: 0 when all its tokens are equal"),
    "over_time": ("Variance over time", "share of it: 0 when a trajectory has one code"),
    "r2": ("Prediction, R²", "1 is perfect, 0 is predicting the mean"),
    "copy_ratio": ("Prediction error over copy-last", "below 1 beats copying the last latent"),
}


@dataclass(frozen=True)
class Chart:
    """A chart with its title, a remark below it, how it is drawn, the value now, and whether its curves are named."""

    title: str
    remark: str
    draw: Draw
    value: str = ""
    labels: bool = False


@dataclass(frozen=True)
class Curve:
    """A line and the label at its end; dashed for what is not the run itself."""

    label: str
    x: Series
    y: Series
    color: str
    dashed: bool = False


def settings() -> AbstractContextManager[None]:
    """A context in which matplotlib draws as reports need it, whatever the user has configured."""
    return matplotlib.rc_context(
        {
            "svg.fonttype": "none",  # text stays text: small, selectable, in the page's font
            "svg.hashsalt": "armillary",  # the same run gives the same page, byte for byte
            "text.parse_math": False,  # a term may be called anything, also "$"
            "font.family": "DejaVu Sans",  # the one that comes with matplotlib, for measuring
        }
    )


def training(record: Record) -> list[Chart]:
    """Energy with its terms, and the learning rate; those that the log has."""
    charts = []
    steps, energy = record.series("energy", "loss")
    if len(steps):
        terms = {name: record.series(f"terms.{name}") for name in record.under("terms")}
        title = "Energy and its terms" if terms else "Energy"
        remark = "what training lowers, and its parts" if terms else "what training lowers"
        end = words.compact(_settled(energy))
        charts.append(Chart(title, remark, _energies(steps, energy, terms), end, labels=True))
    steps, rate = record.series("learning_rate", "lr")
    if len(steps):
        charts.append(
            Chart("Learning rate", f"highest {words.compact(float(rate.max()))}", _single(steps, rate, zero=True))
        )
    return charts


def diagnostics(record: Record) -> list[Chart]:
    """The watched statistics over time; those that the log has."""
    charts = []
    for name, (title, remark) in DIAGNOSTICS.items():
        steps, values = record.series(f"diagnostics.{name}", name)
        if len(steps):
            now = words.compact(float(values[-1]))
            charts.append(
                Chart(
                    title, remark, _single(steps, values, zero=name != "r2", highest=1.0 if name == "r2" else None), now
                )
            )
    return charts


def spectrum(record: Record) -> Chart | None:
    """Variance along each principal direction, relative to the largest, with the effective dimensions marked."""
    tree = branch(record.report, "diagnostics")
    values = np.sort(np.clip(np.array(numbers(tree.get("spectrum"))), 0, None))[::-1]
    if len(values) < 2 or values[0] <= 0:
        return None
    relative = np.maximum(values / values[0], 1e-8)
    names = {"participation": "Participation ratio", "rankme": "RankMe"}
    marks = [(number(tree.get(name)), title) for name, title in names.items()]

    def draw(axes: Axes, colors: Colors) -> None:
        index = np.arange(1, len(relative) + 1)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(max(1e-8, relative.min()) / 2, 2.5)
        axes.set_xlim(0.5, len(relative) + 0.5)
        axes.fill_between(index, relative, axes.get_ylim()[0], color=colors.accent, alpha=0.12, linewidth=0)
        dots = "o" if len(relative) <= 64 else None
        axes.plot(index, relative, color=colors.accent, linewidth=1.6, marker=dots, markersize=2.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("direction, largest first", color=colors.quiet, fontsize=12)
        _mark(axes, colors, sorted((value, name) for value, name in marks if value is not None))

    remark = f"{len(values)} directions, variance relative to the first, log scale"
    return Chart("Spectrum of the representation", remark, draw)


def history(record: Record) -> Chart | None:
    """The variances of some principal directions over the steps: bands that narrow or fall show a collapse coming."""
    ranks = sorted(int(rank) for rank in record.under("spectrum") if rank.isdecimal())
    series = {rank: record.series(f"spectrum.{rank}") for rank in ranks}
    if len(ranks) < 2 or len(series[1 if 1 in series else ranks[0]][0]) < 2:
        return None

    def draw(axes: Axes, colors: Colors) -> None:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        axes.yaxis.set_minor_formatter(NullFormatter())
        top = max(float(values.max()) for _, values in series.values())
        floor = max(top * 1e-8, min(float(values.min()) for _, values in series.values()) / 2)
        axes.set_ylim(floor, 2 * top)
        for steps, values in series.values():
            axes.fill_between(steps, np.maximum(values, floor), floor, color=colors.accent, alpha=0.1, linewidth=0)
            axes.plot(steps, np.maximum(values, floor), color=colors.accent, linewidth=1.0)
        axes.set_xlabel("step", color=colors.quiet, fontsize=12)

    shown = ", ".join(map(str, ranks[:-1]))
    remark = f"variance of principal directions {shown} and {ranks[-1]}, largest on top, log scale"
    return Chart("Spectrum over time", remark, draw)


def rollout(record: Record) -> Chart | None:
    """Error of open-loop rollouts by horizon, against copying the last latent and against shuffled actions."""
    lines = (("nmse", "model"), ("copy_nmse", "copy-last"), ("shuffled_nmse", "shuffled actions"))
    found = _by_horizon(branch(record.report, "rollout").get("by_horizon"), lines)
    if "model" not in found:
        return None
    return Chart(
        "Rollout error by horizon", "error over the variance of the target", _horizons(found, 1.0, mark=1.0),
        labels=True,
    )  # fmt: skip


def validation(record: Record) -> list[Chart]:
    """Ranking of actions, state along rollouts and reach by horizon; those that were measured."""
    charts = []
    ranking = branch(record.report, "rollout", "ranking")
    found = {
        label: curve
        for key, label in (("shuffled", "among shuffled"), ("redrawn", "among redrawn"))
        for curve in _by_horizon(ranking.get(key), (("top1", label),)).values()
    }
    if found:
        remark = f"how often they score best of {(number(ranking.get('others')) or 0) + 1:.0f}; the line is chance"
        draw = _horizons(found, 1.0, mark=number(ranking.get("chance_top1")))
        charts.append(Chart("Recorded actions, ranked", remark, draw, labels=True))
    lines = (("r2", "model"), ("encoded_r2", "encoded frames"), ("copy_r2", "copy-last"))
    found = _by_horizon(branch(record.report, "rollout", "probe").get("by_horizon"), lines)
    if found:
        charts.append(Chart("State along rollouts, R²", "of a linear probe", _horizons(found, 1.0), labels=True))
    lines = (("share", "plans arrive"), ("already", "before any action"), ("falling", "energy falls"))
    found = _by_horizon(branch(record.report, "rollout", "reach").get("by_horizon"), lines)
    if found:
        remark = "share of recorded goals, in the model's own rollouts; of recorded ways, where the energy only falls"
        charts.append(Chart("Goals within reach", remark, _horizons(found, 1.0), labels=True))
    return charts


def _by_horizon(rows: object, lines: tuple[tuple[str, str], ...]) -> dict[str, tuple[Series, Series]]:
    """The curves that rows with a `horizon` hold, by label."""
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    found: dict[str, tuple[Series, Series]] = {}
    for key, label in lines:
        pairs = [(number(row.get("horizon")), number(row.get(key))) for row in rows]
        known = np.array([pair for pair in pairs if None not in pair], dtype=np.float64)
        if len(known):
            found[label] = (known[:, 0], known[:, 1])
    return found


def _horizons(found: dict[str, tuple[Series, Series]], highest: float, mark: float | None = None) -> Draw:
    """Curves by horizon, the first one the model's; a line at `mark`."""

    def draw(axes: Axes, colors: Colors) -> None:
        shades = (colors.accent, colors.untrained, colors.raw)
        curves = [
            Curve(name, x, y, shades[i % len(shades)], i > 0) for i, (name, (x, y)) in enumerate(found.items())
        ]  # fmt: skip
        lowest = min(float(curve.y.min()) for curve in curves)
        top = 1.08 * max(highest, *(float(curve.y.max()) for curve in curves))
        axes.set_ylim(min(0.0, max(-1.0, lowest)), top)
        if mark is not None:
            axes.axhline(mark, color=colors.line, linewidth=1.2)
        _lines(axes, curves, dots=True)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("horizon, macro-steps", color=colors.quiet, fontsize=12)

    return draw


def style(axes: Axes, colors: Colors) -> None:
    """Axes without a frame: quiet labels, hairlines across."""
    axes.patch.set_visible(False)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(colors.line)
    axes.grid(axis="y", color=colors.line, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=colors.quiet, labelcolor=colors.quiet, labelsize=11.5, length=0, pad=5, which="both")
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=3))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))


def binned(x: Series, y: Series, bins: int = BINS) -> Bins:
    """Middle, median, tenth and ninetieth percentile of runs of neighboring points, at most `bins` of them."""
    parts = np.array_split(np.arange(len(x)), min(bins, len(x)))
    stacked = [(x[part].mean(), *np.percentile(y[part], (50, 10, 90))) for part in parts]
    middle, median, low, high = np.array(stacked).T
    return middle, median, low, high


def _energies(steps: Series, energy: Series, terms: dict[str, tuple[Series, Series]]) -> Draw:
    def draw(axes: Axes, colors: Colors) -> None:
        shades = (colors.untrained, colors.ceiling, colors.raw, colors.ink)
        curves = [Curve("energy", steps, energy, colors.accent)]
        for place, (name, (x, y)) in enumerate(terms.items()):
            curves.append(Curve(name, x, y, shades[place % len(shades)]))
        every = np.concatenate([curve.y for curve in curves])
        if every.min() > 0 and every.max() > 20 * every.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(_plain))
            axes.yaxis.set_minor_formatter(NullFormatter())
        _lines(axes, curves)
        axes.set_xlabel("step", color=colors.quiet, fontsize=12)

    return draw


def _single(steps: Series, values: Series, zero: bool, highest: float | None = None) -> Draw:
    def draw(axes: Axes, colors: Colors) -> None:
        if zero and values.min() >= 0:
            axes.set_ylim(0, 1.12 * float(values.max()) or 1.0)
        if highest is not None:
            lowest = float(values.min())
            axes.set_ylim(0 if lowest > -0.05 else max(-1.0, lowest), highest)
        x, y, _, _ = binned(steps, values)
        axes.plot(x, y, color=colors.accent, linewidth=1.7)
        axes.set_xlim(float(steps.min()), max(float(steps.max()), float(steps.min()) + 1))
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        axes.set_xlabel("step", color=colors.quiet, fontsize=12)

    return draw


def _mark(axes: Axes, colors: Colors, dimensions: Sequence[tuple[float, str]]) -> None:
    """Upright lines at effective dimensions, named on their open side."""
    for place, (value, _) in enumerate(dimensions):
        axes.axvline(value, color=colors.untrained, linewidth=1.3, linestyle=(0, (4, 3)) if place == 0 else "-")
    for place, (value, name) in enumerate(dimensions):
        left = value > 0.6 * axes.get_xlim()[1]
        axes.annotate(
            f"{name} {value:.1f}",
            (value, 0.94 - 0.1 * place),
            (-5 if left else 5, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            color=colors.untrained,
            fontsize=12,
            bbox={"facecolor": colors.paper, "edgecolor": "none", "pad": 1},
        )


def _lines(axes: Axes, curves: Sequence[Curve], dots: bool = False) -> None:
    """Each curve as its running median over a band of its spread, named at its right end."""
    for curve in curves:
        x, y, low, high = binned(curve.x, curve.y)
        dash = (0, (4, 2.5)) if curve.dashed else "-"
        if len(curve.x) > BINS:
            axes.fill_between(x, low, high, color=curve.color, alpha=0.16, linewidth=0)
        (line,) = axes.plot(x, y, color=curve.color, linewidth=1.7, linestyle=dash)
        if dots:
            line.set(marker="o", markersize=4, clip_on=False)
    span = max(float(curve.x.max()) for curve in curves)
    first = min(float(curve.x.min()) for curve in curves)
    axes.set_xlim(first, max(span, first + 1))
    _name_ends(axes, curves)


def _name_ends(axes: Axes, curves: Sequence[Curve]) -> None:
    """Labels beside the ends of curves, pushed apart where they would overlap."""
    low, high = (axes.yaxis.get_transform().transform(np.array(axes.get_ylim()))).tolist()
    ends = [float(axes.yaxis.get_transform().transform(np.array([_settled(curve.y)]))[0]) for curve in curves]
    places = [(end - low) / (high - low) for end in ends]
    order = sorted(range(len(curves)), key=lambda i: places[i])
    for below, above in pairwise(order):
        places[above] = max(places[above], places[below] + GAP)
    places[order[-1]] = min(places[order[-1]], 1.0)
    for above, below in pairwise(reversed(order)):
        places[below] = min(places[below], places[above] - GAP)
    for place, curve in zip(places, curves, strict=True):
        printable = "".join(letter if letter.isprintable() else "?" for letter in curve.label)
        label = printable if len(printable) <= 20 else f"{printable[:19]}…"
        axes.annotate(
            label,
            (1, place),
            (8, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=curve.color,
            fontsize=12,
        )


def _settled(values: Series) -> float:
    """Where a noisy curve ended: the median of its last tenth."""
    return float(np.median(values[-max(1, len(values) // 10) :]))


def _thousands(value: float, _: object = None) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"


def _plain(value: float, _: object = None) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:g}"
    power = math.floor(math.log10(abs(value)))
    return f"{value / 10**power:g}e{power}"
