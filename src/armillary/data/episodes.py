"""Episodes as windows of frames with the actions between them.

The convention of every store and batch: action t leaves observation t and produces observation t + 1. An episode of T
frames has T - 1 actions; its last row of `action` is zero and never used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ..errors import ConfigError, DataError
from ..types import Batch
from .dataset import checked
from .split import held_episodes
from .statistics import Statistics, image_statistics, moments, pixel_moments
from .store import ACTION, EpisodeWriter, Index, open_columns

__all__ = ["EpisodeDataset", "EpisodeWriter", "Episodes"]
SAMPLED = 2000  # frames from which the mean and deviation of images are computed


@dataclass(frozen=True)
class Episodes:
    """A folder written by `EpisodeWriter`, read as windows of frames."""

    path: str = ""
    """Folder of the store."""
    window: int = 4
    """Frames in a window."""
    frame_skip: int = 1
    """Raw steps between two frames of a window; their actions are joined into one of that many times the width."""
    test_share: float = 0.1
    """Share of the episodes that is held out, chosen by a hash of their numbers; data with a test part of their own
    (split.json of the store) hold out that one, unless the share is 0."""
    mean: tuple[float, ...] = ()
    """Of images in [0, 1], one number or one per channel; empty: measured on the training episodes."""
    std: tuple[float, ...] = ()
    """As `mean`."""

    def open(self, split: str) -> EpisodeDataset:
        """The windows of the episodes of one split.

        Raises:
            ConfigError: an impossible setting.
            DataError: the store is missing, unfinished or damaged, or no episode is long enough.
        """
        if self.window < 1 or self.frame_skip < 1:
            raise ConfigError(f"window is {self.window}, frame_skip {self.frame_skip}: both must be at least 1")
        if not 0 <= self.test_share < 1:
            raise ConfigError(f"test_share is {self.test_share}: it must be at least 0 and below 1")
        if bool(self.mean) != bool(self.std):
            raise ConfigError(f"mean is {self.mean}, std {self.std}: give both or neither")
        index, columns = open_columns(Path(self.path))
        test = held_episodes(Path(self.path), len(index.lengths), self.test_share)
        if split == "test" and not test.any():
            raise DataError(
                f"no episode of {self.path} is held out: it has {len(test)}, test_share is {self.test_share}"
            )
        statistics = _statistics(self, index, columns, ~test)
        return EpisodeDataset(self, index, columns, np.flatnonzero(test if split == "test" else ~test), statistics)


class EpisodeDataset:
    """Windows in rows: every start in every episode of the split.

    episodes: their numbers in the store. statistics: from the training episodes, in either split.
    """

    def __init__(
        self,
        config: Episodes,
        index: Index,
        columns: dict[str, np.ndarray],
        episodes: Int64[np.ndarray, " E"],
        statistics: Statistics,
    ) -> None:
        self.config, self.index, self.columns, self.episodes, self.statistics = (
            config,
            index,
            columns,
            episodes,
            statistics,
        )
        span = (config.window - 1) * config.frame_skip  # raw steps from the first to the last frame
        starts = np.maximum(0, index.lengths[episodes] - span)
        if not starts.any():
            raise DataError(
                f"windows of {span + 1} raw frames do not fit into episodes of at most "
                f"{index.lengths[episodes].max()}: lower data.window or data.frame_skip, or collect longer episodes"
            )
        self._ends = np.cumsum(starts)
        self._shift = index.offsets[episodes] - (self._ends - starts)  # first raw frame = row + shift of its episode

    def __len__(self) -> int:
        return int(self._ends[-1])

    def batch(self, index: Int64[Tensor, " B"]) -> Batch:
        """The windows at `index`: image [B, T, C, h, w] uint8, action [B, T - 1, skip * A], state [B, T, S], ...

        episode: [B] number of the episode in the store.
        """
        rows, skip = checked(index, len(self)), self.config.frame_skip
        place = np.searchsorted(self._ends, rows, side="right")
        first = rows + self._shift[place]
        frames = first[:, None] + np.arange(self.config.window) * skip
        steps = first[:, None] + np.arange((self.config.window - 1) * skip)
        batch = self._taken(frames, steps)
        if ACTION in batch:
            batch[ACTION] = batch[ACTION].reshape(len(rows), self.config.window - 1, skip * batch[ACTION].shape[-1])
        return {"index": index, "episode": torch.from_numpy(self.episodes[place]), **batch}

    def episode(self, number: int) -> Batch:
        """All frames of episode `number` of the store, raw: image [1, T, C, h, w], action [1, T - 1, A], ...

        Raises:
            DataError: there is no such episode.
        """
        checked(torch.tensor([number]), len(self.index.lengths))
        first, length = int(self.index.offsets[number]), int(self.index.lengths[number])
        frames = np.arange(first, first + length)[None]
        return {"index": torch.tensor([number]), **self._taken(frames, frames[:, :-1])}

    def windows(self, frames: int) -> EpisodeDataset:
        """The same episodes in windows of another number of frames.

        Raises:
            DataError: no episode is that long.
        """
        config = replace(self.config, window=frames)
        return EpisodeDataset(config, self.index, self.columns, self.episodes, self.statistics)

    def prepare(self, batch: Batch) -> Batch:
        """The batch with float32 images and normalized actions; see `Statistics.prepare`."""
        return self.statistics.prepare(batch)

    def _taken(self, frames: np.ndarray, steps: np.ndarray) -> Batch:
        """Rows of every column: at `steps` for actions, at `frames` for what was observed."""
        return {k: torch.from_numpy(v.take(steps if k == ACTION else frames, 0)) for k, v in self.columns.items()}


def _statistics(config: Episodes, index: Index, columns: dict[str, np.ndarray], train: np.ndarray) -> Statistics:
    """Means and deviations of the training episodes; of images those of evenly spread frames, or the given ones."""
    in_train, used = np.repeat(train, index.lengths), np.ones(index.frames, bool)
    used[index.offsets + index.lengths - 1] = False  # the last action of each episode
    mean, std = {}, {}
    for key, column in columns.items():
        rows = in_train & used if key == ACTION else in_train
        if column.ndim == 2 and np.issubdtype(column.dtype, np.floating) and rows.any():
            mean[key], std[key] = moments(column[rows])
    if "image" in columns:
        images = columns["image"]
        if config.mean:
            given = image_statistics(config.mean, config.std, images.shape[1])
            mean |= given.mean
            std |= given.std
        else:
            frames = np.flatnonzero(in_train)
            sample = images.take(frames[:: max(1, len(frames) // SAMPLED)], 0)
            mean["image"], std["image"] = pixel_moments(sample)
    return Statistics(mean, std)
