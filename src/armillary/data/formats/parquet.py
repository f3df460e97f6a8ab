"""Images in Parquet files, as Hugging Face writes them. The files are held in memory, encoded as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, suggest
from .source import TEST_NAMES, Source


def parquet_files(path: Path, part: str = "") -> list[Path]:
    """The Parquet files of `path` or `path/data` whose names begin with `part`, sorted; `path` may be one file."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" and path.name.startswith(part) else []
    return sorted(path.glob(f"{part}*.parquet")) or sorted(path.glob(f"data/{part}*.parquet"))


def open_parquet(path: Path, split: str, image: str, label: str, mask: str = "") -> Source:
    """The rows of `train*.parquet` or `test*.parquet` (or val*) below `path`, in the order of file names and rows.

    Without a test part a tenth of the rows is held out, see `Source.part`; without a train part all files are one.
    image: column of encoded images, a struct {bytes, path} or plain bytes. label: column of classes, integers (their
    names from the Hugging Face metadata) or strings; rows are unlabelled where "label", the default, does not exist.
    mask: column of encoded masks, as images; "" for none.
    Raises:
        DataError: a file is damaged, a column is missing or of another type.
    """
    train = parquet_files(path, "train")
    test = next((files for name in TEST_NAMES if train and (files := parquet_files(path, name))), [])
    whole = _table(train or parquet_files(path), image, label, mask)
    classes = _classes(whole, label)
    if test:
        return _source(whole if split == "train" else _table(test, image, label, mask), image, label, classes, mask)
    return _source(whole, image, label, classes, mask).part(split)


def _table(files: list[Path], image: str, label: str, mask: str) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError("Parquet needs pyarrow: pip install 'armillary[data]'") from None
    tables = []
    for file in files:
        try:
            columns = pq.read_schema(file).names
            needed = [image, *([mask] if mask else []), *([] if label in ("label", "") else [label])]
            for wrong in (name for name in needed if name not in columns):
                raise DataError(
                    f"{file} has no column {wrong!r}: {suggest(wrong, columns)} Set data.image, label or mask."
                )
            wanted = [*needed, label] if label in columns and label not in needed else needed
            tables.append(pq.read_table(file, columns=wanted))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file} cannot be read as Parquet ({error}): copy or download it again") from None
    try:
        return pa.concat_tables(tables)
    except pa.ArrowException as error:
        raise DataError(f"{files[0].parent} holds Parquet files of different columns or types: {error}") from None


def _classes(table: Any, label: str) -> tuple[str, ...]:
    import pyarrow as pa

    if label not in table.column_names:
        return ()
    column = table.column(label)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return tuple(sorted(name for name in column.unique().to_pylist() if name is not None))
    if not pa.types.is_integer(column.type):
        raise DataError(f"column {label!r} holds {column.type}, not classes: integers or strings are needed")
    features = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    names = features.get(label, {}).get("names")
    highest = max((value for value in column.unique().to_pylist() if value is not None), default=-1)
    return tuple(names) if names else tuple(str(i) for i in range(highest + 1))


def _labels(table: Any, label: str, classes: tuple[str, ...]) -> np.ndarray | None:
    """Places in `classes`; None where no row has one (some test parts hold -1 throughout)."""
    if not classes or label not in table.column_names:
        return None
    column = table.column(label)
    if column.null_count:
        raise DataError(f"column {label!r} is empty in {column.null_count} of {len(column)} rows: drop these rows")
    values = column.to_pylist()
    if isinstance(values[0], str):
        place = {name: i for i, name in enumerate(classes)}
        strange = sorted(set(values) - place.keys())
        if strange:
            raise DataError(f"column {label!r} holds {strange[0]!r}, which is no class of the train part")
        return np.array([place[value] for value in values], np.int64)
    labels = np.array(values, np.int64)
    if (labels == -1).all():
        return None
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"column {label!r} holds {labels.min()} to {labels.max()}, there are {len(classes)} classes")
    return labels


def _source(table: Any, image: str, label: str, classes: tuple[str, ...], mask: str) -> Source:
    if not len(table):
        raise DataError("the Parquet files hold no rows: give files with images")
    read, masks = _reader(table.column(image), image), _reader(table.column(mask), mask) if mask else None
    return Source([f"row {i}" for i in range(len(table))], read, _labels(table, label, classes), classes, masks)


def _reader(column: Any, name: str) -> Callable[[int], bytes]:
    """A function from a row to the encoded image that the column holds there."""
    import pyarrow as pa

    struct = pa.types.is_struct(column.type)
    kind = column.type.field("bytes").type if struct and column.type.get_field_index("bytes") >= 0 else column.type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(f"column {name!r} holds {column.type}, not encoded images: bytes or {{bytes, path}} are needed")
    chunks = [chunk.field("bytes") if struct else chunk for chunk in column.chunks]
    ends = np.cumsum([len(chunk) for chunk in chunks])

    def read(row: int) -> bytes:
        part = int(np.searchsorted(ends, row, side="right"))
        data = chunks[part][row - int(ends[part]) + len(chunks[part])].as_py()
        if data is None:
            raise ValueError(f"the row holds no bytes in column {name!r}")
        return data

    return read
