"""Rotary positions: pairs of features turned by angles that grow with the coordinates."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError

Rotation = tuple[Tensor, Tensor]  # cosines and sines [N, D] of the angles of N tokens


def rotation(pos: Float[Tensor, "N P"], width: int, base: float = 10_000.0) -> Rotation:
    """Cosines and sines by which tokens at `pos` are turned, each [N, width].

    Each of the P coordinates has 2 F = 2 (width // (2 P)) features, the first coordinate first; their frequencies are
    base^(-i / F), i = 0..F-1, and then the same again; what is left of the width is not turned. As released: the two
    features of a pair are turned by different angles, so that this is no rotation and lengths are not kept.
    Raises:
        ShapeError: the width has no pair for each coordinate.
    Source: facebookresearch/vjepa2:src/models/utils/modules.py (`rotate_queries_or_keys`, `RoPEAttention`).
    """
    pairs = width // (2 * pos.shape[1])
    if not pairs:
        wanted = 2 * pos.shape[1]
        raise ShapeError(f"heads {width} wide cannot turn by {pos.shape[1]} coordinates: make them {wanted} or wider")
    exponent = torch.arange(pairs, device=pos.device, dtype=torch.float32) / pairs
    angle = pos.float()[..., None] * torch.exp(-math.log(base) * exponent)  # [N, P, F]
    still = angle.new_zeros(len(pos), width - 2 * pairs * pos.shape[1])
    angle = torch.cat([angle.repeat(1, 1, 2).flatten(1), still], 1)
    return angle.cos(), angle.sin()


def rotated(x: Float[Tensor, "*B N D"], turn: Rotation) -> Float[Tensor, "*B N D"]:
    """Features 2i and 2i + 1 of each token turned by its angles, in float32; those without a partner stay."""
    cos, sin = turn
    even = x[..., : x.shape[-1] // 2 * 2]
    quarter = torch.stack([-even[..., 1::2], even[..., ::2]], -1).flatten(-2)
    quarter = torch.cat([quarter, x[..., even.shape[-1] :]], -1)  # by a quarter turn; the sine of the last is 0
    return (x * cos + quarter * sin).to(x.dtype)
