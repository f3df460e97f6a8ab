"""Trajectories in one NumPy archive, as OGBench and D4RL write them, read row by row without loading an array."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ..pixels import as_frames
from .recording import Recording, Rows, Shape, flat, image_columns, lengths_by_marks

BLOCK = 100_000  # rows that are compared together
ENDS = ("terminals", "timeouts", "dones", "terminated", "truncated")


class Archive:
    """Arrays of an .npz file by rows. Reading forward costs each byte once; going back begins the array again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
            self._open: dict[str, Any] = {}
            self.arrays: dict[str, tuple[Shape, np.dtype, int]] = {}  # shape, type, bytes before the first number
            for member in self._zip.namelist():
                header = _header(self._zip, member)
                if header is not None:
                    self.arrays[member.removesuffix(".npy")] = header
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} cannot be read as .npz ({error}): copy or download it again") from None

    def rows(self, name: str, first: int, stop: int) -> np.ndarray:
        """Rows [first, stop) of an array.

        Raises:
            DataError: the file is damaged.
        """
        shape, dtype, start = self.arrays[name]
        width = int(np.prod(shape[1:])) * dtype.itemsize
        try:
            file = self._open.setdefault(name, self._zip.open(f"{name}.npy"))
            file.seek(start + first * width)
            data = file.read((stop - first) * width)
        except (OSError, EOFError, zipfile.BadZipFile, ValueError) as error:
            raise DataError(f"{name} of {self.path} is damaged ({error}): copy or download it again") from None
        if len(data) != (stop - first) * width:
            raise DataError(f"{name} of {self.path} ends early: copy or download it again")
        return np.frombuffer(data, dtype).reshape(stop - first, *shape[1:])


def open_npz(path: Path, size: int) -> Recording:
    """`observations`, `actions`, `terminals` (and `timeouts`, `qpos`, `qvel`, ...): all steps one after another.

    A file NAME-val.npz beside NAME.npz is its test part. OGBench's last action of an episode leads nowhere.
    Source: seohongpark/ogbench:ogbench/utils.py, `load_dataset`.
    """
    first = _one(path, size)
    beside = path.with_name(f"{path.stem}-val.npz")
    return _joined(first, _one(beside, size)) if beside.is_file() else first


def episode_lengths(path: Path, shapes: Mapping[str, Shape], rows: Rows) -> tuple[np.ndarray, tuple[str, ...]]:
    """Steps of each episode, from marks of their ends or from observations that do not follow; and what to note.

    Raises:
        DataError: there are no actions.
    """
    if "actions" not in shapes:
        raise DataError(f"{path} has no array `actions`, it holds {', '.join(sorted(shapes)) or 'nothing'}")
    steps = shapes["actions"][0]
    ends = np.zeros(steps, bool)
    for name in (name for name in ENDS if shapes.get(name, (0,))[0] == steps):
        ends |= rows(name, 0, steps).reshape(steps, -1).any(1)
    following = {"observations", "next_observations"} <= shapes.keys()
    if following:
        for first in range(0, steps - 1, BLOCK):
            stop = min(first + BLOCK, steps - 1)
            told, seen = rows("next_observations", first, stop), rows("observations", first + 1, stop + 1)
            ends[first:stop] |= (told != seen).reshape(stop - first, -1).any(1)
    unsure = not following and "timeouts" not in shapes and "terminals" in shapes and not ends[-1]
    note = "ends are marked by `terminals` alone and the last step is none: episodes cut by a time limit may be joined"
    return lengths_by_marks(ends), (note,) if unsure else ()


def _one(path: Path, size: int) -> Recording:
    archive = Archive(path)
    shapes = {name: shape for name, (shape, _, _) in archive.arrays.items()}
    pixels = image_columns({name: shape[1:] for name, shape in shapes.items()})

    def rows(name: str, first: int, stop: int) -> np.ndarray:
        values = archive.rows(name, first, stop)
        return as_frames(values, size) if name in pixels else values

    lengths, notes = episode_lengths(path, shapes, archive.rows)
    form = "d4rl" if {"rewards", "timeouts"} & shapes.keys() else "ogbench"
    return flat(path, form, shapes, rows, lengths, notes=notes)


def _joined(train: Recording, test: Recording) -> Recording:
    """Two recordings of the same columns as one, the second being the test part."""
    count = len(train.names)

    def load(episode: int, name: str) -> np.ndarray:
        return train.load(episode, name) if episode < count else test.load(episode - count, name)

    return Recording(
        train.path, train.format, (*train.names, *(f"val {name}" for name in test.names)),
        {name: shape for name, shape in train.columns.items() if test.columns.get(name) == shape}, load, train.images,
        parts=("train",) * count + ("test",) * len(test.names), misfits={**train.misfits, **test.misfits},
        notes=(*train.notes, f"{test.path.name} beside it is the test part"),
    )  # fmt: skip


def _header(archive: zipfile.ZipFile, member: str) -> tuple[Shape, np.dtype, int] | None:
    """Shape, type and length of the header of an array; None for what is no array of numbers."""
    if not member.endswith(".npy"):
        return None
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.kind not in "biuf" or not shape or (fortran and len(shape) > 1):
            return None
        return shape, dtype, file.tell()
