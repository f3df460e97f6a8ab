"""Run folders: which recipe a name means, where its run lives, what is in it, and what is added to its report."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import ModuleType

from .. import catalogue
from ..data.dataset import Dataset, open_data
from ..data.episodes import EpisodeDataset
from ..data.formats.images import ImageDataset, Images
from ..data.statistics import Statistics
from ..errors import CheckpointError, ConfigError, suggest
from ..recipes import run as runs
from ..recipes.run import Json, Run
from ..training.checkpoint import lock

log = logging.getLogger("armillary.commands")

MEASURED = ("probe", "measured", "rollout", "plan", "distilled", "summary")  # parts of a report about certain weights
FAULTS = (ImportError, NameError, AttributeError, TypeError, ValueError, LookupError, ArithmeticError)


@dataclass(frozen=True)
class Reference:
    """A recipe as it was named: a name of ours, or path/to/file.py:function of the user's own.

    sha256: of the user's file, "" for a recipe of ours; folder: where its run lives unless --out says otherwise.
    """

    name: str
    run: Run
    folder: Path
    sha256: str = ""


def find(name: str) -> Reference:
    """The recipe that `name` means, called.

    Raises:
        ConfigError: no such recipe, file or function, or the function returns something else than a Run.
    """
    path, colon, function = name.rpartition(":")
    if name.endswith(".py") or path.endswith(".py"):
        return _outside(Path(path if colon else name), function if colon else "")
    entry = catalogue.recipe(name)
    module = importlib.import_module(f"armillary.recipes.{entry.file.stem}")
    return Reference(name, getattr(module, name)(), Path("runs") / name)


def _outside(path: Path, function: str) -> Reference:
    if not path.is_file():
        raise ConfigError(f"there is no file {path}; give the path of your own recipe as path/to/file.py:function")
    try:
        known = catalogue.recipes_in(path)
    except SyntaxError as error:
        raise ConfigError(f"{path}, line {error.lineno}: {error.msg}; correct the file") from None
    if not function and len(known) == 1:
        function = known[0]
    if function not in known:
        raise ConfigError(
            f"{path} has no recipe {function!r}: {suggest(function, known)}. A recipe is a function without parameters "
            "whose annotation says `-> Run`"
        )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    module = _module(path, sha256)
    try:
        run = getattr(module, function)()
    except ConfigError:
        raise
    except FAULTS as error:
        raise _faulty(path, error) from error
    if not isinstance(run, Run):
        raise ConfigError(f"{path}:{function} returned {type(run).__name__}; it must return armillary.Run")
    folder = path.stem if function == "recipe" else f"{path.stem}-{function}"
    return Reference(f"{path}:{function}", run, Path("runs") / folder, sha256)


def _module(path: Path, sha256: str) -> ModuleType:
    """The user's file as a module; its name follows from its content, so its classes are the same for all callers."""
    name = f"outside_{path.stem}_{sha256[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    with ExitStack() as undo:
        undo.callback(sys.modules.pop, name)  # half a module must not be found by the next caller
        try:
            spec.loader.exec_module(module)
        except FAULTS as error:
            raise _faulty(path, error) from error
        undo.pop_all()
    return module


def _faulty(path: Path, error: Exception) -> ConfigError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"{path}, line {lines[-1]}" if lines else str(path)
    return ConfigError(f"{where}: {type(error).__name__}: {error}; correct the file (--traceback shows more)")


def open_run(folder: Path, recipe: str = "") -> Run:
    """The run in a folder.

    recipe: the user's own file:function again, if the run was made by one; a folder never names code to execute.
    Raises:
        CheckpointError: no run there, or a damaged one.
        ConfigError: made by a file of the user's that was not named again, or by another recipe.
    """
    told = runs.read(folder)
    name = str(told["recipe"])
    if told.get("sha256") and not recipe:
        raise ConfigError(f"{folder} was made by a file of your own; name it again: --recipe {name}")
    reference = find(recipe or name)
    if bool(told.get("sha256")) != bool(reference.sha256) or (not reference.sha256 and reference.name != name):
        raise ConfigError(f"{folder} was made by {name}, not by {recipe}; give --recipe {name}")
    if told.get("sha256", "") != reference.sha256:
        log.warning("%s has changed since %s was made and is used as it is now", recipe, folder)
    return runs.load(folder, reference.run)


def check_made_by(reference: Reference, folder: Path) -> None:
    """Check that a run was made by this recipe, in a file that is still the same.

    Raises:
        CheckpointError: there is no run.
        ConfigError: it was made by another recipe, or by a file that has changed.
    """
    told = runs.read(folder)
    name, ours = str(told["recipe"]), reference.name
    if bool(told.get("sha256")) != bool(reference.sha256) or name.rpartition(":")[2] != ours.rpartition(":")[2]:
        raise ConfigError(f"{folder} holds a run of {name}, not of {ours}; choose another folder with --out")
    if told.get("sha256", "") != reference.sha256:
        raise ConfigError(
            f"{ours} has changed since {folder} was begun, so it would not be the same run; restore the file, or start "
            "anew with --fresh"
        )


def never_began(folder: Path) -> bool:
    """Whether a run folder holds settings and nothing else, as when the data were not found: nothing would be lost."""
    return not any((folder / name).exists() for name in ("checkpoints", "log.jsonl", "report.json"))


def occupied(folder: Path) -> bool:
    """Whether a run is there.

    Raises:
        ConfigError: the folder holds something, but no run: it is left alone.
    """
    if (folder / "run.json").is_file():
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and holds no run; give an empty or new folder with --out")
    return False


def save_statistics(dataset: Dataset, folder: Path) -> None:
    """Write the statistics by which images and episodes are normalized beside the run that uses them."""
    if isinstance(dataset, (EpisodeDataset, ImageDataset)):
        dataset.statistics.save(folder / "statistics.json")


def open_split(run: Run, folder: Path, split: str, **changes: int) -> Dataset:
    """A split of a run's data, normalized as in training; `changes` replace fields of its configuration."""
    data = replace(run.data, **changes)
    if (folder / "episodes" / "index.json").is_file():  # a demo's own, also after its folder was moved
        data = replace(data, path=str(folder / "episodes"))
    measured = folder / "statistics.json"
    if isinstance(data, Images) and measured.is_file():
        held = Statistics.load(measured)
        data = replace(data, mean=held.mean["image"], std=held.std["image"])
    dataset = open_data(data, split)
    if isinstance(dataset, EpisodeDataset):
        dataset.statistics = Statistics.load(measured)
    return dataset


def set_aside(folder: Path) -> Path:
    """Move a folder to the first free name among folder.1, folder.2, ...; returns that name.

    Raises:
        CheckpointError: another process writes in it.
    """
    folder = Path(os.path.normpath(Path.cwd() / folder))  # "." has no name
    target = next(p for n in count(1) if not (p := folder.with_name(f"{folder.name}.{n}")).exists())
    with lock(folder):
        folder.rename(target)
    return target


def last_step(folder: Path) -> int:
    """The last step in log.jsonl, 0 where there is none."""
    path = folder / "log.jsonl"
    steps = [0]
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue
        steps.append(row["step"] if isinstance(row, dict) and isinstance(row.get("step"), int) else 0)
    return max(steps)


def report(folder: Path) -> Json:
    """What report.json holds; nothing where it is missing.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / "report.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it and measure again") from None
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path} holds no object; delete it and measure again")
    return tree


def add_to_report(folder: Path, parts: Json) -> Json:
    """Put `parts` into report.json in place of what it said of them, and return all that it says now.

    `seconds` are merged and summed. Numbers that are not finite become null. With a new training goes what was
    measured of the weights before it.
    """
    told, before = runs.read(folder), report(folder)
    tree = {name: told.get(name, "") for name in ("recipe", "method", "seed", "commit", "machine")}
    stale = MEASURED if "training" in parts else ()
    before = {name: value for name, value in before.items() if name not in stale}
    tree |= before | {name: _plain(value) for name, value in parts.items()}
    seconds: dict[str, float] = {}
    for part in (before.get("seconds"), parts.get("seconds")):
        seconds |= part if isinstance(part, dict) else {}
    seconds = {name: spent for name, spent in seconds.items() if name not in ("total", *stale)}
    tree["seconds"] = {**seconds, "total": float(sum(seconds.values()))}
    runs.write_json(folder / "report.json", tree)
    return tree


def _plain(tree: object) -> object:
    """Tuples as lists, NaN and infinity as null: what JSON can say."""
    if isinstance(tree, dict):
        return {str(key): _plain(value) for key, value in tree.items()}
    if isinstance(tree, str):
        return tree
    if isinstance(tree, Iterable):
        return [_plain(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
