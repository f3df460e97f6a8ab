"""What a run folder holds, read without trust: every part may be missing, and a damaged part becomes a note."""

from __future__ import annotations

import json
import logging
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ..errors import DataError

log = logging.getLogger("armillary.report")

Json = dict[str, object]


@dataclass(frozen=True)
class Film:
    """Planned episodes as they were seen.

    frames, goal: the observations before the first and after every step, and the image that was the goal.
    path, target: (x, y) in pixels of the agent and of its goal; None where the state is not a place in the image.
    success:      whether the goal was reached at any step; first: the step at which it was, -1 where unknown.
    task:         what kind of goal each was, "" where unknown.
    """

    frames: UInt8[np.ndarray, "F N h w 3"]
    goal: UInt8[np.ndarray, "F h w 3"] | None
    path: Float[np.ndarray, "F N 2"] | None
    target: Float[np.ndarray, "F 2"] | None
    success: Bool[np.ndarray, " F"] | None
    first: Int[np.ndarray, " F"]
    task: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """The parts of a run folder; those that are missing are empty.

    log:   one dictionary of numbers per line, nested names joined by dots (`terms.prediction`).
    alarms: what the radar raised, in order: kind, step, since, sure, seen.
    verdict: of the last examination in the log, "" where there was none; report.json has that of a finished training.
    begun: when run.json was last written, as "YYYY-MM-DD hh:mm" of this machine; "" where there is none.
    notes: what could not be read, and why, in whole sentences.
    """

    folder: Path
    run: Json = field(default_factory=dict)
    log: tuple[dict[str, float], ...] = ()
    report: Json = field(default_factory=dict)
    film: Film | None = None
    alarms: tuple[Json, ...] = ()
    verdict: str = ""
    begun: str = ""
    notes: tuple[str, ...] = ()

    def series(self, *names: str) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Steps and values of the first of `names` that the log has, nested or not; empty arrays if none."""
        for name in names:
            key = next((key for key in self.names if key == name or key.endswith(f".{name}")), None)
            found = [(row["step"], row[key]) for row in self.log if key in row and "step" in row]
            if found:
                steps, values = np.array(found, dtype=np.float64).T
                return steps, values
        return np.empty(0), np.empty(0)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names that the log has, in order of appearance."""
        return tuple({name: None for row in self.log for name in row})

    def under(self, prefix: str) -> list[str]:
        """The last parts of the names that the log has under `prefix`, in order of appearance."""
        return [name.removeprefix(f"{prefix}.") for name in self.names if name.startswith(f"{prefix}.")]


def read(folder: Path) -> Record:
    """Read a run folder.

    Raises:
        DataError: `folder` holds none of `run.json`, `log.jsonl` and `report.json`.
    """
    if not any((folder / name).is_file() for name in ("run.json", "log.jsonl", "report.json")):
        state = "is a folder without run.json, log.jsonl and report.json" if folder.is_dir() else "is not a folder"
        raise DataError(
            f"{folder} {state}; give the folder of a run, e.g. runs/demo, "
            "as `armillary demo` and `armillary train RECIPE` make them"
        )
    notes: list[str] = []
    rows = list(_lines(folder / "log.jsonl", notes))
    record = Record(
        folder=folder,
        run=_object(folder / "run.json", notes),
        log=tuple(_numbers(row) for row in rows),
        alarms=tuple(alarm for row in rows for alarm in _alarms(row)),
        verdict=next((text(row["verdict"]) for row in reversed(rows) if row.get("verdict")), ""),
        report=_object(folder / "report.json", notes),
        film=_film(folder / "episodes.npz", notes),
        begun=_written(folder / "run.json"),
        notes=tuple(notes),
    )
    for note in notes:
        log.warning("%s: %s", folder, note)
    return record


def branch(tree: object, *path: str) -> Json:
    """The dictionary at `path` in nested dictionaries; an empty one where there is none."""
    for name in path:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else {}


def number(value: object) -> float | None:
    """A finite number as a float, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None


def numbers(value: object) -> list[float]:
    """The list of finite numbers that `value` is; empty if it is anything else."""
    found = [number(v) for v in value] if isinstance(value, list) else []
    return [v for v in found if v is not None] if None not in found else []


def text(value: object) -> str:
    """A string or number as a string, anything else as nothing."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def flat(tree: Json, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested dictionaries with their names joined by dots."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _written(path: Path) -> str:
    return f"{datetime.fromtimestamp(path.stat().st_mtime):%Y-%m-%d %H:%M}" if path.is_file() else ""


def _object(path: Path, notes: list[str]) -> Json:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # bad JSON and bad UTF-8 are ValueErrors
        notes.append(f"{path.name} could not be read and is left out ({error}).")
        return {}
    if not isinstance(value, dict):
        notes.append(f"{path.name} holds {type(value).__name__}, not an object, and is left out.")
        return {}
    return value


def _numbers(row: Json) -> dict[str, float]:
    return {name: value for name, leaf in flat(row) if (value := number(leaf)) is not None}


def _alarms(row: Json) -> list[Json]:
    told = row.get("alarms")
    return [alarm for alarm in told if isinstance(alarm, dict)] if isinstance(told, list) else []


def _lines(path: Path, notes: list[str]) -> Iterator[Json]:
    """The object on each line; a run that was killed may leave half a line, which is counted."""
    damaged = 0
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in filter(str.strip, lines):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if isinstance(row, dict):
                    yield row
                else:
                    damaged += 1
    if damaged:
        notes.append(f"{path.name} has damaged lines, {damaged} in all; they are left out.")


def _film(path: Path, notes: list[str]) -> Film | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            return _checked({name: archive[name] for name in archive.files})
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        notes.append(f"{path.name} could not be read and is left out ({error}).")
        return None


def _checked(arrays: dict[str, np.ndarray]) -> Film:
    frames = arrays.get("frames", np.empty(0))
    if frames.ndim != 5 or frames.dtype != np.uint8 or frames.shape[-1] not in (1, 3) or 0 in frames.shape:
        raise DataError(f"frames are {frames.dtype} {frames.shape}; they must be uint8 [episodes, steps, h, w, 1 or 3]")
    count, steps, height, width = frames.shape[:4]
    for name, shape in {"goal": (count, height, width), "positions": (count, steps), "goals": (count,)}.items():
        if name in arrays and arrays[name].shape[: len(shape)] != shape:
            raise DataError(f"{name} is {arrays[name].shape} beside frames {frames.shape}")
    for name in ("success", "first", "task"):
        if name in arrays and arrays[name].shape != (count,):
            raise DataError(f"{name} is {arrays[name].shape}; it must be one value for each of {count} episodes")
    path, target = _places(arrays, height, width)
    goal = arrays.get("goal")
    return Film(
        frames=_rgb(frames),
        goal=None if goal is None else _rgb(goal),
        path=path,
        target=target,
        success=arrays["success"].astype(bool) if "success" in arrays else None,
        first=arrays["first"].astype(np.int64) if "first" in arrays else np.full(count, -1),
        task=tuple(str(kind) for kind in arrays.get("task", np.full(count, ""))),
    )


def _rgb(images: UInt8[np.ndarray, "*any C"]) -> UInt8[np.ndarray, "*any 3"]:
    return np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:-1], 3)))


def _places(arrays: dict[str, np.ndarray], height: int, width: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Positions and goals if they are places in the image: two numbers that stay in it and use an eighth of it.

    Worlds whose state is angles and velocities have no places to draw; their goals are shown as images.
    """
    if "positions" not in arrays or "goals" not in arrays:
        return None, None
    path, target = (arrays[name].astype(np.float64) for name in ("positions", "goals"))
    if path.shape[-1] != 2 or target.shape != (len(path), 2):
        return None, None
    every = np.concatenate([path.reshape(-1, 2), target])
    inside = np.isfinite(every).all() and every.min() >= 0 and (every <= (width, height)).all()
    return (path, target) if inside and np.ptp(every) > max(height, width) / 8 else (None, None)
