"""Sequences of frames of tokens: where each token is, and which others it may look at."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .position import grid


def frame_places(frames: int, side: int, before: int = 0, device: torch.device | str = "cpu") -> Float[Tensor, "N 3"]:
    """(time, row, column) of the tokens of `frames` square frames: `before` of them at (0, 0), then the patches."""
    inside = torch.cat([torch.zeros(before, 2, device=device), grid(side, side, device)])
    time = torch.arange(frames, device=device, dtype=torch.float32).repeat_interleave(len(inside))
    return torch.cat([time[:, None], inside.repeat(frames, 1)], 1)


def frame_causal(frames: int, tokens: int, window: int = 0, device: torch.device | str = "cpu") -> Bool[Tensor, "N N"]:
    """True where a token may look at another: at all tokens of its own frame and of the frames before it.

    tokens: of one frame. window: how many frames it sees, its own included; 0 for all.
    """
    time = torch.arange(frames, device=device).repeat_interleave(tokens)
    ago = time[:, None] - time
    return (ago >= 0) & (ago < (window or frames))
