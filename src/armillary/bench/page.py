"""A comparison as one page of HTML: everything is inside the file, nothing is loaded, no script runs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from ..report import words
from ..report.drawing import svg
from ..report.markup import Markup, element, join, void
from ..report.page import POLICY
from ..report.style import SHEET
from ..report.tables import table as grid
from . import charts, table
from .markdown import tried
from .summary import Line, Summary
from .texts import FURTHER, failed, how, lead, notes

OWN = """
main{max-width:1180px}
.wide{overflow-x:auto}
.wide table{font-size:14px}
.wide th,.wide td{padding:9px 18px 9px 0;white-space:nowrap}
.matrix td,.matrix th{padding:5px 8px;text-align:right;font-size:13px;white-space:nowrap;border:0}
.matrix .yes,.matrix .no{font-weight:650}
.matrix thead th{vertical-align:bottom}
.shown{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:28px 32px}
.shown img{display:block;max-width:100%;height:auto;image-rendering:pixelated}
.shown figcaption{margin:0 0 6px}
"""


def render(found: Summary, pictures: Path) -> str:
    """The page as text; equal rows and pictures give equal pages."""
    title = f"Comparison on {found.data['name']}"
    head = element(
        "head",
        void("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{title} · Armillary"),
        element("style", Markup(SHEET + OWN)),
    )
    parts = [
        element("header", element("p", "Armillary · comparison", class_="eyebrow"), element("h1", title)),
        element("p", lead(found), class_="lead"),
        _drawn(found),
        _section("All numbers", how(found), _wide(table.columns(found))),
        _further(found),
        _notes(found),
        _matrix(found),
        _pictures(found, pictures),
        _tries(found),
        element("footer", "Written by Armillary from rows.jsonl. This page needs no network."),
    ]
    return f"<!doctype html>\n{element('html', head, element('body', element('main', *parts)), lang='en')}\n"


def _section(title: str, about: str, *parts: str) -> Markup:
    said = [element("p", about, class_="about")] if about else []
    return element("section", element("h2", title), *said, *parts)


def _wide(columns: dict[str, list[str]]) -> Markup:
    rows = list(zip(*columns.values(), strict=True))
    return element("div", grid(tuple(columns), rows), class_="wide")


def _drawn(found: Summary) -> Markup:
    figures = []
    for place, chart in enumerate(charts.charts(found)):
        height = charts.height(found)
        caption = element("figcaption", chart.title, element("div", chart.remark, class_="small"))
        figures.append(element("figure", caption, svg(f"chart{place}", chart, 520.0, height)))
    return element("section", element("div", *figures, class_="charts"))


def _further(found: Summary) -> Markup:
    columns = table.further(found)
    return _section("Other probes", FURTHER, _wide(columns)) if columns["Probe"] else Markup("")


def _notes(found: Summary) -> Markup:
    said = [*notes(found), *(f"Failed: {line}" for line in failed(found))]
    return element("div", *(element("p", text) for text in said), class_="note unknown") if said else Markup("")


def _matrix(found: Summary) -> Markup:
    """Differences of each contender (row) from each other one (column)."""
    names = [line.name for line in found.lines if line.kind == "run"]
    if not found.pairs:
        return Markup("")
    held = {(pair.first, pair.second): pair for pair in found.pairs}
    head = element("tr", element("th", ""), *(element("th", name, scope="col") for name in names))
    body = []
    for first in names:
        cells = [element("th", first, scope="row")]
        for second in names:
            pair, sign = (held[first, second], 1) if (first, second) in held else (held.get((second, first)), -1)
            if pair is None:
                cells.append(element("td", "·" if first == second else "", class_="quiet"))
                continue
            kind = ("yes" if sign * pair.difference > 0 else "no") if pair.differ else "quiet"
            ends = tuple(sorted(sign * end for end in pair.interval))
            tip = table.points(sign * pair.difference, (ends[0], ends[1]))
            cells.append(element("td", table.points(sign * pair.difference, None), class_=kind, title=tip))
        body.append(element("tr", *cells))
    made = element("table", element("thead", head), element("tbody", *body), class_="matrix")
    differ = sum(pair.differ for pair in found.pairs)
    about = (
        f"Linear accuracy of the row minus that of the column, in points, paired over test images and seeds. Colored "
        f"where the 95 % interval leaves zero out: {differ} of {len(found.pairs)} pairs, not corrected for that number."
    )
    return _section("Which methods differ", about, element("div", made, class_="wide"))


def _pictures(found: Summary, folder: Path) -> Markup:
    """Nearest neighbors and patch features of each contender, where the pictures are at hand."""
    shown = [_figures(line, folder) for line in found.lines]
    flat = [figure for figures in shown for figure in figures]
    if not flat:
        return Markup("")
    about = (
        "Left: test images and the train images nearest to them by cosine. Right: the same test images above their "
        "patches, colored by the first three principal directions of the features. Seed 0."
    )
    return _section("What is near to what", about, element("div", *flat, class_="shown"))


def _figures(line: Line, folder: Path) -> Sequence[Markup]:
    found = []
    for key in line.keys[:1]:
        for kind, said in (("neighbors", "nearest train images"), ("patches", "patch features")):
            path = folder / f"{key}-{kind}.png"
            if path.is_file():
                data = base64.b64encode(path.read_bytes()).decode()
                image = void("img", src=f"data:image/png;base64,{data}", alt=f"{said} of {line.name}")
                found.append(element("figure", element("figcaption", f"{line.name}: {said}"), image))
            elif found:
                found.append(element("figure", ""))
    return found


def _tries(found: Summary) -> Markup:
    if not found.tries:
        return Markup("")
    inner = join([_wide(tried(found))])
    count = words.count(float(len(found.tries)))
    return element(
        "section", element("details", element("summary", f"Learning rates that were tried ({count})"), inner)
    )
