"""One page that shows a run: everything is inside the file, nothing is loaded, no script runs."""

from __future__ import annotations

import os
from pathlib import Path

from . import sections
from .markup import Markup, element, void
from .record import Record, read
from .style import SHEET

# The browser itself keeps the promise: no script, no request, pictures and styles from inside the page only.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def write(folder: Path) -> Path:
    """Write `report.html` into a run folder, from what is there, and return its path.

    Raises:
        DataError: the folder is not that of a run.
        OSError: it cannot be written to; what was there before stays.
    """
    path = folder / "report.html"
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    page = render(read(folder)).encode("utf-8", "replace")  # JSON may hold halves of characters
    try:
        partial.write_bytes(page)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def render(record: Record) -> str:
    """The page as text; equal records give equal pages."""
    name = sections.name(record)
    head = element(
        "head",
        void("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{name} · Armillary"),
        element("style", Markup(SHEET)),
    )
    parts = [
        sections.header(record),
        sections.figures(record),
        sections.episodes(record),
        sections.plans(record),
        sections.distilled(record),
        sections.probes(record),
        sections.rollout(record),
        sections.validation(record),
        sections.expectations(record),
        sections.training(record),
        sections.diagnostics(record),
        sections.settings(record),
        sections.provenance(record),
        element("footer", f"Written by Armillary from {record.folder.resolve().name}. This page needs no network."),
    ]
    return f"<!doctype html>\n{element('html', head, element('body', element('main', *parts)), lang='en')}\n"
