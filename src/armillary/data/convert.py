"""Trajectories of any format into a store of episodes, with a report on what they are."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError, require
from ..types import Batch
from .checkup import Json, examine
from .dataset import held_out
from .split import save_split
from .store import ACTION, EpisodeWriter
from .trajectories import Columns, Trajectories

REPORT = "report.json"  # beside the columns of a store
Tell = Callable[[int, int], None]  # episodes done, of all


@dataclass(frozen=True)
class Conversion:
    """How trajectories become a store."""

    validation: float = 0.1
    """share of the episodes that is held out where the data have no split of their own, as `data.test_share`"""
    shift: int = 0
    """stored action t is the source's t + shift: 1 where the source's action t led to its observation t"""
    shortest: int = 2
    """episodes of fewer frames are left out and counted"""
    window: int = 4
    """frames that training will want; shorter episodes are reported"""
    frame_rate: float = 0.0
    """frames a second, where the data do not say"""

    def __post_init__(self) -> None:
        require(0, 0.9, validation=self.validation)
        require(-1, 1, shift=self.shift)
        require(2, 1 << 31, shortest=self.shortest)
        require(1, 1 << 31, window=self.window)
        require(0, 1e9, frame_rate=self.frame_rate)


def convert(
    source: Trajectories, out: Path | str, config: Conversion | None = None, tell: Tell = lambda done, total: None
) -> Json:
    """Write the episodes to a store in the folder `out`, which is made; returns the report, also in report.json.

    The store has actions.json (`ActionSpec`) and, where the source has a split of its own, split.json. One episode at a
    time is in memory. The folder is there whole or not at all.
    Raises:
        DataError: `out` is there already, or an episode is incomplete or contradicts itself.
    """
    out, config = Path(out), config or Conversion()
    rate = source.recording.frame_rate or config.frame_rate
    kept: list[int] = []
    nan = 0
    with whole_folder(out) as folder:
        with EpisodeWriter(folder, environment=json.dumps(_origin(source, config)), frame_rate=rate) as writer:
            for number in range(len(source)):
                episode, last_is_nan = prepared(source.read(number), source.name(number), config.shift)
                nan += last_is_nan
                if len(next(v for k, v in episode.items() if k != ACTION)) >= config.shortest:
                    writer.append(_batch(episode), seeds=[number])
                    kept.append(number)
                tell(number + 1, len(source))
            if not kept:
                raise DataError(f"no episode of {source.recording.path} has {config.shortest} frames: lower --shortest")
        held, by = _held(source, kept, config.validation)
        if by == "source":
            save_split(folder, held)
        report, spec = examine(folder, held, source.action_names, config.window)
        notes = [*source.notes]
        if nan:
            notes.append(f"the last action of {nan} episodes was NaN; it leads to no frame and was left out")
        if len(kept) < len(source):
            notes.append(f"{len(source) - len(kept)} episodes of fewer than {config.shortest} frames were left out")
        report = {"source": _origin(source, config), **report, "notes": notes}
        report["held_out"] |= {"by": "the source's own split" if by == "source" else "a hash of their numbers"}
        spec.save(folder)
        (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    return report


def prepared(episode: Columns, name: str, shift: int = 0) -> tuple[Columns, bool]:
    """An episode by the convention of stores, T frames and T - 1 actions; and whether its last action was NaN.

    A source with one action for each frame loses the last one, which leads to no frame.
    Raises:
        DataError: columns of other lengths, NaN or infinity anywhere else than in the last action.
    """
    frames = {key: len(value) for key, value in episode.items() if key not in (ACTION, "reward")}
    length, given = max(frames.values()), len(episode[ACTION])
    if len(set(frames.values())) > 1 or given not in (length, length - 1):
        told = ", ".join(f"{key} {count}" for key, count in {**frames, ACTION: given}.items())
        raise DataError(
            f"columns of {name} do not fit ({told} rows): all need one row for each frame, and actions one row for "
            "each frame or one fewer"
        )
    action = episode[ACTION]
    nan = given == length and length > 0 and bool(np.isnan(action[-1]).all())
    out = {key: value for key, value in episode.items() if key not in (ACTION, "reward")}
    if shift == -1:  # the first frame has no action that belongs to it
        out, action = {key: value[1:] for key, value in out.items()}, action[: length - 2]
    else:
        action = action[shift : length - 1 + shift]
    if len(action) != len(next(iter(out.values()))) - 1:
        out = {key: value[: len(action) + 1] for key, value in out.items()}
    if "reward" in episode:
        out["reward"] = _arriving(episode["reward"], len(action) + 1, shift)
    out[ACTION] = action
    for key, value in out.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            at = np.argwhere(~np.isfinite(value))[0].tolist()
            place = f"step {at[0]}" + (f", number {at[1]}" if len(at) > 1 else "")
            raise DataError(
                f"{key} of {name} is NaN or infinite at {place}: only the last action of an episode may be; mend the "
                "episode or leave it out"
            )
    return out, nan


def _arriving(reward: np.ndarray, length: int, shift: int) -> np.ndarray:
    """Rewards beside the observations that they arrive with; the first is 0."""
    return np.append(np.float32(0), reward[max(shift, 0) :][: length - 1])


def _batch(episode: Columns) -> Batch:
    """One episode as [1, T, ...], images with channels first."""
    arrays = {key: value.transpose(0, 3, 1, 2) if key == "image" else value for key, value in episode.items()}
    return {key: torch.from_numpy(np.ascontiguousarray(value))[None] for key, value in arrays.items()}


def _held(source: Trajectories, kept: list[int], share: float) -> tuple[np.ndarray, str]:
    """Which stored episodes are held out, and by what: the source's own split, or a hash of their numbers."""
    parts = source.recording.parts
    if parts:
        held = np.array([parts[number] == "test" for number in kept])
        if held.any() and not held.all():
            return held, "source"
    return held_out([str(number) for number in range(len(kept))], share), "hash"


def _origin(source: Trajectories, config: Conversion) -> Json:
    return {
        "format": source.recording.format, "name": source.recording.path.name, 
        "columns": {role: list(keys) for role, keys in source.columns.items()},
        "shift": config.shift,
    }  # fmt: skip


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder that gets its name `out` when the block is left without an exception, and is deleted otherwise.

    Raises:
        DataError: something is at `out`, or it cannot be written.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out} is there already: choose another folder, or move this one aside (--fresh)")
    out = Path(os.path.normpath(Path.cwd() / out))  # "." has no name
    part = out.with_name(f"{out.name}.part")
    try:
        if part.is_dir():  # what an interrupted conversion left
            shutil.rmtree(part)
        part.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"{part} cannot be made: {error}") from None
    try:
        yield part
        os.replace(part, out)
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
