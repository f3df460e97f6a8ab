"""The replay buffer of diffusion policy: a zarr group with `data/...` and `meta/episode_ends`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import DataError
from ..pixels import as_frames
from .recording import Recording, flat, image_columns, optional


def is_replay(path: Path) -> bool:
    """Whether a folder or zip file is one."""
    return (path / "meta" / "episode_ends").is_dir() or path.name.endswith(".zarr.zip")


def open_replay(path: Path, size: int) -> Recording:
    """Arrays below `data`, all episodes one after another; `meta/episode_ends` counts the steps up to each end.

    path: the zarr folder, or a .zarr.zip of it. Steps after the last end are not read.
    Source: real-stanford/diffusion_policy:diffusion_policy/common/replay_buffer.py.
    Raises:
        DataError: it is no such group or damaged.
    """
    zarr = optional("zarr", "data", f"{path.name} (zarr)")
    try:
        store = zarr.storage.ZipStore(path, mode="r") if path.suffix == ".zip" else path
        group = zarr.open_group(store, mode="r")
        ends = np.asarray(group["meta/episode_ends"][:], np.int64)
        found = {name: array for name, array in group["data"].arrays() if array.dtype.kind in "biuf"}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} is no replay buffer ({type(error).__name__}: {error}): copy or make it again"
        ) from None
    if not len(ends):
        raise DataError(f"{path} holds no episodes: meta/episode_ends is empty")
    steps = int(ends[-1])
    shapes = {name: (min(array.shape[0], steps), *array.shape[1:]) for name, array in found.items()}

    def rows(name: str, first: int, stop: int) -> np.ndarray:
        values = np.asarray(found[name][first:stop])
        return as_frames(values, size) if name in image_columns({name: values.shape[1:]}) else values

    return flat(path, "diffusion-policy", shapes, rows, np.diff(ends, prepend=0))
