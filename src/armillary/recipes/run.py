"""A run as data: what is trained, on what and for how long. Written to run.json and read back strictly.

A file never says which classes to build: the recipe that the user names does, and the file may only set their fields.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError

from .. import __version__
from ..errors import CheckpointError, ConfigError
from ..probes.suite import Probe
from ..training.loop import Loop
from ..training.optim import Optim

Method = TypeVar("Method")
Data = TypeVar("Data")
World = TypeVar("World")
Planning = TypeVar("Planning")
Json = dict[str, object]


@dataclass(frozen=True)
class Run(Generic[Method, Data, World, Planning]):
    """Everything that decides what a run computes. Each part is a frozen dataclass; its fields are the flags."""

    method: Method
    """the method: sizes, weights of its terms"""
    data: Data
    """where the data are and how they are read"""
    steps: int
    """optimizer steps"""
    batch: int
    """rows in a step, over all processes"""
    optim: Optim = Optim()
    """optimizer and schedules"""
    loop: Loop = Loop()
    """precision, checkpoints, logging"""
    seed: int = 0
    """of everything that is drawn"""
    probe: Probe = Probe()
    """how representations are measured"""
    world: World = None  # type: ignore[assignment]
    """environment in which episodes are collected and plans executed"""
    planning: Planning = None  # type: ignore[assignment]
    """planner, its goals and their number"""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not 0 <= self.seed < 2**31:
            raise ConfigError(
                f"steps {self.steps}, batch {self.batch}, seed {self.seed}; steps and batch must be 1 or more and the "
                "seed from 0 to 2147483647"
            )


def concrete(run: Run, nothing: object = type(None)) -> object:
    """`Run[...]` with the classes of this run's parts, from which flags and the strict reader are made."""
    parts = [getattr(run, name) for name in ("method", "data", "world", "planning")]
    return Run[tuple(nothing if part is None else type(part) for part in parts)]  # type: ignore[misc]


def values(run: Run) -> Json:
    """The fields of a run as JSON, nested as its dataclasses are."""
    return json.loads(_adapter(run).dump_json((run,)))[0]


def save(folder: Path, run: Run, recipe: str, sha256: str = "") -> None:
    """Write run.json: the recipe's name, every field, and what computed it (version, commit, torch, machine, threads).

    sha256: of the recipe's file, where it is one of the user's own.
    Raises:
        ConfigError: a value would not be read back as it was, e.g. an infinite number.
    """
    tree = {
        "recipe": recipe,
        "sha256": sha256,
        "method": type(run.method).__module__.rpartition(".")[2],
        "seed": run.seed,
        "values": values(run),
        "version": __version__,
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": run.loop.threads or torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "machine": machine(),
    }
    if restored(tree["values"], run, "run.json") != run:
        raise ConfigError("run.json cannot hold this run exactly: use finite numbers and the recipe's own classes")
    write_json(folder / "run.json", tree)


def read(folder: Path) -> Json:
    """What run.json holds, unchecked but for being an object with a recipe and values.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} is no run: it has no run.json; `armillary train RECIPE` makes runs/RECIPE")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); restore it, or train again with --fresh") from None
    held = tree if isinstance(tree, dict) else {}
    if not isinstance(held.get("recipe"), str) or not isinstance(held.get("values"), dict):
        raise CheckpointError(f"{path} describes no run: it needs `recipe` and `values`; restore it or train again")
    return tree


def load(folder: Path, recipe: Run) -> Run:
    """The run in `folder`, whose classes are those of `recipe`.

    A field that the file lacks keeps the recipe's value.
    Raises:
        CheckpointError: run.json is missing or damaged.
        ConfigError: it has an unknown field or a value of the wrong type.
    """
    return restored(read(folder)["values"], recipe, str(folder / "run.json"))


def restored(tree: object, recipe: Run, source: str) -> Run:
    """`recipe` with the fields that `tree` sets; `source` names the file in errors.

    Raises:
        ConfigError: unknown field or value of the wrong type.
    """
    try:
        return _adapter(recipe).validate_json(json.dumps([_over(recipe, tree, values(recipe))]))[0]
    except ValidationError as error:
        found = [f"{'.'.join(map(str, e['loc'][1:]))} = {e['input']!r}: {e['msg']}" for e in error.errors()]
        raise ConfigError(
            f"{source} does not fit the recipe: {'; '.join(found[:4])}. Correct these fields, or use the version and "
            "the recipe that wrote the file"
        ) from None


def write_json(path: Path, tree: Json) -> None:
    """Replace a JSON file in one step, so that a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(tree, indent=1, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # a full disk leaves no part of a file behind


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit of the checkout that this package runs from, "-dirty" where it was changed, "" outside a checkout."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git here, or it does not trust the folder: then unknown
        return ""


def machine() -> Json:
    """System, processor, cores that this process may use, memory in GiB, and the GPU's name."""
    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": model,
        "cores": cores,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "",
    }


def _adapter(run: Run) -> TypeAdapter:
    """The strict reader of runs with this run's classes; a tuple, because a bare dataclass takes no config."""
    return TypeAdapter(tuple[concrete(run)], config=ConfigDict(extra="forbid", strict=True))  # type: ignore[misc]


def _over(default: object, given: object, plain: object) -> object:
    """`given` over the fields of `default` (`plain` is `default` as JSON) wherever both describe the same class."""
    if not (is_dataclass(default) and isinstance(given, dict) and isinstance(plain, dict)):
        return given
    names = [field.name for field in fields(default)]
    if not set(given) <= set(names):
        return given  # another class, or an unknown field, which the reader reports
    return {n: _over(getattr(default, n), given[n], plain[n]) if n in given else plain[n] for n in names}
