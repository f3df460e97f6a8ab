"""`armillary convert`: recorded trajectories of any known format into a store of episodes, with a check of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..data.convert import Conversion, convert
from ..data.trajectories import FORMATS, Keys, open_trajectories
from ..errors import ConfigError
from . import flags, screen, workspace
from .progress import Watch

ABOUT = (
    "Convert recorded trajectories to a store of episodes (data.path of world models) and report what is in them. "
    f"Formats: {', '.join(FORMATS)}."
)


@dataclass(frozen=True)
class Convert:
    """Flags of `convert`."""

    path: tyro.conf.Positional[Path]
    """file or folder of trajectories"""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """folder of the store, which is made"""
    format: str = ""
    """what it is; found out where it is not given"""
    size: int = 64
    """side of the images in pixels; 0 keeps theirs"""
    keys: Annotated[Keys, tyro.conf.arg(name="")] = field(default_factory=Keys)
    how: Annotated[Conversion, tyro.conf.arg(name="")] = field(default_factory=Conversion)
    fresh: bool = False
    """move a store that is there aside, to OUT.1 or the next free number"""
    json: bool = False
    """print the report as JSON"""


def main(arguments: list[str]) -> int:
    """Convert recorded trajectories to episodes and check them: armillary convert PATH OUT."""
    asked = flags.parse(Convert, arguments, "convert", ABOUT)
    if asked.path.exists() and asked.out.resolve() == asked.path.resolve():
        raise ConfigError(f"{asked.out} is the data itself: give another folder for the store")
    source = open_trajectories(asked.path, asked.format, asked.keys, asked.size)
    if asked.fresh and asked.out.exists():
        screen.say(f"the old store is now in {workspace.set_aside(asked.out)}")
    with Watch("converting", len(source), unit="episode", shown=not asked.json) as watch:
        report = convert(source, asked.out, asked.how, lambda done, _: watch.at(done))
    if asked.json:
        screen.as_json(report)
    else:
        show(asked.out, report)
    return 0


def show(out: Path, report: dict[str, Any]) -> None:
    """The report in tables and sentences."""
    lengths, held, rate = report["lengths"], report["held_out"], report["frame_rate"]
    origin, judged = report["source"], report["alignment"]
    rows = [
        ("format", origin["format"]),
        *((role, " + ".join(keys)) for role, keys in origin["columns"].items()),
        ("episodes", f"{report['episodes']:,} of {lengths['min']} to {lengths['max']} frames ({lengths['median']:g})"),
        ("steps", f"{report['steps']:,}"),
        ("frame rate", f"{rate:g} a second" if rate else "not known; say it with --frame-rate if time has a unit"),
        ("stored", ", ".join(f"{key} {' x '.join(map(str, kind))}" for key, kind in report["columns"].items())),
        ("repeated frames", f"{report['repeated']:.1%}"),
        ("held out", f"{len(held['episodes'])} episodes, by {held['by']}"),
    ]
    if judged:
        told = ", ".join(f"{int(shift):+d}: {value:.3f}" for shift, value in judged["explained"].items())
        rows.append(("change explained", f"by actions shifted {told}; without actions {judged['alone']:.3f}"))
    screen.table(str(out), ["", ""], rows)
    numbers = ("low", "high", "mean", "std")
    screen.table(
        "Actions (mean and std of the training episodes)", ["name", *numbers, "at the ends", ""],
        [
            (row["name"], *(f"{row[n]:.4g}" for n in numbers), f"{row['saturated']:.0%}", _kind(row))
            for row in report["action"]
        ],
    )  # fmt: skip
    for note in report["notes"]:
        screen.say(f"note: {note}", "dim")
    for warning in report["warnings"]:
        screen.say(f"warning: {warning}", "yellow")
    if not report["warnings"]:
        screen.say("nothing looks wrong", "green")


def _kind(row: dict[str, Any]) -> str:
    return "constant" if row["constant"] else "whole numbers" if row["whole_numbers"] else ""
