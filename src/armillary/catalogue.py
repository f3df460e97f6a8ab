"""What there is (verbs, methods, recipes), read from the sources without running them, so that listing is instant.

A method is a file in `methods/<family>/`: its name is the file's, its paper the arXiv id in the docstring's first line.
A recipe is a public function in `recipes/` without parameters that returns a `Run`, and its method is the one whose
`Config` it builds (`ijepa.Config(...)`), itself or through the functions of `recipes/` that it calls.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .errors import ConfigError, suggest

PACKAGE = Path(__file__).parent
VERBS = (  # as on a first day
    "demo", "collect", "convert", "train", "diagnose", "probe", "plan", "distill", "bench", "report", "list", "show",
    "doctor",
)  # fmt: skip


@dataclass(frozen=True)
class MethodEntry:
    """A method as listed. paper: its arXiv id, "" where it has none; file: its source."""

    name: str
    family: str
    paper: str
    summary: str
    file: Path


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe as listed. method: what it trains, "" where the source does not show it; file: its source."""

    name: str
    method: str
    summary: str
    file: Path


def methods() -> list[MethodEntry]:
    """All methods, by family and name."""
    found = []
    for path in _sources("methods"):
        line = _first_line(_tree(path))
        paper = re.search(r"arXiv[ :]*(\d{4}\.\d{4,5})", line)
        summary = re.sub(r" *\([^()]*\)\.?$", "", line).rstrip(".")
        found.append(MethodEntry(path.stem, path.parent.name, paper[1] if paper else "", summary, path))
    return found


def recipes() -> list[RecipeEntry]:
    """All recipes, by file and in the file's order."""
    paths, known = _sources("recipes"), {entry.name for entry in methods()}
    functions = {node.name: node for path in paths for node in _functions(path)}
    return [
        RecipeEntry(node.name, _method_of(node, known, functions), _first_line(node), path)
        for path in paths
        for node in _functions(path)
        if _is_recipe(node)
    ]


def recipe(name: str) -> RecipeEntry:
    """The recipe of that name.

    Raises:
        ConfigError: there is none.
    """
    known = {entry.name: entry for entry in recipes()}
    if name not in known:
        raise ConfigError(
            f"there is no recipe {name!r}: {suggest(name, known)} (`armillary list` shows all; one of your own is "
            "named as path/to/file.py:function)"
        )
    return known[name]


def recipes_in(path: Path) -> list[str]:
    """Names of the recipes in one file."""
    return [node.name for node in _functions(path) if _is_recipe(node)]


def verb_summary(verb: str) -> str:
    """The first line of the docstring of a verb's `main`; "" where there is none."""
    path = PACKAGE / "commands" / f"{verb}.py"
    mains = [node for node in _functions(path) if node.name == "main"] if path.is_file() else []
    return _first_line(mains[0]).rstrip(".") if mains else ""


@lru_cache(maxsize=256)
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in _tree(path).body if isinstance(node, ast.FunctionDef)]


def _sources(folder: str) -> list[Path]:
    return sorted(p for p in (PACKAGE / folder).rglob("*.py") if not p.name.startswith("_"))


def _first_line(node: ast.Module | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _is_recipe(node: ast.FunctionDef) -> bool:
    """A public function that takes nothing and returns `Run` or `Run[...]`."""
    returns = ast.unparse(node.returns).strip("'\"") if node.returns else ""
    returns_run = re.fullmatch(r"(\w+\.)*Run(\[.*)?", returns) is not None
    return returns_run and not node.name.startswith("_") and not ast.unparse(node.args)


def _method_of(
    node: ast.FunctionDef, known: set[str], functions: dict[str, ast.FunctionDef], seen: frozenset[str] = frozenset()
) -> str:
    """The one method in `known` whose `Config` the function builds, else the one of the functions that it calls."""
    inside = list(ast.walk(node))
    configs = [n.value for n in inside if isinstance(n, ast.Attribute) and n.attr == "Config"]
    found = {module.id for module in configs if isinstance(module, ast.Name)} & known
    if not found:
        seen |= {node.name}
        called = {n.id for n in inside if isinstance(n, ast.Name)} & functions.keys() - seen
        found = {_method_of(functions[name], known, functions, seen) for name in called} - {""}
    return found.pop() if len(found) == 1 else ""
