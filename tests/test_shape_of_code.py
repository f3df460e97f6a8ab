"""The shape of the code: who imports whom, how long things are, what is documented, what is never used."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from armillary import catalogue

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "armillary"
SOURCES = sorted(PACKAGE.rglob("*.py"))
FLOOR = ("types", "errors", "randomness", "parallel", "contracts")  # each may import those before it
MAY_IMPORT = {
    **{name: FLOOR[:i] for i, name in enumerate(FLOOR)},
    "functional": FLOOR,
    "views": FLOOR,
    "nn": (*FLOOR, "functional", "views"),
    "methods": (*FLOOR, "functional", "views", "nn"),
    "planning": (*FLOOR, "functional"),
    "data": (*FLOOR, "views"),
    "envs": FLOOR,
    "probes": (*FLOOR, "functional", "nn"),
    "diagnostics": (*FLOOR, "functional", "nn"),
    "training": (*FLOOR, "functional", "nn", "diagnostics"),
    "report": FLOOR,
    "recipes": (*FLOOR, "views", "nn", "methods", "planning", "data", "envs", "probes", "diagnostics", "training"),
    "bench": (
        *FLOOR, "functional", "views", "nn", "methods", "data", "probes", "diagnostics", "training", "report",
        "recipes", "catalogue",
    ),
    "commands": (
        *FLOOR, "functional", "views", "nn", "methods", "planning", "data", "envs", "probes", "diagnostics", "training",
        "report", "recipes", "catalogue", "bench",
    ),
    "catalogue": ("errors",),
    "cli": ("errors", "catalogue", "commands"),
    "__init__": (),  # it imports by name, when a name is used
    "__main__": ("cli",),
}  # fmt: skip
FORBIDDEN = {"torchvision", "torchaudio", "torchcodec", "timm", "lightning", "pytorch_lightning", "hydra", "omegaconf",
             "librosa", "decord", "pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}  # fmt: skip
OPTIONAL = {"pyarrow", "h5py", "zarr", "av", "mujoco", "dm_control", "pygame", "tensorboard", "torch.utils.tensorboard"}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_LOOP = 400, 60, 200


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def part(path: Path) -> str:
    """The folder of the package that a file belongs to, or the file's own name at the top."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Full names of all modules that a file imports, wherever in it, relative ones resolved."""
    package = ["armillary", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node, f"{module}.{alias.name}") for alias in node.names)


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, FUNCTION):
                yield path, node


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Calls in a file with the called name as written, e.g. `torch.load`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def test_every_part_has_its_place_in_the_table():
    assert {part(path) for path in SOURCES} - {"py"} <= MAY_IMPORT.keys()


def test_parts_import_only_what_the_table_allows():
    wrong = []
    for path in SOURCES:
        allowed = {part(path), "__init__", "", *MAY_IMPORT[part(path)]}
        for node, name in imports(path):
            _, inside, rest = name.partition("armillary.") if name.startswith("armillary") else ("", "", "")
            target = rest.split(".")[0]
            known = target in MAY_IMPORT  # else a name of the package itself, such as __version__
            if inside and known and target not in allowed:
                wrong.append(f"{where(path, node)} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_methods_never_import_each_other():
    wrong = [
        f"{where(path, node)} imports {name}"
        for path in (PACKAGE / "methods").rglob("*.py")
        for node, name in imports(path)
        if name.startswith("armillary.methods")
    ]
    assert not wrong, "\n".join(wrong)


def test_forbidden_packages_are_not_imported_and_optional_ones_only_inside_functions():
    wrong = []
    for path in SOURCES:
        inside = {inner for node in ast.walk(tree(path)) if isinstance(node, FUNCTION) for inner in lines(node)}
        for node, name in imports(path):
            optional = any(name == package or name.startswith(f"{package}.") for package in OPTIONAL)
            if name.split(".")[0] in FORBIDDEN or (optional and node.lineno not in inside):
                wrong.append(f"{where(path, node)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_files_and_functions_are_short():
    wrong = []
    for path in SOURCES:
        length = len(path.read_text(encoding="utf-8").splitlines())
        if length > LONGEST_FILE:
            wrong.append(f"{where(path, tree(path))} has {length} lines")
    for path, node in functions():
        limit = (
            LONGEST_LOOP if (part(path), path.name, node.name) == ("training", "loop.py", "_fit") else LONGEST_FUNCTION
        )
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > limit:
            wrong.append(f"{where(path, node)} {node.name} has {lines} lines")
    assert not wrong, "\n".join(wrong)


def test_libraries_do_not_print():
    wrong = [
        where(p, n) for p in SOURCES if part(p) != "commands" for n, name in calls(p) if name in ("print", "pprint")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_except_catches_everything():
    wrong = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = "" if node.type is None else ast.unparse(node.type)
                if not caught or any(name in ("Exception", "BaseException") for name in caught.strip("()").split(", ")):
                    wrong.append(where(path, node))
    assert not wrong, "\n".join(wrong)


def test_nothing_is_pickled():
    wrong = []
    for path in SOURCES:
        for node, name in calls(path):
            pickles = any(
                k.arg == "allow_pickle" and getattr(k.value, "value", None) is not False for k in node.keywords
            )
            if name in ("torch.load", "torch.save") or pickles:
                wrong.append(f"{where(path, node)} {name}")
    assert not wrong, "\n".join(wrong)


def test_steps_do_not_wait_for_the_device():
    hot = [path for path in SOURCES if part(path) in ("functional", "nn", "methods")]
    wrong = [where(path, node) for path in hot for node, name in calls(path) if name.endswith(".item")]
    assert not wrong, "\n".join(wrong)


def public(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """The file, its public classes and functions, and the public methods of those classes."""
    yield "the file", tree(path)
    for node in tree(path).body:
        if isinstance(node, (ast.ClassDef, *FUNCTION)) and not node.name.startswith("_"):
            yield node.name, node
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, FUNCTION) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def test_every_public_name_is_documented():
    wrong = [
        f"{where(path, node)} {name}"
        for path in SOURCES
        for name, node in public(path)
        if not ast.get_docstring(node)  # type: ignore[arg-type]
    ]
    assert not wrong, "\n".join(wrong)


def test_every_method_has_a_card_and_every_recipe_is_in_the_docs():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    missing = [m.name for m in catalogue.methods() if not (ROOT / "docs" / "methods" / f"{m.name}.md").is_file()]
    unnamed = [r.name for r in catalogue.recipes() if f"`{r.name}`" not in text and r.name not in text.split()]
    assert not missing, f"docs/methods has no card of {missing}"
    assert not unnamed, f"no page names the recipes {unnamed}"
