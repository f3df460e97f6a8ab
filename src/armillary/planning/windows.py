"""Windows of recorded episodes as dynamics start from them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Dynamics
from ..types import Batch
from .readout import flat

SEEN = ("image", "proprio")  # what dynamics start from, beside actions


def context(batch: Batch, history: int) -> Batch:
    """The first `history` frames of windows and the actions between them."""
    first = {name: batch[name][:, :history] for name in SEEN if name in batch}
    return {**first, "action": batch["action"][:, : history - 1]}


def alone(batch: Batch, t: int) -> Batch:
    """Frame `t` of windows, with nothing before it."""
    return {**{k: batch[k][:, t : t + 1] for k in SEEN if k in batch}, "action": batch["action"][:, :0]}


def observed(dynamics: Dynamics[Any], batch: Batch, rows: int = 512) -> Float[Tensor, "n T *L D"]:
    """The latent of each frame of prepared windows alone, image [n, T, C, h, w], proprio [n, T, P], or both."""
    frames, parts = {name: batch[name].flatten(0, 1) for name in SEEN if name in batch}, []
    shown, windows = next((x, batch[name].shape[:2]) for name, x in frames.items())
    for part in torch.arange(len(shown)).split(rows):
        single = {name: x[part][:, None] for name, x in frames.items()}
        single["action"] = shown.new_zeros(len(part), 0, batch["action"].shape[2])
        parts.append(dynamics.latent(dynamics.start(single)))
    return torch.cat(parts).unflatten(0, windows)


def stacked(latents: Float[Tensor, "E T *L D"], history: int) -> Float[Tensor, "E T F"]:
    """For each frame the latents of the last `history` ones side by side, the first one repeated at the beginning."""
    x = flat(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])
    padded = torch.cat([x[:, :1].expand(-1, history - 1, -1), x], 1)
    return torch.cat([padded[:, t : t + x.shape[1]] for t in range(history)], 2)
