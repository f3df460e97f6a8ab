"""What a command shows: the consoles, one red error, tables, sizes and durations in words."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 1000  # columns of a file or pipe: a table there takes what it needs, so that paths and numbers stay whole
out = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE)
err = Console(stderr=True, highlight=False)


def error(message: str) -> None:
    """One message in red on stderr, whole words kept, nothing in it read as markup."""
    err.print(Text(f"error: {message}", style="bold red"), soft_wrap=True)


class Warnings(logging.Handler):
    """Shows what libraries log, one line each on stderr, where it does not disturb live progress."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        err.print(Text(f"{record.levelname.lower()}: {record.getMessage()}", style=style), soft_wrap=True)


def show_warnings() -> None:
    """From now on show what the library logs."""
    logger = logging.getLogger("armillary")
    if not any(isinstance(handler, Warnings) for handler in logger.handlers):
        logger.addHandler(Warnings())


def say(message: str, style: str = "") -> None:
    """One line on stdout, nothing in it read as markup."""
    out.print(Text(message, style=style), soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table whose first column is not wrapped; without a head where no column has a name."""
    style = box.SIMPLE_HEAD if any(columns) else None
    shown = Table(title=title or None, title_justify="left", title_style="bold", box=style, show_header=any(columns))
    for name in columns:
        shown.add_column(name, overflow="fold", no_wrap=not shown.columns)
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    out.print(shown)


def as_json(tree: object) -> None:
    """JSON for other programs: plain, on stdout."""
    out.file.write(json.dumps(tree, indent=1, allow_nan=False) + "\n")


def duration(seconds: float) -> str:
    """Seconds as a reader would say them: 42 s, 7 min 32 s, 3 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def rate(per_second: float, unit: str) -> str:
    """A speed as a reader would say it: 12 steps/s, 3.4 s/step."""
    return f"{per_second:.3g} {unit}s/s" if per_second >= 1 else f"{1 / per_second:.3g} s/{unit}"


def size(count: float) -> str:
    """Bytes in MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def words(tree: dict[str, object]) -> str:
    """Nested settings in one line."""
    parts = (f"{k.replace('_', ' ')} {f'({words(v)})' if isinstance(v, dict) else v}" for k, v in tree.items())
    return ", ".join(parts)


def fraction(row: dict[str, object], name: str) -> str:
    """A share with its interval, in percent."""
    low, high = row["interval" if name == "success" else f"{name}_interval"]  # type: ignore[misc]
    return f"{100 * row[name]:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"  # type: ignore[operator]
