"""Single frames of episodes, as images: what an encoder is pre-trained on before a world model uses it, frozen."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Int64
from torch import Tensor

from ..types import Batch
from .episodes import EpisodeDataset, Episodes
from .store import ACTION

__all__ = ["StillDataset", "Stills"]


@dataclass(frozen=True)
class Stills(Episodes):
    """A folder of episodes of which every frame is a row; `window` and `frame_skip` have no meaning here."""

    def open(self, split: str) -> StillDataset:
        """The frames of the episodes of one split.

        Raises:
            ConfigError: an impossible setting.
            DataError: the store is missing, unfinished or damaged.
        """
        rows = super(Stills, replace(self, window=1, frame_skip=1)).open(split)
        return StillDataset(rows.config, rows.index, rows.columns, rows.episodes, rows.statistics)


class StillDataset(EpisodeDataset):
    """Frames in rows, without actions; statistics are those of the episodes."""

    def batch(self, index: Int64[Tensor, " B"]) -> Batch:
        """The frames at `index`: image [B, C, h, w] uint8, state [B, S], ...; episode [B] their episodes' numbers."""
        rows = super().batch(index)
        return {k: v if k in ("index", "episode") else v[:, 0] for k, v in rows.items() if k != ACTION}
