"""Blockwise masks: rectangles laid over each other until a share of the grid is hidden (BEiT's masks)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ..errors import ConfigError
from ..randomness import Random
from ..types import Range

TRIES = 16  # rectangles drawn per sample; the first six nearly fill most grids


def blockwise(
    rows: int,
    columns: int,
    random: Random,
    count: Int[Tensor, " B"],
    smallest: float = 16 / 196,
    aspect: Range = (0.3, 1 / 0.3),
    stream: str = "blockwise",
) -> Bool[Tensor, "B N"]:
    """True at exactly `count` patches of each sample, in raster order: rectangles of random size, shape and place.

    The middle is hidden more often than the corners, as in the released masks: more rectangles reach it.

    Args:
        count: patches to hide, one number per sample; 0 hides none.
        smallest: share of the grid that a rectangle covers at least, while so much is left to hide.
        aspect: height over width, log-uniform.
    Raises:
        ConfigError: the aspect is not a range of positive numbers.
    Source: BEiT (arXiv 2106.08254), algorithm 1; bytedance/ibot:loader.py. Departures, for static shapes and draws per
        sample: rectangles are cut to the grid's sides instead of drawn again, and what 16 of them leave to hide is
        hidden as single patches where the released code hides fewer.
    """
    if not 0 < aspect[0] <= aspect[1]:
        raise ConfigError(f"aspect is {aspect}: give two positive numbers, the lower one first")
    r, c = torch.arange(rows, device=count.device)[:, None], torch.arange(columns, device=count.device)
    mask = torch.zeros(len(count), rows, columns, dtype=torch.bool, device=count.device)
    left = count.clone()  # still to be hidden
    for draw in random.uniform(stream, TRIES, 4).unbind(1):
        size, shape, down, across = draw.T[..., None, None]  # [B, 1, 1] each
        low = left.float().clamp(max=max(1.0, smallest * rows * columns))[:, None, None]
        area = low + (left[:, None, None] - low) * size
        ratio = torch.exp(math.log(aspect[0]) + math.log(aspect[1] / aspect[0]) * shape)
        height = (area * ratio).sqrt().round().clamp(1, rows)
        width = (area / ratio).sqrt().round().clamp(1, columns)
        top, start = (down * (rows - height + 1)).floor(), (across * (columns - width + 1)).floor()
        new = (r >= top) & (r < top + height) & (c >= start) & (c < start + width) & ~mask
        gain = new.sum((1, 2))
        fits = gain <= left
        mask |= new & fits[:, None, None]
        left -= gain * fits
    flat = mask.flatten(1)
    order = random.uniform(f"{stream}/rest", rows * columns).masked_fill(flat, 2.0).argsort(1).argsort(1)
    return flat | (order < left[:, None])
