"""Folders of frames with a CSV file of actions: one folder per episode, for data that anyone can write by hand.

    drive/  episode_0/  000.png 001.png ... steps.csv       columns: action_x, action_y, state_0, ...; one row per frame

Columns whose names begin alike (`action_x`, `action.y`, `action[2]`) are one. The last row's action may be empty. A
column `frame` names the image files, else they are taken in the order of their numbers; `time` (seconds) or
`timestamp` gives the frame rate.
"""

from __future__ import annotations

import csv
import os
import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...errors import DataError
from .folders import SUFFIXES
from .recording import Recording, Shape, in_order
from .table import decoded

TIME, FRAME = ("time", "timestamp"), "frame"
Table = dict[str, np.ndarray]


def episode_folders(path: Path) -> list[Path]:
    """The folders below `path` that hold a CSV file, or `path` itself."""
    if any(path.glob("*.csv")):
        return [path]
    below = {folder.name: folder for folder in path.iterdir() if folder.is_dir() and any(folder.glob("*.csv"))}
    return [below[name] for name in in_order(below)]


def open_frames(path: Path, size: int) -> Recording:
    """Episodes in folders of images and one CSV file each; the images may be missing altogether.

    Raises:
        DataError: several CSV files in a folder, a CSV that is no table of numbers, missing images.
    """
    folders = episode_folders(path)
    if not folders:
        raise DataError(f"no folder below {path} holds a CSV file: put one beside the frames of each episode")
    table = lru_cache(maxsize=1)(_table)
    first = table(folders[0])
    times = first.get(next((name for name in TIME if name in first), ""), np.zeros(0))
    columns: dict[str, Shape] = {
        name: held.shape[1:] for name, held in first.items() if name not in TIME and held.dtype.kind == "f"
    }
    labels = {name: _labels(folders[0], name) for name in columns}
    if FRAME in first or _images(folders[0]):
        columns["image"] = (0, 0, 3)

    def load(episode: int, name: str) -> np.ndarray:
        folder = folders[episode]
        held = table(folder)
        if name == "image":
            files = [folder / str(f) for f in held[FRAME]] if FRAME in held else _images(folder)
            return np.stack([_pixels(file, size) for file in files]) if files else np.zeros((0, 8, 8, 3), np.uint8)
        if name not in held:
            raise DataError(f"{folder} has no column {name!r}, which {folders[0].name} has: add it")
        return held[name]

    rate = 1 / float(np.median(np.diff(times))) if len(times) > 1 and np.all(np.diff(times) > 0) else 0.0
    names = tuple(folder.name for folder in folders)
    return Recording(path, "frames", names, columns, load, frozenset({"image"} & columns.keys()), labels, rate)


def _csv(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the only CSV file of a folder."""
    files = sorted(folder.glob("*.csv"))
    if len(files) != 1:
        raise DataError(f"{folder} holds {len(files)} CSV files: one with a row for each frame is needed")
    try:
        with files[0].open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (ValueError, csv.Error) as error:
        raise DataError(f"{files[0]} is no table ({error}): a header and a row for each frame are needed") from None
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(header)), None)
    if wrong is not None or len(set(header)) != len(header):
        at = f"row {wrong} has {len(rows[wrong])} cells" if wrong is not None else "a name stands twice"
        raise DataError(f"{files[0]} names {len(header)} columns, but {at}: every row needs one cell for each column")
    return [name.strip() for name in header], rows


def _table(folder: Path) -> Table:
    """The columns of a CSV file; those that begin alike are joined to [T, n], empty cells are NaN."""
    header, rows = _csv(folder)
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        groups.setdefault(_group(name), []).append(place)
    held: Table = {}
    for name, places in groups.items():
        cells = [[row[place].strip() for place in places] for row in rows]
        if name == FRAME:
            held[name] = np.array([row[0] for row in cells])
            continue
        try:
            numbers = np.array([[float(cell) if cell else np.nan for cell in row] for row in cells], np.float64)
        except ValueError as error:
            raise DataError(f"column {name!r} of {folder} holds no number ({error}): numbers are needed") from None
        held[name] = numbers[:, 0] if len(places) == 1 and name in TIME else numbers
    return held


def _group(name: str) -> str:
    return name if name in (*TIME, FRAME) else re.split(r"[_.\[ ]", name, maxsplit=1)[0]


def _labels(folder: Path, group: str) -> tuple[str, ...]:
    return tuple(name for name in _csv(folder)[0] if _group(name) == group)


def _images(folder: Path) -> list[Path]:
    """The image files of a folder in the order of their numbers.

    Raises:
        DataError: a number is left out.
    """
    found = {file.stem: file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES}
    ordered = [found[stem] for stem in in_order(found)]
    numbers = [re.search(r"\d+$", file.stem) for file in ordered]
    if len(ordered) > 2 and all(numbers):
        place = np.array([int(number.group()) for number in numbers if number])
        steps = np.diff(place)
        stride = int(np.median(steps))
        wrong = np.flatnonzero(steps != stride)
        if len(wrong):
            raise DataError(
                f"{folder} goes from {ordered[wrong[0]].name} to {ordered[wrong[0] + 1].name}: frames are missing or "
                "their numbers are wrong; restore them, or leave the episode out"
            )
    return ordered


def _pixels(file: Path, size: int) -> np.ndarray:
    if not os.path.isfile(file):
        raise DataError(f"{file.parent} names the frame {file.name}, which is not there: restore it, or drop its row")
    return decoded(file.read_bytes(), size, str(file))
