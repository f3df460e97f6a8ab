"""The pages of a comparison: Markdown that is made from rows alone, and HTML with charts and pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..recipes.run import Json
from . import markdown, page, table
from .summary import Summary, summary


@dataclass(frozen=True)
class Written:
    """What was written, and the table in short for a screen."""

    summary: Summary
    paths: tuple[Path, ...]
    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def tree(self) -> Json:
        """The summary as JSON."""
        return self.summary.tree()


def write(rows: Sequence[Json], failures: Sequence[Json], out: Path, text: Path | None = None) -> Written:
    """Write comparison.md (or `text`) and comparison.html into `out`.

    Raises:
        DataError: the rows hold no finished run, or mix comparisons.
        OSError: a page cannot be written; what was there before stays.
    """
    found = summary(rows, failures)
    paths = (text or out / "comparison.md", out / "comparison.html")
    for path, content in zip(paths, (markdown.render(found), page.render(found, out / "pictures")), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_text(content, encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    columns = table.columns(found, short=True)
    return Written(found, paths, tuple(columns), tuple(zip(*columns.values(), strict=True)))
