"""`armillary report`: the page of a run, written again from what its folder holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from ..report import page
from . import screen


@dataclass(frozen=True)
class Report:
    """Flags of `report`."""

    run: tyro.conf.Positional[Path]
    """run folder, e.g. runs/demo"""


def main(arguments: list[str]) -> int:
    """Write a run's report.html again: armillary report RUN."""
    flags = tyro.cli(
        Report, args=arguments, prog="armillary report", description="Write report.html into a run folder."
    )
    screen.say(str(page.write(flags.run)))
    return 0
