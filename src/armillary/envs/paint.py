"""Smooth shapes on batches of small images: a scene is drawn once, what moves is stamped on copies of it.

A shape tells the share of a pixel that it covers, from where the pixel's middle is seen from the middle of the shape;
only the pixels around it are touched, which is why thousands of worlds are drawn in a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

CHUNK = 128  # images drawn at once: more do not fit into the cache
Share = Callable[[Float[Tensor, "B 1 k"], Float[Tensor, "B k 1"]], Float[Tensor, "B k k"]]


@dataclass(frozen=True)
class Shape:
    """What one shape covers. reach: pixels around its middle beyond which it covers nothing."""

    reach: int
    share: Share


def bell(deviation: float) -> Shape:
    """A Gaussian of height 1; beyond `reach` it is too small to change a rounded color."""

    def share(x: Tensor, y: Tensor) -> Tensor:
        across, down = (-x.square() / (2 * deviation**2)).exp(), (-y.square() / (2 * deviation**2)).exp()
        return down * across

    return Shape(math.ceil(6.2 * deviation), share)


def disc(radius: float) -> Shape:
    """A filled circle; its edge is one pixel wide."""
    return Shape(math.ceil(radius + 1), lambda x, y: (radius + 0.5 - (x.square() + y.square()).sqrt()).clamp(0, 1))


def square(side: float, angle: Float[Tensor, " B"]) -> Shape:
    """A filled square, turned by `angle` radians from x towards y; its edge is one pixel wide."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]

    def share(x: Tensor, y: Tensor) -> Tensor:
        along, across = (cos * x + sin * y).abs() - side / 2, (cos * y - sin * x).abs() - side / 2
        outside = (along.clamp_min(0).square() + across.clamp_min(0).square()).sqrt()
        return (0.5 - outside - along.maximum(across).clamp_max(0)).clamp(0, 1)

    return Shape(math.ceil(side / math.sqrt(2) + 1), share)


def stamp(
    image: UInt8[Tensor, "B C h w"],
    middle: Float[Tensor, "B 2"],
    shape: Shape,
    color: Float[Tensor, " C"],
    under: Shaped[Tensor, "#B C h w"] | None = None,
) -> None:
    """Draw a shape at `middle` (x, y) on each image, in place.

    under: what is seen below the shape; the images themselves unless an exact scene, not yet rounded, is given.
    """
    (height, width), channels = image.shape[2:], image.shape[1]
    rows, columns = (_around(middle[:, axis], shape.reach, n) for axis, n in ((1, height), (0, width)))
    share = shape.share((columns + 0.5 - middle[:, :1])[:, None, :], (rows + 0.5 - middle[:, 1:])[:, :, None])
    place = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None].expand(-1, channels, -1)
    below = image if under is None else under.expand(len(image), -1, -1, -1)
    patch = below.flatten(2).gather(2, place).to(color.dtype)
    drawn = torch.lerp(patch, color[:, None], share.flatten(1)[:, None])
    image.flatten(2).scatter_(2, place, drawn.add_(0.5).to(torch.uint8))


def _around(middle: Float[Tensor, " B"], reach: int, size: int) -> Tensor:
    """Numbers [B, k] of the pixels within `reach` of the one at `middle`, moved into the image where they leave it."""
    count = min(2 * reach + 1, size)
    first = (middle.clamp(-size, 2 * size).floor().long() - reach).clamp(0, size - count)
    return first[:, None] + torch.arange(count, device=middle.device)


def cover(low: Float[Tensor, "*n"], high: Float[Tensor, "*n"], size: int) -> Float[Tensor, "*n size"]:
    """The share of each of `size` pixels that lies between `low` and `high`."""
    edge = torch.arange(size, device=low.device)
    return (high[..., None].minimum(edge + 1) - low[..., None].maximum(edge)).clamp(0, 1)


def plain(scene: Float[Tensor, "B C h w"]) -> UInt8[Tensor, "B C h w"]:
    """A scene rounded to an image."""
    return (scene + 0.5).to(torch.uint8)


def two_colors(
    share: Float[Tensor, "B h w"], floor: tuple[float, ...], wall: tuple[float, ...]
) -> Float[Tensor, "B C h w"]:
    """Images whose pixels mix the color of the floor with that of a wall, by the share that the wall covers."""
    below, above = share.new_tensor(floor)[:, None, None], share.new_tensor(wall)[:, None, None]
    return torch.lerp(below, above, share[:, None])
