"""Foveae of an image, one after the other: where the eye goes, and what it sees there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..randomness import Random

UNLIKELY, VISITED = 1e-15, 1e-30  # least weight of a place, and that of one visited: drawn where nothing else is left
HALF = 2.0**-25  # of the distance of two uniform numbers: points are never 0, where the unlikely begin


def window_means(x: Float[Tensor, "B h w"], size: int) -> Float[Tensor, "B r c"]:
    """The mean of every window of `size` by `size` that lies inside: r = h - size + 1, c = w - size + 1.

    Raises:
        ShapeError: none does.
    """
    _fits(x.shape[-2:], size)
    return F.avg_pool2d(F.avg_pool2d(x[:, None], (size, 1), 1), (1, size), 1)[:, 0]


def contrast(image: Float[Tensor, "B C h w"], size: int) -> Float[Tensor, "B r c"]:
    """The standard deviation of brightness, the mean of the channels, in every window: what a fovea there would show.

    Eyes rest at places of more contrast than others have (Reinagel and Zador, 1999).
    Raises:
        ShapeError: as `window_means`.
    """
    bright = image.float().mean(1)
    bright = bright - bright.mean((1, 2), keepdim=True)  # squares of small numbers, so that little cancels
    return (window_means(bright.square(), size) - window_means(bright, size).square()).clamp_min(0).sqrt()


@torch.no_grad()
def fixations(
    weight: Float[Tensor, "B r c"],
    count: int,
    random: Random,
    reach: int = 0,
    stream: str = "fixations",
    visited: Int[Tensor, "B v 2"] | None = None,
) -> Int[Tensor, "B n 2"]:
    """Row and column of `count` places of a grid, drawn one after the other in proportion to `weight`.

    Inhibition of return: a place at most `reach` rows and columns from an earlier one is drawn only where nothing else
    is left, uniformly. What is drawn for a sample depends on its own weights and identity; the first places are the
    same for any `count`. Weights that are negative or no numbers count as 0; a row of zeros is drawn uniformly.
    Args:
        reach: in places; negative for none, so that a place may come again.
        visited: row and column of places where the eye was before, as if they had been drawn first.
    Raises:
        ConfigError: `count` is below 1.
        ShapeError: there is no weight for each sample.
    Source: seq-JEPA (arXiv 2505.03176), section on saccades; hafezgh/seq-jepa:seq-jepa/src/datasets.py, where a square
        of half a fovea to each side is inhibited.
    """
    if count < 1:
        raise ConfigError(f"{count} fixations cannot be drawn: ask for at least 1")
    if len(weight) != len(random.sample):
        raise ShapeError(f"{len(random.sample)} samples have weights {tuple(weight.shape)}: give one map to each")
    rows, columns = weight.shape[1:]
    row, column = (axis.flatten() for axis in _axes(rows, columns, weight.device))
    left = weight.double().nan_to_num(0.0, 0.0, 0.0).clamp_min(0).flatten(1)
    left = left / left.sum(1, keepdim=True).clamp_min(torch.finfo(left.dtype).tiny) + UNLIKELY

    def without(left: Tensor, place: Tensor) -> Tensor:
        """What is left after a place [B, 2]."""
        near = ((row - place[:, :1]).abs() <= reach) & ((column - place[:, 1:]).abs() <= reach)
        return torch.where(near, VISITED, left)

    for place in () if visited is None else visited.unbind(1):
        left = without(left, place)
    found = []
    for k in range(count):
        edge = left.cumsum(1)
        point = (random.uniform(f"{stream}/{k}", 1).double() + HALF) * edge[:, -1:]
        place = torch.searchsorted(edge, point, right=True)  # [B, 1]
        found.append(torch.cat([row[place], column[place]], 1))
        left = without(left, found[-1])
    return torch.stack(found, 1)


def foveae(image: Float[Tensor, "B C h w"], corner: Int[Tensor, "B n 2"], size: int) -> Float[Tensor, "B n C s s"]:
    """The squares of `size` pixels whose first row and column `corner` names, as they are.

    Raises:
        ShapeError: the image is smaller than that.
    """
    _fits(image.shape[-2:], size)
    inside = torch.arange(size, device=image.device)
    row, column = (corner[..., axis, None] + inside for axis in (0, 1))  # [B, n, s]
    which = torch.arange(len(image), device=image.device)[:, None, None, None]
    return image[which, :, row[..., :, None], column[..., None, :]].movedim(-1, 2)


def _axes(rows: int, columns: int, device: torch.device) -> tuple[Tensor, ...]:
    return torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")


def _fits(sides: tuple[int, ...], size: int) -> None:
    if not 1 <= size <= min(sides):
        raise ShapeError(f"a square of {size} pixels does not fit an image of {sides[0]}x{sides[1]}: use a smaller one")
