"""Rectangular blocks on a grid of patches: one context block minus several target blocks (I-JEPA's views)."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..randomness import Random
from ..types import Masks, Range

Size = tuple[int, int]
TRIES = 200
AT_ONCE = 4  # placements that are drawn together for a sample whose first left too little context
BLOCKED = 1 << 30


def block_size(rows: int, columns: int, scale: float, aspect: float) -> Size:
    """Height and width in patches of a block that covers the share `scale` at height / width = `aspect`."""
    area = scale * rows * columns
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return min(rows, max(1, height)), min(columns, max(1, width))


def check_size(image: Float[Tensor, "B C h w"], size: int) -> None:
    """Check that images have the size for which masks are drawn.

    Raises:
        ShapeError: they have another one.
    """
    height, width = image.shape[-2:]
    if (height, width) != (size, size):
        raise ShapeError(
            f"images are {height}x{width} pixels, masks are drawn for {size}x{size}: set data.size to {size}, or "
            f"method.encoder.image to {height}"
        )


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
    _, free = _draw(grid, Random(0, 0, torch.arange(256)), "blocks/0", 1, targets, target, context)
    return int(free.sum(2).flatten().sort().values[25])


@lru_cache(maxsize=4096)
def _spans(
    grid: Size, targets: int, target: Size, context: Size
) -> tuple[Int[Tensor, "2 M"], Int[Tensor, "2 M"], Float[Tensor, "R side"]]:
    """For each axis and block (targets, then context): its number of places, and a table of what it covers there.

    Block m at place p of axis i covers table[first[i, m] + p], in which targets count -1 along the first axis.
    """
    room, first, rows = [], [], []
    for axis in (0, 1):
        for size, count, sign in ((target, targets, -1.0 if axis == 0 else 1.0), (context, 1, 1.0)):
            places = grid[axis] - size[axis] + 1
            room, first = room + count * [places], first + count * [len(rows)]
            rows += [[sign * (p <= i < p + size[axis]) for i in range(max(grid))] for p in range(places)]
    return torch.tensor(room).view(2, -1), torch.tensor(first).view(2, -1), torch.tensor(rows)


def _draw(
    grid: Size, random: Random, stream: str, tries: int, targets: int, target: Size, context: Size
) -> tuple[Int[Tensor, "B T 2 M"], Bool[Tensor, "B T N"]]:
    """T placements per sample: the corners of the target blocks, and which patches are free to be seen."""
    room, first, table = (x.to(random.sample.device) for x in _spans(grid, targets, target, context))
    corner = (random.uniform(stream, tries, 2, targets + 1) * room).long()  # (top, left) of each block
    covered = table[corner + first]  # [B, T, 2, M + 1, side]
    rows, columns = covered[:, :, 0, :, : grid[0]], covered[:, :, 1, :, : grid[1]]
    free = rows.mT @ columns > 0.5  # in the context and in no target
    return corner[..., :targets], free.flatten(2)


def _place(grid: Size, random: Random, targets: int, target: Size, context: Size, kept: int) -> Masks:
    """Blocks of the given sizes for each sample, drawn again where fewer than `kept` patches stay free."""
    drawn = _draw(grid, random, "blocks/0", 1, targets, target, context)
    corner, free = drawn[0][:, 0], drawn[1][:, 0]
    for attempt in range(1, TRIES):
        short = (free.sum(1) < kept).nonzero().squeeze(1)
        if not len(short):
            break
        again = Random(random.seed, random.step, random.sample[short])
        corners, frees = _draw(grid, again, f"blocks/{attempt}", AT_ONCE, targets, target, context)
        first = (frees.sum(2) >= kept).int().argmax(1)  # the first that fits; where none does, any, to be drawn again
        row = torch.arange(len(short), device=first.device)
        corner[short], free[short] = corners[row, first], frees[row, first]
    start, columns = corner[:, 0] * grid[1] + corner[:, 1], torch.arange(target[1], device=corner.device)
    offset = torch.arange(target[0], device=corner.device)[:, None] * grid[1] + columns
    return Masks(_choose(free, kept, random), start[..., None] + offset.flatten())


def _choose(free: Bool[Tensor, "B N"], count: int, random: Random) -> Int[Tensor, "B K"]:
    """`count` random indices per row among those that are free: the smallest of random keys that end in their index."""
    places = free.shape[1]
    low = (1 << places.bit_length()) - 1
    key = random.bits("choose", (places + 1) // 2).view(torch.int32)[:, :places] & (BLOCKED - 1 - low)  # two of a word
    key += torch.arange(places, dtype=torch.int32, device=free.device)
    key += (~free).int() * BLOCKED
    if key.device.type == "cpu":  # six times faster than topk
        smallest = torch.from_numpy(np.partition(key.numpy(), count - 1, axis=1)[:, :count])
    else:
        smallest = key.topk(count, dim=1, largest=False, sorted=False).values
    return (smallest & low).long()


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
