"""HTML that is safe by construction: whatever is not `Markup` is text and gets escaped on its way in."""

from __future__ import annotations

import html
from collections.abc import Iterable


class Markup(str):
    """Text that is already HTML. Only this module and code that draws SVG make it from plain strings."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str) -> Markup:
    """`<name attributes>children</name>`; children that are not `Markup`, and all attributes, are escaped.

    An underscore in an attribute's name stands for a hyphen, one at its end is dropped (`class_`).
    """
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(v)}"' for key, v in attributes.items())
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def void(name: str, /, **attributes: str) -> Markup:
    """An element that has no end tag, such as `img`."""
    return Markup(element(name, **attributes).removesuffix(f"</{name}>"))


def join(parts: Iterable[str]) -> Markup:
    """All parts in a row; those that are not `Markup` are escaped."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))
