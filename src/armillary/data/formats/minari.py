"""Minari data sets as they lie on disk: `data/metadata.json` and `data/main_data.hdf5`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ..pixels import as_frames
from .hdf5 import arrays, opened
from .recording import Recording, image_columns, in_order

MAIN = "main_data.hdf5"


def find_minari(path: Path) -> Path | None:
    """The folder that holds the data, `path` or `path/data`; None where neither does."""
    for folder in (path, path / "data"):
        if (folder / MAIN).is_file() or _metadata(folder).get("data_format"):
            return folder
    return None


def open_minari(path: Path, size: int) -> Recording:
    """Groups `episode_0`, ... with T actions and T + 1 observations; of dictionaries each entry is a column.

    path: of the data set, its folder `data`, or the HDF5 file.
    Source: Farama-Foundation/Minari:minari/dataset/_storages/hdf5_storage.py.
    Raises:
        DataError: the data are kept in another storage, some are missing, or an episode lacks a column.
    """
    file = path if path.is_file() else (find_minari(path) or path) / MAIN
    told = _metadata(file.parent)
    if not file.is_file():
        raise DataError(
            f"{file.parent} keeps its data as {told.get('data_format', 'unknown')!r}: HDF5 is read; write it again "
            'with minari, data_format="hdf5"'
        )
    with opened(file) as held:
        names = tuple(in_order(name for name in held if name.startswith("episode_")))
        if not names or len(names) != told.get("total_episodes", len(names)):
            raise DataError(f"{file} holds {len(names)} episodes, metadata.json says {told.get('total_episodes')}")
        columns = {name: item.shape[1:] for name, item in arrays(held[names[0]]).items()}
    images = image_columns(columns)

    def load(episode: int, name: str) -> np.ndarray:
        with opened(file) as held:
            group = held[names[episode]]
            if name not in group:
                raise DataError(f"{names[episode]} of {file} has no {name!r}, which {names[0]} has: leave it out")
            return as_frames(group[name][:], size) if name in images else group[name][:]

    return Recording(path, "minari", names, columns, load, images)


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        held = json.loads((folder / "metadata.json").read_text())
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}
