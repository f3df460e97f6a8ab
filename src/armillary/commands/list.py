"""`armillary list`: what there is, without importing torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import tyro

from .. import catalogue
from . import screen


@dataclass(frozen=True)
class List:
    """Flags of `list`."""

    json: bool = False
    """print {"methods": [...], "recipes": [...]} for other programs"""
    markdown: bool = False
    """print the table of methods as it stands in README.md"""


def main(arguments: list[str]) -> int:
    """List the methods and the recipes."""
    flags = tyro.cli(List, args=arguments, prog="armillary list", config=(tyro.conf.FlagCreatePairsOff,))
    if flags.json:
        screen.as_json(tree())
    elif flags.markdown:
        screen.say(markdown())
    else:
        rows = [(m.name, m.family, m.paper, m.summary) for m in catalogue.methods()]
        screen.table("Methods", ["name", "family", "paper", ""], rows)
        screen.table("Recipes", ["name", "method", ""], [(r.name, r.method, r.summary) for r in catalogue.recipes()])
    return 0


def tree() -> dict[str, list[dict[str, str]]]:
    """Methods and recipes as JSON; `file` is a path that opens from the current folder."""
    methods, recipes = catalogue.methods(), catalogue.recipes()
    return {
        "methods": [
            {"name": m.name, "family": m.family, "paper": m.paper, "file": _from_here(m.file)} for m in methods
        ],
        "recipes": [{"name": r.name, "method": r.method, "summary": r.summary} for r in recipes],
    }


def markdown() -> str:
    """The table of methods with links to their cards, papers and sources."""
    root, recipes = catalogue.PACKAGE.parents[1], catalogue.recipes()
    rows = ["| method | family | paper | what it does | recipes |", "|---|---|---|---|---|"]
    for m in catalogue.methods():
        paper = f"[{m.paper}](https://arxiv.org/abs/{m.paper})" if m.paper else ""
        source = f"[{m.summary}]({m.file.relative_to(root).as_posix()})"
        own = ", ".join(f"`{r.name}`" for r in recipes if r.method == m.name)
        rows.append(f"| [{m.name}](docs/methods/{m.name}.md) | {m.family} | {paper} | {source} | {own} |")
    return "\n".join(rows)


def _from_here(path: Path) -> str:
    """Relative where the file lies below the current folder, else absolute."""
    here = Path(os.getcwd()).resolve()
    return path.resolve().relative_to(here).as_posix() if path.resolve().is_relative_to(here) else str(path)
