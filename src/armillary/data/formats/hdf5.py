"""Trajectories in one HDF5 file: stable-worldmodel, robomimic and D4RL, told apart by what is in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ..pixels import as_frames
from .npz import episode_lengths
from .recording import Recording, Shape, flat, image_columns, in_order, lengths_by_number, optional

SUFFIXES = (".h5", ".hdf5", ".he5")
OWN = ("train", "valid")  # names of robomimic's masks that split all episodes


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, open while the block runs.

    Raises:
        DataError: it is no HDF5, or damaged, or part of it cannot be decompressed.
    """
    h5py = optional("h5py", "data", f"{path.name} (HDF5)")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise DataError(
            f"{path} cannot be read as HDF5 ({error}): copy it again; what a filter of hdf5plugin packed "
            "needs `import hdf5plugin` before"
        ) from None


def arrays(group: Any, prefix: str = "") -> dict[str, Any]:
    """All arrays of numbers below a group, by their path in it."""
    found = {}
    for name, item in group.items():
        if hasattr(item, "items"):
            found |= arrays(item, f"{prefix}{name}/")
        elif item.shape and item.dtype.kind in "biuf":
            found[f"{prefix}{name}"] = item
    return found


def kind_of(path: Path) -> str:
    """The name of the format of an HDF5 file, "" for an unknown one."""
    with opened(path) as file:
        keys = set(file)
        if {"ep_len", "ep_offset"} <= keys or ("step_idx" in keys and keys & {"ep_idx", "episode_idx"}):
            return "stable-worldmodel"
        demos = file["data"].values() if "data" in keys and hasattr(file["data"], "items") else ()
        if any("actions" in demo for demo in demos if hasattr(demo, "items")):
            return "robomimic"
        if any(name.startswith("episode_") and hasattr(file[name], "items") for name in keys):
            return "minari"
        return "d4rl" if {"observations", "actions"} <= keys else ""


def inside(path: Path) -> str:
    """What lies at the top of the file, in words."""
    with opened(path) as file:
        return ", ".join(sorted(file)[:12]) or "nothing"


def open_stable_worldmodel(path: Path, size: int) -> Recording:
    """One array per column, all episodes one after another, with `ep_len` and `ep_offset`.

    Older files number episodes and steps at each row (`ep_idx` or `episode_idx`, `step_idx`). The last action of an
    episode may be NaN. Source: galilai-group/stable-worldmodel:stable_worldmodel/data/formats/hdf5.py.
    Raises:
        DataError: episodes overlap, leave gaps, or their steps are not numbered one after another.
    """
    with opened(path) as file:
        found = {name: item.shape for name, item in arrays(file).items()}
        if "ep_len" in found:
            lengths, offsets = file["ep_len"][:].astype(np.int64), file["ep_offset"][:].astype(np.int64)
            if not np.array_equal(offsets, np.cumsum(lengths) - lengths):
                raise DataError(f"ep_offset of {path} does not follow from ep_len: mend one of both")
        else:
            number = file["ep_idx" if "ep_idx" in found else "episode_idx"][:].ravel()
            lengths, step = lengths_by_number(number, path), file["step_idx"][:].ravel().astype(np.int64)
            first = np.repeat(np.cumsum(lengths) - lengths, lengths)
            wrong = np.flatnonzero(step - step[first] != np.arange(len(step)) - first)
            if len(wrong):
                raise DataError(
                    f"step_idx of episode {number[wrong[0]]} of {path} jumps to {step[wrong[0]]}: frames are missing "
                    "or out of order; restore them, or leave the episode out"
                )
    return flat(path, "stable-worldmodel", found, _rows(path, size), lengths)


def open_d4rl(path: Path, size: int) -> Recording:
    """`observations`, `actions`, `rewards`, `terminals`, `timeouts`, `infos/...`: all steps one after another.

    Source: Farama-Foundation/D4RL:d4rl/offline_env.py.
    """
    rows = _rows(path, size)
    with opened(path) as file:
        found: dict[str, Shape] = {name: item.shape for name, item in arrays(file).items()}
    lengths, notes = episode_lengths(path, found, rows)
    return flat(path, "d4rl", found, rows, lengths, notes=notes)


def open_robomimic(path: Path, size: int) -> Recording:
    """Groups `data/demo_0`, ... with `actions`, `obs/...`, `states`; `mask/train` and `mask/valid` split them.

    Source: robomimic's documentation, "Dataset Structure".
    Raises:
        DataError: an episode lacks a column.
    """
    with opened(path) as file:
        data = file["data"]
        names = tuple(in_order(name for name in data if "actions" in data[name]))
        columns = {n: item.shape[1:] for n, item in arrays(data[names[0]]).items() if not n.startswith("next_obs/")}
        masks = {
            name: {demo.decode() for demo in file["mask"][name][:]} for name in file.get("mask", ()) if name in OWN
        }
        rate = _control_rate(data.attrs.get("env_args", "{}"))
    split = set(names) == set().union(*masks.values()) and len(masks) == len(OWN)
    parts = tuple("test" if name in masks["valid"] else "train" for name in names) if split else ()
    images = image_columns(columns)

    def load(episode: int, name: str) -> np.ndarray:
        with opened(path) as file:
            group = file["data"][names[episode]]
            if name not in group:
                raise DataError(f"{names[episode]} of {path} has no {name!r}, which {names[0]} has: leave it out")
            return as_frames(group[name][:], size) if name in images else group[name][:]

    return Recording(path, "robomimic", names, columns, load, images, frame_rate=rate, parts=parts)


def _rows(path: Path, size: int):
    def rows(name: str, first: int, stop: int) -> np.ndarray:
        with opened(path) as file:
            values = file[name][first:stop]
        return as_frames(values, size) if name in image_columns({name: values.shape[1:]}) else values

    return rows


def _control_rate(text: str | bytes) -> float:
    """Actions a second of the environment, 0 where its arguments do not say."""
    try:
        return float(json.loads(text)["env_kwargs"]["control_freq"])
    except (ValueError, KeyError, TypeError):
        return 0.0
