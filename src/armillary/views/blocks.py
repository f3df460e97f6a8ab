"""Rectangular blocks on a grid of patches: one context block minus several target blocks (I-JEPA's views)."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import ConfigError
from ..randomness import Random
from ..types import Masks, Range

Size = tuple[int, int]
TRIES = 200
BLOCKED = 1 << 62


def block_size(rows: int, columns: int, scale: float, aspect: float) -> Size:
    """Height and width in patches of a block that covers the share `scale` at height / width = `aspect`."""
    area = scale * rows * columns
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return min(rows, max(1, height)), min(columns, max(1, width))


def blocks(
    rows: int,
    columns: int,
    random: Random,
    targets: int = 4,
    target_scale: Range = (0.15, 0.2),
    target_aspect: Range = (0.75, 1.5),
    context_scale: Range = (0.85, 1.0),
    min_context: float = 0.05,
) -> Masks:
    """Multi-block masking: `targets` rectangles to predict, and one rectangle minus all of them to see.

    Sizes and the number K of context patches are functions of (seed, step), so that shapes are equal on all ranks;
    places are drawn per sample, uniformly over all that fit, hence no patch is out of reach and mirror images are
    equally likely. A sample with fewer than K free patches is drawn again; surplus patches are dropped at random.

    Args:
        target_scale, context_scale: share of the grid that a block covers. target_aspect: height / width.
        min_context: smallest share of the grid that may remain as context; other sizes are drawn until it does.
    Returns:
        context [B, K] and targets [B, M, Kt], patch indices in raster order of the grid.
    Raises:
        ConfigError: no size in these ranges leaves that much context.
    Source: I-JEPA (arXiv 2301.08243), section 3. Departures from the released collator, which `released_blocks`
        repeats: scale and aspect are independent, the last row and column are used, and context is not cut from the
        bottom to the smallest of the batch.
    """
    generator = random.shared("blocks")
    for _ in range(TRIES):
        draw = torch.rand(3, generator=generator).tolist()
        target = block_size(rows, columns, _between(target_scale, draw[0]), _between(target_aspect, draw[1]))
        context = block_size(rows, columns, _between(context_scale, draw[2]), 1.0)
        kept = _context_count((rows, columns), targets, target, context)
        if kept >= max(1, min_context * rows * columns):
            return _place((rows, columns), random, targets, target, context, kept)
    raise ConfigError(
        f"{targets} targets of scale {target_scale} leave less than {min_context:.0%} of a {rows}x{columns} grid as "
        f"context; use fewer or smaller targets, a smaller patch or a smaller min_context"
    )


def _between(low_high: Range, draw: float) -> float:
    return low_high[0] + (low_high[1] - low_high[0]) * draw


@lru_cache(maxsize=4096)
def _context_count(grid: Size, targets: int, target: Size, context: Size) -> int:
    """Free patches that nine of ten random placements leave: a function of the sizes alone."""
    _, free = _draw(grid, Random(0, 0, torch.arange(256)), 0, targets, target, context)
    return int(free.sum(1).sort().values[25])


def _draw(
    grid: Size, random: Random, attempt: int, targets: int, target: Size, context: Size
) -> tuple[Int[Tensor, "B 2 M"], Bool[Tensor, "B N"]]:
    """One placement per sample: the corners of the target blocks, and which patches are free to be seen."""
    draw = random.uniform(f"blocks/{attempt}", 2, targets + 1)  # (top, left) of each target, then of the context
    room = torch.tensor([[grid[i] - size[i] + 1 for size in [target] * targets + [context]] for i in (0, 1)])
    corner = (draw * room.to(draw.device)).long()
    wanted = _covered(grid, target, corner[..., :targets])
    return corner[..., :targets], (_covered(grid, context, corner[..., targets:]) > wanted * (targets + 1)).flatten(1)


def _covered(grid: Size, size: Size, corner: Int[Tensor, "B 2 M"]) -> Float[Tensor, "B rows columns"]:
    """How many of the M blocks cover each patch: a product of indicators of rows and columns."""
    inside = []
    for axis in (0, 1):
        offset = torch.arange(grid[axis], device=corner.device) - corner[:, axis, :, None]  # [B, M, rows or columns]
        inside.append(((offset >= 0) & (offset < size[axis])).float())
    return inside[0].mT @ inside[1]


def _place(grid: Size, random: Random, targets: int, target: Size, context: Size, kept: int) -> Masks:
    """Blocks of the given sizes for each sample, drawn again where fewer than `kept` patches stay free."""
    corner, free = _draw(grid, random, 0, targets, target, context)
    for attempt in range(1, TRIES):
        short = (free.sum(1) < kept).nonzero().squeeze(1)
        if not len(short):
            break
        again = Random(random.seed, random.step, random.sample[short])
        corner[short], free[short] = _draw(grid, again, attempt, targets, target, context)
    first, columns = corner[:, 0] * grid[1] + corner[:, 1], torch.arange(target[1], device=corner.device)
    offset = torch.arange(target[0], device=corner.device)[:, None] * grid[1] + columns
    return Masks(_choose(free, kept, random), first[..., None] + offset.flatten())


def _choose(free: Bool[Tensor, "B N"], count: int, random: Random) -> Int[Tensor, "B K"]:
    """`count` random indices per row among those that are free: the smallest of random keys that end in their index."""
    places = free.shape[1]
    low = (1 << places.bit_length()) - 1
    key = random.bits("choose", places).bitwise_and_(BLOCKED - 1 - low).add_(torch.arange(places, device=free.device))
    key = key.bitwise_or_((~free).long().bitwise_left_shift_(62))
    if key.device.type == "cpu":  # six times faster than topk
        smallest = torch.from_numpy(np.partition(key.numpy(), count - 1, axis=1)[:, :count])
    else:
        smallest = key.topk(count, dim=1, largest=False, sorted=False).values
    return smallest & low


def released_blocks(
    rows: int,
    columns: int,
    batch: int,
    step: int,
    places: torch.Generator,
    targets: int = 4,
    target_scale: Range = (0.15, 0.2),
    target_aspect: Range = (0.75, 1.5),
    context_scale: Range = (0.85, 1.0),
    min_keep: int = 10,
) -> Masks:
    """The masks of I-JEPA's released collator, draw by draw, for reproductions.

    One number sets scale and aspect together; a block never touches the last row and column; every context is cut to
    the shortest of the batch from the end of the raster order, hence from the bottom of the image.

    Args:
        step: counts from 0; it alone seeds the sizes. places: the generator of the places (global in the release).
    Source: facebookresearch/ijepa:src/masks/multiblock.py, behaviour measured at commit 52c1ae95.
    """
    sizes = torch.Generator().manual_seed(step)
    target = _released_size(rows, columns, target_scale, target_aspect, sizes)
    context = _released_size(rows, columns, context_scale, (1.0, 1.0), sizes)
    seen: list[Tensor] = []
    wanted: list[Tensor] = []
    for _ in range(batch):
        boxes = [_released_box(rows, columns, target, places) for _ in range(targets)]
        wanted.append(torch.stack([box.flatten().nonzero().squeeze(1) for box in boxes]))
        seen.append(_released_context(rows, columns, context, boxes, min_keep, places))
    shortest = min(len(x) for x in seen)
    return Masks(torch.stack([x[:shortest] for x in seen]), torch.stack(wanted))


def _released_size(rows: int, columns: int, scale: Range, aspect: Range, generator: torch.Generator) -> Size:
    draw = torch.rand(1, generator=generator).item()
    area, ratio = int(rows * columns * _between(scale, draw)), _between(aspect, draw)
    height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    return min(height, rows - 1), min(width, columns - 1)


def _released_box(rows: int, columns: int, size: Size, generator: torch.Generator) -> Bool[Tensor, "rows columns"]:
    top = int(torch.randint(0, rows - size[0], (1,), generator=generator))  # the last offset is never drawn
    left = int(torch.randint(0, columns - size[1], (1,), generator=generator))
    box = torch.zeros(rows, columns, dtype=torch.bool)
    box[top : top + size[0], left : left + size[1]] = True
    return box


def _released_context(
    rows: int, columns: int, size: Size, boxes: list[Tensor], min_keep: int, generator: torch.Generator
) -> Int[Tensor, " K"]:
    for attempt in range(20 * (len(boxes) + 1)):
        free = _released_box(rows, columns, size, generator)
        for box in boxes[: max(len(boxes) - attempt // 20, 0)]:  # after 20 failures one target less is spared
            free &= ~box
        index = free.flatten().nonzero().squeeze(1)
        if len(index) > min_keep:
            return index
    raise ConfigError(f"a context block of {size} patches on a {rows}x{columns} grid never keeps more than {min_keep}")
