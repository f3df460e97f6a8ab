"""`armillary show`: what a recipe or a run is set to, where it differs from the recipe, and how far a run is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from ..recipes import run as runs
from ..training.checkpoint import checkpoints
from . import flags, screen, workspace

ABOUT = "Show the settings of a recipe (its name, or path/to/file.py:function) or of a run (its folder)."


@dataclass(frozen=True)
class Show:
    """Flags of `show`."""

    recipe: str = ""
    """path/to/file.py:function, to compare a run with the recipe of your own that made it"""
    json: bool = False
    """print as JSON"""


def main(arguments: list[str]) -> int:
    """Show the settings of a recipe or a run: armillary show RUN|RECIPE."""
    name, rest = flags.first(arguments, "show", "RUN|RECIPE", ABOUT)
    asked = flags.parse(Show, rest, "show RUN|RECIPE", ABOUT)
    folder = Path(name)
    if not (folder.is_dir() and (folder / "run.json").is_file()):
        if folder.is_dir():
            runs.read(folder)  # says what is missing
        found = runs.values(workspace.find(name).run)
        screen.as_json(found) if asked.json else screen.table(name, ["field", "value"], _flat(found))
        return 0
    told = runs.read(folder)
    if asked.json:
        screen.as_json(told | {"state": _state(folder)})
        return 0
    default = {} if told.get("sha256") and not asked.recipe else _defaults(asked.recipe or str(told["recipe"]))
    screen.table(str(folder), ["field", "value", "in the recipe" if default else ""], _lines(told["values"], default))
    origin = {name: told.get(name, "") for name in ("recipe", "version", "commit", "torch", "threads", "machine")}
    screen.table("", ["", ""], [*_flat(origin), *_state(folder).items()])
    return 0


def _defaults(recipe: str) -> dict[str, str]:
    """The recipe's own values, by dotted name."""
    return dict(_flat(runs.values(workspace.find(recipe).run)))


def _lines(values: object, default: dict[str, str]) -> Iterator[tuple[object, ...]]:
    """Each field; one that differs from the recipe stands out, beside what the recipe says."""
    for name, value in _flat(values):
        changed = bool(default) and default.get(name) != value
        style = "bold yellow" if changed else ""
        yield Text(name, style), Text(value, style), default.get(name, "absent") if changed else ""


def _flat(tree: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested settings as (dotted name, value)."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _flat(value, f"{prefix}.{name}" if prefix else name)
    elif isinstance(tree, list):
        yield prefix, " ".join(map(str, tree))
    else:
        yield prefix, "" if tree is None else str(tree)


def _state(folder: Path) -> dict[str, str]:
    """How far a run is and what was measured of it."""
    report = workspace.report(folder)
    return {
        "last step": f"{workspace.last_step(folder):,}",
        "checkpoints": ", ".join(path.name for path in checkpoints(folder)) or "none",
        "verdict": str(report.get("verdict", "not examined")),
        "measured": ", ".join(name for name in ("probe", "rollout", "plan") if name in report) or "nothing yet",
    }
