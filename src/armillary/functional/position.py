"""Position embeddings as functions of coordinates."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError


def sincos(pos: Float[Tensor, "*B P"], width: int, base: float = 10_000.0) -> Float[Tensor, "*B D"]:
    """Fixed sine-cosine embedding of P coordinates, which share `width` evenly, first coordinate first.

    Each share is [sines | cosines] of coordinate / base^(i / F), i = 0..F-1, F = width / (2 P).
    Raises:
        ShapeError: `width` is not a multiple of 2 P.
    Source: facebookresearch/jepa:src/models/utils/pos_embs.py; I-JEPA passes the column first.
    """
    coordinates = pos.shape[-1]
    if width % (2 * coordinates):
        raise ShapeError(
            f"width {width} cannot be shared by {coordinates} coordinates: use a multiple of {2 * coordinates}"
        )
    half = width // (2 * coordinates)
    exponent = torch.arange(half, device=pos.device, dtype=torch.float32) / half
    angle = pos.float()[..., None] * torch.exp(-math.log(base) * exponent)  # [*B, P, F]
    return torch.cat([angle.sin(), angle.cos()], -1).flatten(-2)


def grid(rows: int, columns: int, device: torch.device | str = "cpu") -> Float[Tensor, "N 2"]:
    """Coordinates (row, column) of a grid of patches in raster order, in patches."""
    r, c = torch.arange(rows, device=device), torch.arange(columns, device=device)
    return torch.cartesian_prod(r, c).float()


def resized_table(
    table: Float[Tensor, "N D"], rows: int, columns: int, new_rows: int, new_columns: int
) -> Float[Tensor, "M D"]:
    """A table of position embeddings for another grid, by bicubic interpolation.

    Source: huggingface/transformers' ViT embeddings (the released I-JEPA code cannot change its resolution).
    """
    image = table.view(1, rows, columns, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image, size=(new_rows, new_columns), mode="bicubic", align_corners=False)
    return image.flatten(2).squeeze(0).T
