"""The episode store: a folder of flat `.npy` files, one per column, all frames of all episodes one after another.

index.json is written last, by renaming: a folder without it is an interrupted collection and is never read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Int64

from ..errors import DataError, ShapeError
from ..types import Batch

VERSION = 1
ACTION = "action"  # the only column with one row fewer than frames
CONVENTION = (
    "action t leaves observation t and produces observation t + 1; the last action of an episode is 0 and unused"
)


@dataclass(frozen=True)
class Index:
    """What index.json says: lengths, offsets: frames of each episode and the number of its first."""

    lengths: Int64[np.ndarray, " E"]
    seeds: tuple[int, ...]
    environment: str
    frame_rate: float  # frames a second; 0 where time has no unit
    columns: dict[str, dict[str, object]]

    @property
    def frames(self) -> int:
        """Frames of all episodes."""
        return int(self.lengths.sum())

    @property
    def offsets(self) -> Int64[np.ndarray, " E"]:
        """Number of the first frame of each episode."""
        return np.cumsum(self.lengths) - self.lengths


class EpisodeWriter:
    """Collects episodes into a folder: `with EpisodeWriter(folder) as writer: writer.append(...)`.

    The store exists when the `with` block is left without an exception, and not before.

    environment: what made the episodes, in words or JSON. frame_rate: frames a second, 0 where time has no unit.
    Raises:
        DataError: the folder holds a finished store, or is not writable.
    """

    def __init__(self, folder: Path | str, environment: str = "", frame_rate: float = 0.0) -> None:
        self.folder, self.environment, self.frame_rate = Path(folder), environment, frame_rate
        if (self.folder / "index.json").exists():
            raise DataError(f"{self.folder} holds a finished episode store: choose another folder, or delete this one")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.folder} cannot be made: {error}") from None
        self._files: dict[str, BufferedWriter] = {}
        self._columns: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        self._lengths: list[int] = []
        self._seeds: list[int] = []

    def __enter__(self) -> EpisodeWriter:
        return self

    def append(self, episodes: Batch, seeds: Sequence[int] = ()) -> None:
        """Add E whole episodes of T frames: image [E, T, C, h, w] uint8, action [E, T - 1, A], others [E, T, ...].

        seeds: of the episodes, where they have any; default is their numbers.
        Raises:
            DataError: NaN or infinity, or the disk is full.
            ShapeError: columns do not fit each other or the earlier episodes.
        """
        columns = {key: value.detach().cpu().numpy() for key, value in episodes.items() if key != "index"}
        others = {value.shape[:2] for key, value in columns.items() if key != ACTION}
        if len(others) != 1 or min(min(others)) < 1:
            raise ShapeError(f"episodes need the same [E, T] in every column but `action`, got {_shapes(columns)}")
        count, length = others.pop()
        if seeds and len(seeds) != count:
            raise ShapeError(f"{len(seeds)} seeds were given for {count} episodes: give one each")
        first = len(self._lengths)
        for key, value in columns.items():
            columns[key] = self._checked(key, value, count, length, first)
        layout = {key: (value.dtype, value.shape[2:]) for key, value in columns.items()}
        if self._columns and layout != self._columns:
            raise ShapeError(f"these episodes have columns {layout}, the earlier ones {self._columns}: they must agree")
        if not self._columns:
            self._begin(layout)
        try:
            for key, value in columns.items():
                self._files[key].write(np.ascontiguousarray(value).data)
        except OSError as error:
            raise DataError(f"{self.folder} cannot take more episodes: {error}") from None
        self._lengths += [length] * count
        self._seeds += list(seeds) or range(first, first + count)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for key, file in self._files.items():
                _part(self.folder, key).unlink(missing_ok=True)
                with suppress(OSError):  # a full disk refuses the rest of the buffer of a file that is gone already
                    file.close()

    def _checked(self, key: str, value: np.ndarray, count: int, length: int, first: int) -> np.ndarray:
        if key == "image" and (value.dtype != np.uint8 or value.ndim != 5):
            raise ShapeError(f"image is {value.dtype} {value.shape}: uint8 [E, T, C, h, w] is needed")
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            episode, step = np.argwhere(~np.isfinite(value))[0][:2]
            raise DataError(
                f"{key} of episode {first + episode} holds NaN or infinity at step {step}: mend the environment; "
                "none of these episodes was stored"
            )
        if key != ACTION:
            return value
        if value.ndim != 3 or value.shape[:2] != (count, length - 1):
            raise ShapeError(
                f"action is {value.shape}: [{count}, {length - 1}, A] is needed, one between each two frames"
            )
        return np.pad(value, ((0, 0), (0, 1), (0, 0)))

    def _begin(self, layout: dict[str, tuple[np.dtype, tuple[int, ...]]]) -> None:
        self._columns = layout
        try:
            for key in layout:
                self._files[key] = _part(self.folder, key).open("wb")
                self._write_header(key, 0)
        except OSError as error:
            raise DataError(f"{self.folder} cannot be written: {error}") from None

    def _write_header(self, key: str, frames: int) -> None:
        """Headers have a fixed length whatever the number of frames: NumPy leaves room for its digits."""
        dtype, shape = self._columns[key]
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (frames, *shape)}
        np.lib.format.write_array_header_1_0(self._files[key], header)

    def _finish(self) -> None:
        if not self._lengths:
            raise DataError(f"no episodes were added to {self.folder}: nothing was written")
        columns: dict[str, dict[str, object]] = {}
        try:
            for key, file in self._files.items():
                file.seek(0)
                self._write_header(key, sum(self._lengths))
                start = file.tell()
                file.flush()
                os.fsync(file.fileno())
                dtype, shape = self._columns[key]
                size = os.fstat(file.fileno()).st_size
                if size != start + sum(self._lengths) * dtype.itemsize * math.prod(shape):
                    raise DataError(f"{self.folder} misses part of an episode: collect again, with free space")
                columns[key] = {"file": f"{key}.npy", "dtype": dtype.name, "shape": shape, "bytes": size}
                os.replace(_part(self.folder, key), self.folder / f"{key}.npy")
            offsets = (np.cumsum(self._lengths) - self._lengths).tolist()
            held = {
                "format": "armillary episodes", "version": VERSION, "convention": CONVENTION,
                "environment": self.environment, "frame_rate": self.frame_rate, "columns": columns,
                "frames": sum(self._lengths), "lengths": self._lengths, "offsets": offsets, "seeds": self._seeds,
            }  # fmt: skip
            _write_safely(self.folder / "index.json", json.dumps(held) + "\n")
        except OSError as error:
            raise DataError(f"the episodes in {self.folder} could not be finished: {error}") from None


def _part(folder: Path, key: str) -> Path:
    return folder / f"{key}.npy.part"


def _shapes(columns: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{key} {value.shape}" for key, value in columns.items()) or "no columns"


def _write_safely(path: Path, text: str) -> None:
    """All of the file or nothing, on the disk when this returns."""
    part = path.with_name(path.name + ".part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def open_columns(folder: Path) -> tuple[Index, dict[str, np.ndarray]]:
    """The index and the columns [frames, ...] of a store, mapped into memory and read-only.

    Raises:
        DataError: the store is missing, unfinished or damaged, or of another version.
    """
    path = folder / "index.json"
    if not path.is_file():
        unfinished = folder.is_dir() and any(folder.glob("*.npy*"))
        cause = "an interrupted collection lies there: collect again"
        why = cause if unfinished else "set data.path to a folder of episodes; `armillary collect RECIPE` makes one"
        raise DataError(f"there is no finished episode store in {str(folder)!r}; {why}")
    try:
        held = json.loads(path.read_text())
        if held["format"] != "armillary episodes" or held["version"] != VERSION:
            raise DataError(f"{path} is {held['format']!r} version {held['version']}, this version reads {VERSION}")
        lengths = np.array(held["lengths"], np.int64)
        index = Index(lengths, tuple(held["seeds"]), held["environment"], float(held["frame_rate"]), held["columns"])
        whole = held["offsets"] == index.offsets.tolist() and held["frames"] == index.frames and lengths.min() > 0
        columns = {key: _mapped(folder, key, column, index.frames) for key, column in held["columns"].items()}
    except (OSError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}): collect or copy the episodes again"
        ) from None
    if not whole or not columns:
        raise DataError(f"{path} contradicts itself: collect or copy the episodes again")
    return index, columns


def _mapped(folder: Path, key: str, column: dict[str, object], frames: int) -> np.ndarray:
    file = folder / f"{key}.npy"
    size = file.stat().st_size if file.is_file() else 0
    if size != column["bytes"]:
        raise DataError(
            f"{file} has {size} bytes, its index says {column['bytes']}: collect or copy the episodes again"
        )
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is damaged ({error}): collect or copy the episodes again") from None
    if array.shape != (frames, *column["shape"]) or array.dtype.name != column["dtype"]:  # type: ignore[misc]
        raise DataError(f"{file} holds {array.dtype} {array.shape}, its index says otherwise: collect or copy it again")
    return array.view(np.ndarray)  # without memmap's bookkeeping at every access
