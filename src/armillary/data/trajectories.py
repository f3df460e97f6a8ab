"""Trajectories of any known format: which one it is, which columns are the image, the action and the state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ConfigError, DataError, suggest
from .formats import frames, hdf5, lerobot, minari, npz, table, zarr
from .formats.parquet import parquet_files
from .formats.recording import Recording

Columns = dict[str, np.ndarray]
FORMATS: dict[str, tuple[str, Callable[[Path, int], Recording]]] = {
    "stable-worldmodel": ("an HDF5 file with ep_len and ep_offset", hdf5.open_stable_worldmodel),
    "robomimic": ("an HDF5 file with data/demo_0/actions", hdf5.open_robomimic),
    "d4rl": ("an HDF5 or .npz file with observations, actions, terminals", hdf5.open_d4rl),
    "ogbench": ("a .npz file with observations, actions, terminals", npz.open_npz),
    "minari": ("a folder with data/main_data.hdf5", minari.open_minari),
    "lerobot": ("a folder with meta/info.json, version 2 or 3", lerobot.open_lerobot),
    "diffusion-policy": ("a zarr folder with data and meta/episode_ends", zarr.open_replay),
    "frames": ("a folder of frames and a CSV file for each episode", frames.open_frames),
    "table": ("Parquet files with a column `episode`", table.open_table),
}
VECTORS = ("action", "state", "proprio")
Named = tuple[str, ...]
LIKELY: dict[str, tuple[Named, ...]] = {  # the first whose columns all exist
    "image": (("pixels",), ("image",), ("img",), ("observation.image",), ("observations",), ("agentview_image",)),
    "action": (("action",), ("actions",)),
    "state": (("state",), ("states",), ("observation.environment_state",), ("env_state",), ("qpos", "qvel")),
    "proprio": (
        ("proprio",), ("observation.state",), ("observations",), ("observation",), ("obs",), ("agent_pos",),
        ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"),
    ),
    "reward": (("reward",), ("rewards",), ("next.reward",)),
}  # fmt: skip


@dataclass(frozen=True)
class Keys:
    """Which columns of the source are what; where nothing is named, the usual names are looked for."""

    image: str = ""
    """column of images; `none` leaves images out"""
    action: tuple[str, ...] = ()
    """columns of actions, joined"""
    state: tuple[str, ...] = ()
    """columns of the true state, joined: kept in its unit, for probes"""
    proprio: tuple[str, ...] = ()
    """columns of what the robot senses, joined: normalized, an input of models"""


@dataclass(frozen=True)
class Trajectories:
    """Episodes of any source with their columns by role. columns: of the source, that make up each role."""

    recording: Recording
    columns: dict[str, Named]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.recording.names)

    @property
    def action_names(self) -> Named:
        """Names of the numbers of an action, where the source has them."""
        return tuple(name for key in self.columns["action"] for name in self.recording.labels.get(key, ()))

    def read(self, number: int) -> Columns:
        """One episode: image [T, h, w, C] uint8, action [T or T - 1, A], state [T, S], proprio [T, P], reward [T].

        Numbers are float32 and may be NaN; rows are as many as the source has.
        Raises:
            DataError: the episode is damaged or incomplete, or the joined columns differ in length.
        """
        episode: Columns = {}
        for role, keys in self.columns.items():
            parts = [self.recording.load(number, key) for key in keys]
            if role != "image":
                parts = [part.reshape(len(part), -1) for part in parts]
                if len({len(part) for part in parts}) > 1:
                    told = ", ".join(f"{key} {len(part)}" for key, part in zip(keys, parts, strict=True))
                    raise DataError(f"columns of {role} of {self.name(number)} differ in length: {told} rows")
                episode[role] = np.concatenate(parts, 1).astype(np.float32)
            else:
                episode[role] = parts[0]
        if "reward" in episode:
            episode["reward"] = episode["reward"][:, 0]
        return episode

    def name(self, number: int) -> str:
        """An episode in words, for messages."""
        return f"episode {self.recording.names[number]} of {self.recording.path}"


def open_trajectories(path: Path | str, format: str = "", keys: Keys | None = None, size: int = 64) -> Trajectories:
    """Trajectories on disk, of which nothing but the index is read yet.

    format: a name of `FORMATS`; "" finds it out. size: side of the images in pixels, 0 to keep theirs.
    Raises:
        ConfigError: there is no such format, or `size` is negative.
        DataError: nothing known lies there, or it is damaged, or lacks a column.
    """
    path = Path(path)
    if format and format not in FORMATS:
        raise ConfigError(f"there is no format {format!r}: {suggest(format, FORMATS)}")
    if size < 0:
        raise ConfigError(f"size is {size}: give the side of the images in pixels, or 0 to keep theirs")
    if not path.exists():
        raise DataError(f"there is nothing at {path}: give a file or folder of trajectories")
    form, path = (format, path) if format else detect(path)
    opener = npz.open_npz if path.suffix == ".npz" else FORMATS[form][1]
    return _by_role(opener(path, size), keys or Keys())


def detect(path: Path) -> tuple[str, Path]:
    """The format of what lies at `path`, and the file or folder that its reader takes.

    Raises:
        DataError: none of the known formats; the message says what was found and what is known.
    """
    if path.is_file():
        form = _of_file(path)
        if form:
            return form, path
        held = f"it holds {hdf5.inside(path)}" if path.suffix in hdf5.SUFFIXES else f"it ends in {path.suffix!r}"
        raise DataError(f"{path} is of no known format ({held}). Known: {_known()}")
    for form, there in (
        ("lerobot", lerobot.is_lerobot), ("minari", minari.find_minari), ("diffusion-policy", zarr.is_replay),
        ("frames", frames.episode_folders), ("table", parquet_files),
    ):  # fmt: skip
        if there(path):
            return form, path
    files = [f for f in sorted(path.iterdir()) if f.suffix in (*hdf5.SUFFIXES, ".npz") and not f.stem.endswith("-val")]
    if len(files) == 1:
        return detect(files[0])
    if files:
        raise DataError(f"{path} holds {len(files)} files of trajectories, e.g. {files[0].name}: name one of them")
    found = Counter(item.suffix or f"{item.name}/" for item in path.iterdir())
    held = ", ".join(f"{count} {name}" for name, count in found.most_common(5)) or "nothing"
    raise DataError(f"{path} is of no known format (it holds {held}). Known: {_known()}")


def _of_file(path: Path) -> str:
    if path.suffix in hdf5.SUFFIXES:
        return hdf5.kind_of(path)
    known = {".npz": "ogbench", ".parquet": "table", ".zip": "diffusion-policy" if zarr.is_replay(path) else ""}
    return known.get(path.suffix, "")


def _known() -> str:
    return "; ".join(f"{name} ({what})" for name, (what, _) in FORMATS.items()) + ". Or say which with --format."


def _by_role(recording: Recording, keys: Keys) -> Trajectories:
    """The columns of each role: those that were asked for, else those of usual names."""
    numbers = [name for name, shape in recording.columns.items() if len(shape) <= 1]
    chosen: dict[str, Named] = {}
    notes = list(recording.notes)
    if keys.image != "none" and (keys.image or recording.images):
        chosen["image"] = _asked(recording, (keys.image,), "image") if keys.image else _likely_image(recording)
        others = sorted(recording.images - set(chosen["image"]))
        if others and not keys.image:
            notes.append(f"of {len(others) + 1} cameras {chosen['image'][0]} was taken; others with --image: {others}")
    for role in VECTORS:
        asked = getattr(keys, role)
        found = _asked(recording, asked, role) if asked else _likely(numbers, role)
        if found:
            chosen[role] = found
    if "action" not in chosen:
        misfit = next((name for (name,) in LIKELY["action"] if name in recording.misfits), "")
        if misfit:
            _asked(recording, (misfit,), "action")
        raise DataError(
            f"{recording.path} has no actions under a usual name, it holds {_held(recording)}: --action KEY"
        )
    if "state" not in chosen and "proprio" in chosen:
        chosen["state"] = chosen["proprio"]
    elif "proprio" not in chosen and "state" in chosen and "image" not in chosen:
        chosen["proprio"] = chosen["state"]
    reward = _likely(numbers, "reward")
    if reward:
        chosen["reward"] = reward
    if not {"image", "state"} & chosen.keys():
        raise DataError(f"{recording.path} shows nothing but actions, it holds {_held(recording)}: --state KEY")
    return Trajectories(recording, chosen, tuple(notes))


def _asked(recording: Recording, names: Named, role: str) -> Named:
    """Columns by name.

    Raises:
        DataError: there is no such column, or it has another number of rows, or is of the wrong kind.
    """
    for name in names:
        if name in recording.misfits:
            raise DataError(
                f"{name} of {recording.path} has {recording.misfits[name]} rows, its episodes have other lengths: each "
                "column needs one row for each step"
            )
        if name not in recording.columns:
            raise DataError(
                f"{recording.path} has no column {name!r} for {role}: {suggest(name, recording.columns)} It holds "
                f"{_held(recording)}."
            )
        if (name in recording.images) != (role == "image"):
            kind = "images" if name in recording.images else f"numbers {list(recording.columns[name])}"
            raise DataError(f"column {name!r} of {recording.path} holds {kind}: it cannot be the {role}")
    return names


def _likely(columns: list[str], role: str) -> Named:
    """Columns of usual names, by their full names or by the last part of their paths."""
    by_end = {name.rsplit("/", 1)[-1]: name for name in reversed(columns)} | {name: name for name in columns}
    return next((tuple(by_end[n] for n in names) for names in LIKELY[role] if by_end.keys() >= set(names)), ())


def _likely_image(recording: Recording) -> Named:
    images = sorted(recording.images)
    return _likely(images, "image") or (images[0],)


def _held(recording: Recording) -> str:
    return ", ".join(f"{name} {list(shape)}" if shape else name for name, shape in recording.columns.items())
