"""A chart as SVG that is part of a page: small, in the page's font and colors, with ids of its own."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from .markup import Markup
from .plots import Chart, settings, style
from .style import THEMED, themed

SILENT = {"Date": None, "Creator": None, "Format": None, "Type": None}


def svg(name: str, chart: Chart, width: float = 460.0, height: float = 240.0) -> Markup:
    """The chart as an SVG element whose colors follow the page.

    name: unique in the page; all ids begin with it.
    """
    with settings():
        figure = Figure(figsize=(width / 72, height / 72))
        figure.patch.set_visible(False)
        right = 112 if chart.labels else 14
        axes = figure.add_axes((44 / width, 42 / height, 1 - (44 + right) / width, 1 - 52 / height))
        style(axes, THEMED)
        chart.draw(axes, THEMED)
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata=SILENT)
    root = ElementTree.fromstring(file.getvalue())
    _clean(root, name)
    root.attrib.clear()
    label = f"{chart.title}; {chart.remark}"
    root.attrib.update({"role": "img", "viewBox": f"0 0 {width:g} {height:g}", "aria-label": label})
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(node: ElementTree.Element, name: str) -> None:
    """Drop what a page does not need: namespaces, global styles, fonts, unused ids, digits that cannot be seen."""
    node.tag = node.tag.rpartition("}")[2]
    node.tail = None
    kept = {}
    for key, value in node.attrib.items():
        plain = key.rpartition("}")[2]
        if plain == "id" and node.tag != "g":
            kept["id"] = f"{name}-{value}"
        elif plain == "href":
            kept["href"] = f"#{name}-{value.removeprefix('#')}"
        elif plain == "clip-path":
            kept["clip-path"] = value.replace("url(#", f"url(#{name}-")
        elif plain == "style":
            kept["style"] = themed(re.sub(r" ?font-family: [^;]*;?", "", value))
        elif plain == "d":
            kept["d"] = re.sub(r"(\.\d\d)\d+", r"\1", value).replace("\n", "")
        elif plain != "id" and not value.startswith("rotate(-0 "):
            kept[plain] = value
    node.attrib = kept
    if node.text is not None and not node.text.strip():
        node.text = None
    for child in list(node):
        if child.tag.endswith(("metadata", "style")):
            node.remove(child)
        else:
            _clean(child, name)
