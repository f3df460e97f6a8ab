"""Files of embeddings, of anyone's model: read in chunks and, but for Parquet, allowed to be larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ...errors import DataError, suggest

ENDINGS = (".npy", ".safetensors", ".parquet")
CHUNK = 64 << 20  # bytes of float32 that are read together, about


@dataclass(frozen=True)
class FeatureFile:
    """Embeddings in a file. shape: [n, D], or tokens [n, N, D]. take: some rows, in ascending order, as float32."""

    path: Path
    shape: tuple[int, ...]
    take: Callable[[Int64[np.ndarray, " k"]], Float[np.ndarray, "k *shape"]]

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, index: Int64[Tensor, " k"]) -> Float[Tensor, "k *shape"]:
        """Rows by number, in ascending order."""
        return torch.from_numpy(np.array(self.take(index.numpy()), np.float32))

    def chunks(self) -> Iterator[Float[Tensor, "k *shape"]]:
        """All rows in order, some megabytes at a time."""
        step = max(1, CHUNK // (4 * int(np.prod(self.shape[1:]))))
        for start in range(0, len(self), step):
            yield self.rows(torch.arange(start, min(start + step, len(self))))


def open_features(path: Path, name: str = "") -> FeatureFile:
    """A file of embeddings: .npy, .safetensors or .parquet, of which the last is held in memory.

    name: of the tensor or column, where the file holds several; of Parquet without one all columns of numbers are taken
    as dimensions, or the only column of lists.
    Raises:
        DataError: no such file, another kind, damaged, no numbers, or not 2 or 3 axes.
    """
    openers = dict(zip(ENDINGS, (_npy, _safetensors, _parquet), strict=True))
    if path.suffix not in openers:
        raise DataError(f"{path} ends in {path.suffix!r}: embeddings are read from {', '.join(ENDINGS)}")
    if not path.is_file():
        raise DataError(f"there is no file {path}; give a file of embeddings, one row per input")
    found = openers[path.suffix](path, name)
    if len(found.shape) not in (2, 3) or 0 in found.shape:
        raise DataError(
            f"{path} holds an array of shape {list(found.shape)}: embeddings are [rows, dimensions], or tokens "
            "[rows, tokens, dimensions]"
        )
    return found


def _npy(path: Path, name: str) -> FeatureFile:
    try:
        held = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array ({error}): write it again with numpy.save") from None
    if not isinstance(held, np.ndarray) or held.dtype.kind not in "fiu":
        raise DataError(f"{path} holds {getattr(held, 'dtype', type(held).__name__)}: embeddings are numbers")
    return FeatureFile(path, held.shape, lambda index: held[index])


def _safetensors(path: Path, name: str) -> FeatureFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            chosen = _chosen(path, names, name, [n for n in names if len(file.get_slice(n).get_shape()) in (2, 3)])
            shape = tuple(file.get_slice(chosen).get_shape())
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read as safetensors ({error}): copy or write it again") from None

    def take(index: np.ndarray) -> np.ndarray:
        with safe_open(path, "pt") as file:
            part = file.get_slice(chosen)
            if len(index) and index[-1] - index[0] + 1 == len(index):
                return part[int(index[0]) : int(index[-1]) + 1].float().numpy()
            return torch.cat([part[int(i) : int(i) + 1] for i in index]).float().numpy()

    return FeatureFile(path, shape, take)


def _parquet(path: Path, name: str) -> FeatureFile:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError("Parquet needs pyarrow: pip install 'armillary[data]'") from None
    try:
        schema = pq.read_schema(path)
        lists = [field.name for field in schema if _is_list(pa, field.type)]
        numbers = [field.name for field in schema if pa.types.is_floating(field.type)]
        columns = [_chosen(path, schema.names, name, lists)] if lists or name else numbers
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}): copy or write it again") from None
    if not columns:
        raise DataError(f"{path} has no column of numbers or of lists of numbers, but {', '.join(schema.names)}")
    held = _matrix(path, table, columns, bool(lists or name))
    return FeatureFile(path, held.shape, lambda index: held[index])


def _is_list(pa: Any, kind: Any) -> bool:
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return listed and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def _matrix(path: Path, table: Any, columns: list[str], listed: bool) -> Float[np.ndarray, "n D"]:
    if not listed:
        return np.stack([table[name].to_numpy() for name in columns], 1).astype(np.float32)
    column = table[columns[0]].combine_chunks()
    if column.null_count:
        raise DataError(f"{column.null_count} rows of {columns[0]!r} in {path} are empty: leave them out")
    flat = column.flatten().to_numpy(zero_copy_only=False)
    widths = np.unique([len(row) for row in column]) if len(column) else np.array([0])
    if len(widths) != 1:
        raise DataError(f"rows of {columns[0]!r} in {path} have {widths[0]} to {widths[-1]} numbers: all need the same")
    return flat.reshape(len(column), -1).astype(np.float32)


def _chosen(path: Path, names: list[str], name: str, usable: list[str]) -> str:
    """The name that was asked for, or else the only usable one."""
    if name:
        if name not in names:
            raise DataError(f"{path} has no {name!r}: {suggest(name, names)}")
        return name
    if len(usable) != 1:
        raise DataError(f"{path} holds {', '.join(names) or 'nothing'}: say which are the embeddings with --name")
    return usable[0]
