"""Trajectories in Parquet tables: one row per step, with the number of its episode."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import DataError
from ..pixels import small
from .images import UNREADABLE
from .parquet import parquet_files
from .recording import Recording, Shape, lengths_by_number, optional, unbroken
from .source import TEST_NAMES

EPISODE = ("episode", "episode_index", "episode_id", "ep_idx", "episode_idx")
STEP = ("step", "frame_index", "step_idx", "frame")


class Rows:
    """Rows of a Parquet file by number; of its row groups only the ones that were asked for last are held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parquet = optional("pyarrow.parquet", "data", f"{path.name} (Parquet)")
        self._groups, self._columns, self._table = (-1, -1), (), None
        self._whole: dict[str, np.ndarray] = {}
        try:
            self._file = self._parquet.ParquetFile(path)
        except (OSError, ValueError) as error:  # pyarrow's own errors are both
            raise DataError(f"{path} cannot be read as Parquet ({error}): copy or download it again") from None
        counts = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._ends, self.count = np.cumsum(counts), int(sum(counts))
        self.schema = self._file.schema_arrow

    def take(self, first: int, stop: int, columns: Sequence[str]) -> Any:
        """A table of rows [first, stop)."""
        low, high = (int(np.searchsorted(self._ends, row, side="right")) for row in (first, stop - 1))
        if (low, high) != self._groups or not set(columns) <= set(self._columns):
            names = list({*columns, *self._columns})
            self._table = self._read(list(range(low, high + 1)), names)
            self._groups, self._columns = (low, high), tuple(names)
        begun = int(self._ends[low - 1]) if low else 0
        return self._table.slice(first - begun, stop - first)  # type: ignore[union-attr]

    def column(self, name: str) -> np.ndarray:
        """A whole column of numbers, kept for the next time."""
        if name not in self._whole:
            self._whole[name] = self._read(list(range(len(self._ends))), [name]).column(0).to_numpy()
        return self._whole[name]

    def _read(self, groups: list[int], columns: list[str]) -> Any:
        try:
            return self._file.read_row_groups(groups, columns=columns)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path} is damaged ({error}): copy or download it again") from None


def open_table(path: Path, size: int) -> Recording:
    """Columns of numbers, lists of numbers or encoded images; `episode` numbers the episodes and `step` their frames.

    path: a file, or a folder of them. Files whose names begin with test or val are the test part.
    Raises:
        DataError: no column of episodes, files of different columns, a damaged file.
    """
    files = [Rows(file) for file in parquet_files(path)]
    if not files:
        raise DataError(f"there is no Parquet file in {path}")
    schema = files[0].schema
    key, step = (next((name for name in names if name in schema.names), "") for names in (EPISODE, STEP))
    if not key:
        raise DataError(f"{files[0].path} has no column that numbers episodes: name one of its columns `episode`")
    for other in files[1:]:
        if not other.schema.equals(schema):
            raise DataError(f"{other.path} has other columns than {files[0].path.name}: give files of the same table")
    places: list[tuple[Rows, int, int]] = []
    names, parts = [], []
    for file in files:
        number = file.column(key)
        ends = np.cumsum(lengths_by_number(number, file.path))
        for first, stop in zip(np.append(0, ends[:-1]).tolist(), ends.tolist(), strict=True):
            places.append((file, first, stop))
            names.append(f"{number[first]}" + (f" of {file.path.name}" if len(files) > 1 else ""))
            parts.append("test" if file.path.name.startswith(TEST_NAMES) else "train")
    columns = {n: shape for n in schema.names if n not in (key, step) and (shape := width(files[0], n)) is not None}
    images = frozenset(name for name, shape in columns.items() if len(shape) == 3)

    def load(episode: int, name: str) -> np.ndarray:
        file, first, stop = places[episode]
        table = file.take(first, stop, [*columns, *([step] if step else [])])
        if step:
            unbroken(table.column(step).to_numpy(), names[episode], file.path)
        return values(table.column(name), size, f"{name} of episode {names[episode]} of {file.path}")

    split = tuple(parts) if len(set(parts)) > 1 else ()
    return Recording(path, "table", tuple(names), columns, load, images, parts=split)


def width(file: Rows, name: str) -> Shape | None:
    """The shape of a step of a column, judged by the first row; None for what is neither numbers nor an image."""
    pa = optional("pyarrow", "data", "Parquet")
    kind = file.schema.field(name).type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return ()
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return (0, 0, 3)
    listed = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
    if listed and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        return (len(file.take(0, 1, [name]).column(name)[0]),)
    return None


def values(column: Any, size: int, what: str) -> np.ndarray:
    """A column of numbers [T], lists [T, n] or encoded images [T, h, w, 3].

    Raises:
        DataError: empty rows, lists of several lengths, an image that cannot be read.
    """
    pa = optional("pyarrow", "data", "Parquet")
    if column.null_count:
        raise DataError(f"{what} is empty in {column.null_count} of {len(column)} rows: fill them or leave it out")
    if pa.types.is_struct(column.type):
        return np.stack([decoded(row["bytes"], size, what) for row in column.to_pylist()])
    if not hasattr(column.type, "value_type"):
        return column.to_numpy()
    lengths = np.unique(optional("pyarrow.compute", "data", "Parquet").list_value_length(column).to_numpy())
    if len(lengths) > 1:
        raise DataError(f"{what} has {lengths[0]} to {lengths[-1]} numbers a row: every row needs the same")
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def decoded(data: bytes | None, size: int, what: str) -> np.ndarray:
    """An encoded image as [h, w, 3] uint8."""
    try:
        with Image.open(io.BytesIO(data or b"")) as image:
            return small(np.asarray(image.convert("RGB")), size)
    except UNREADABLE as error:
        raise DataError(f"an image in {what} cannot be read ({error}): restore it, or leave the episode out") from None
