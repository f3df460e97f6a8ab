"""Regions of an image in the order of their saliency."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ConfigError


def salient_regions(
    saliency: Float[Tensor, "B N"], rows: int, columns: int, regions: int = 5, size: int = 29
) -> Int[Tensor, "B N"]:
    """Patches in the order of their regions: `size` of the most salient region, then of the next, then the rest.

    The first `regions` - 1 are compact: each grows around the most salient patch that is still free, saliency averaged
    over the free ones of 3x3 patches, and takes the `size` free patches of the smallest distance, in patches, less
    saliency, scaled to 0 to 1. They are ranked by their mean saliency. The last region is what remains.
    Raises:
        ConfigError: the regions leave nothing for the last one.
    Source: DSeq-JEPA (arXiv 2511.17354), section 3. The released code (SkyShunsuke/DSeq-JEPA:
        src/frameworks/dseqjepa/attention.py) takes the connected components above Otsu's threshold instead, whose
        number and sizes differ from image to image; sizes here are equal, so that shapes are static within a step.
    """
    if size < 1 or regions < 2 or (regions - 1) * size >= rows * columns:
        raise ConfigError(
            f"{regions} regions of {size} patches, the last of the rest, do not fit a {rows}x{columns} grid: use fewer "
            "or smaller ones"
        )
    saliency = saliency.float()
    place = torch.arange(rows * columns, device=saliency.device)
    row, column = place // columns, place % columns
    between = torch.hypot((row[:, None] - row).float(), (column[:, None] - column).float())  # [N, N] in patches
    preferred = (saliency - saliency.amin(1, keepdim=True)) / (saliency.amax(1) - saliency.amin(1) + 1e-12)[:, None]
    free, found = torch.ones_like(saliency, dtype=torch.bool), []
    for _ in range(regions - 1):
        smooth = _around(preferred * free, rows, columns) / _around(free.float(), rows, columns).clamp_min(1e-6)
        seed = torch.where(free, smooth, -torch.inf).argmax(1)
        region = torch.where(free, between[seed] - preferred, torch.inf).topk(size, largest=False).indices
        free = free.scatter(1, region, False)
        found.append(region)
    drawn = torch.stack(found, 1)  # [B, regions - 1, size]
    score = saliency.gather(1, drawn.flatten(1)).unflatten(1, drawn.shape[1:]).mean(2)
    order = score.argsort(dim=1, descending=True, stable=True)
    ranked = drawn.gather(1, order[..., None].expand_as(drawn)).flatten(1)
    rest = (~free).int().argsort(dim=1, stable=True)[:, : rows * columns - ranked.shape[1]]
    return torch.cat([ranked, rest], 1)


def _around(x: Float[Tensor, "B N"], rows: int, columns: int) -> Float[Tensor, "B N"]:
    return F.avg_pool2d(x.view(-1, 1, rows, columns), 3, 1, 1).flatten(1)
