"""The tables of a page: figures beside their floors, probes and plans as bars, names beside values."""

from __future__ import annotations

from collections.abc import Sequence

from . import words
from .markup import Markup, element, join, void
from .scores import REFERENCES, Planned, Reference, Score

COLORS = {  # of references in bars: (variable of the style sheet, dashes); a shape for each, not only a color
    "untrained": ("untrained", ""),
    "raw": ("raw", "2 2"),
    "chance": ("raw", ""),
    "random": ("untrained", ""),
    "cloned": ("raw", ""),
    "true_dynamics": ("ceiling", ""),
    "planner": ("ceiling", "2 2"),
    "copy": ("untrained", "2 2"),
    "shuffled": ("raw", "2 2"),
}
LEFT, WIDTH, HEIGHT = 6.0, 280.0, 30.0  # of a bar: margin, whole width and height in pixels


def figures(scores: Sequence[Score]) -> Markup:
    """Every measured number, its interval, and the same measurement on the floors and ceilings."""
    rows = [
        (
            _named(score),
            element("span", words.figure(score.value, score.unit), class_="value"),
            element("span", words.interval(score.interval, score.unit), class_="range"),
            _beside(score),
        )
        for score in scores
    ]
    return table(("Figure", "Measured", "95 % interval", "Beside it"), rows)


def bars(scores: Sequence[Score], headings: tuple[str, ...], details: Sequence[tuple[str, ...]]) -> Markup:
    """Scores between 0 and 1 as bars, with further columns of details, and a legend for the marks.

    headings: of the names, and of the columns of details.
    """
    rows = [
        (_named(score), _value(score), element("div", bar(score), class_="bar"), *more)
        for score, more in zip(scores, details, strict=True)
    ]
    used = {reference.key: reference for score in scores for reference in score.references}
    items = [_legend("", "score with its 95 % interval")]
    items += [_legend(key, used[key].name) for key in REFERENCES if key in used]
    return join([table((headings[0], "Score", "0 to 1", *headings[1:]), rows), element("ul", *items, class_="legend")])


def bar(score: Score) -> Markup:
    """A score as a bar with a whisker, floors and ceilings as ticks; values outside 0 to 1 stand at the ends."""
    said = [f"{words.figure(score.value, score.unit)} ({words.interval(score.interval, score.unit) or 'no interval'})"]
    said += [f"{reference.name} {words.figure(reference.value, score.unit)}" for reference in score.references]
    middle = HEIGHT / 2
    parts = [_line(LEFT, WIDTH - LEFT, middle, "line", 8.0)]
    parts += [_line(_at(score.value, start=True), _at(score.value), middle, "accent", 8.0)]
    for reference in score.references:
        parts.append(_tick(reference, middle))
    if score.interval is not None:
        low, high = (_at(end) for end in score.interval)
        parts.append(_line(low, max(high, low + 1), middle, "ink", 1.6))
        parts += [_upright(end, middle, 4.0, "ink", 1.6) for end in (low, high)]
    return _drawing(WIDTH, HEIGHT, parts, f"{score.name}: {', '.join(said)}")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table whose rows become blocks on narrow screens, where each cell repeats its heading."""
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    body = []
    for first, *rest in rows:
        cells = [
            element("td", cell, **({"data_label": heading} if heading and cell else {}))
            for heading, cell in zip(headings[1:], rest, strict=True)
        ]
        body.append(element("tr", element("th", first, scope="row"), *cells))
    return element("table", element("thead", head), element("tbody", *body), class_="stack")


def pairs(rows: Sequence[tuple[str, str]], code: bool = False) -> Markup:
    """Names beside values."""
    kind = {"class_": "code"} if code else {}
    parts = [part for name, value in rows for part in (element("dt", name, **kind), element("dd", value, **kind))]
    return element("dl", *parts, class_="pairs")


def probed(probes: Sequence[Score]) -> Markup:
    """Scores of probes as bars."""
    details = [(_difference(score), element("span", score.settings, class_="small quiet")) for score in probes]
    return bars(probes, ("Probe", "Minus untrained", "Measured on"), details)


def planned(plans: Sequence[Planned]) -> Markup:
    """Success rates of planning as bars."""
    details = []
    for plan in plans:
        ranged = words.interval(plan.at_end_interval, "share")
        end = "" if plan.at_end is None else _with_range(words.figure(plan.at_end, "share"), ranged)
        details.append((end, _difference(plan)))
    return bars(plans, ("Goals", "At the last step", "Minus true dynamics"), details)


def distilled(policies: Sequence[Score]) -> Markup:
    """Success rates of a distilled policy as bars, and its time."""
    details = [(_difference(score), element("span", score.settings, class_="small quiet")) for score in policies]
    return bars(policies, ("Goals", "Minus its planner", "Time for an action"), details)


def _named(score: Score) -> Markup:
    return join([score.name, element("div", score.note, class_="quiet small") if score.note else ""])


def _beside(score: Score) -> Markup:
    cells = []
    for reference in score.references:
        cells.append(element("span", reference.name, class_="quiet"))
        cells.append(element("span", words.figure(reference.value, score.unit)))
        cells.append(element("span", words.interval(reference.interval, score.unit), class_="range"))
    return element("div", *cells, class_="beside") if cells else Markup("")


def _value(score: Score) -> Markup:
    return _with_range(words.figure(score.value, score.unit), words.interval(score.interval, score.unit), "value")


def _difference(score: Score) -> str:
    if score.difference is None:
        return ""
    signed = ("" if score.difference < 0 else "+") + words.figure(score.difference, score.unit)
    ends = words.interval(score.difference_interval, score.unit)
    return _with_range(signed.replace("%", "points"), ends.removesuffix(" %"))  # a percentage of what would be unclear


def _with_range(value: str, ends: str, class_: str = "") -> Markup:
    shown = element("span", value, **({"class_": class_} if class_ else {}))
    return join([shown, void("br"), element("span", ends, class_="range small")]) if ends else shown


def _at(value: float, start: bool = False) -> float:
    return LEFT if start else LEFT + min(max(value, 0.0), 1.0) * (WIDTH - 2 * LEFT)


def _tick(reference: Reference, middle: float) -> Markup:
    name, dashes = COLORS[reference.key]
    return _upright(_at(reference.value), middle, 11.0, name, 2.6, dashes)


def _upright(x: float, middle: float, half: float, color: str, width: float, dashes: str = "") -> Markup:
    return _stroke(x, middle - half, x, middle + half, color, width, dashes)


def _line(left: float, right: float, middle: float, color: str, width: float) -> Markup:
    return _stroke(left, middle, right, middle, color, width, "")


def _stroke(x1: float, y1: float, x2: float, y2: float, color: str, width: float, dashes: str) -> Markup:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    dashed = {"stroke_dasharray": dashes} if dashes else {}
    return element("line", **ends, stroke=f"var(--{color})", stroke_width=f"{width:g}", **dashed)


def _legend(key: str, name: str) -> Markup:
    if key:
        color, dashes = COLORS[key]
        parts = [_upright(12.0, 7.0, 7.0, color, 2.6, dashes)]
    else:
        parts = [
            _line(0.0, 14.0, 7.0, "accent", 8.0),
            _line(8.0, 22.0, 7.0, "ink", 1.6),
            _upright(8.0, 7.0, 4.0, "ink", 1.6),
        ]
        parts.append(_upright(22.0, 7.0, 4.0, "ink", 1.6))
    return element("li", _drawing(24.0, 14.0, parts, ""), name)


def _drawing(width: float, height: float, parts: Sequence[Markup], label: str) -> Markup:
    said = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return element("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", **said)
