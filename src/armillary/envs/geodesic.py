"""Lengths of ways around obstacles, by breadth-first search on a lattice, for many goals at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Lattice:
    """Points of a square image, `step` pixels apart, numbered row by row."""

    size: int
    step: float = 2.0

    @property
    def side(self) -> int:
        """Points in a row."""
        return int(self.size / self.step)

    def points(self) -> Float[Tensor, "1 P 2"]:
        """Their positions (x, y)."""
        at = (torch.arange(self.side) + 0.5) * self.step
        return torch.stack([at.repeat(self.side), at.repeat_interleave(self.side)], 1)[None]


def distances(
    lattice: Lattice, free: Bool[Tensor, "E P"], goal: Float[Tensor, "E 2"], straight: Bool[Tensor, "E P"]
) -> Float[Tensor, "E P"]:
    """Length of the shortest way from each point to the goal, infinite where there is none.

    A way goes from point to point in eight directions, diagonally only where both corners beside it are free, and ends
    with a straight line from one of the `straight` points, from which the goal is in sight. Directions make it at most
    1 / cos(pi / 8) = 1.082 times too long.
    """
    apart = (lattice.points() - goal[:, None]).norm(dim=2)
    side, inf = lattice.side, math.inf
    length = torch.where(straight & free, apart, inf).unflatten(1, (side, side))
    open_ = F.pad(free.unflatten(1, (side, side)), (1, 1, 1, 1))
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    blocked = [~(_seen(open_, dy, 0) & _seen(open_, 0, dx) & _seen(open_, dy, dx)) for dy, dx in steps]
    for _ in range(side * side):
        around = F.pad(length, (1, 1, 1, 1), value=inf)
        shorter = length
        for (dy, dx), never in zip(steps, blocked, strict=True):
            way = _seen(around, dy, dx) + lattice.step * math.hypot(dy, dx)
            shorter = shorter.minimum(way.masked_fill(never, inf))
        shorter = shorter.masked_fill(~_seen(open_, 0, 0), inf)
        if torch.equal(shorter, length):
            break
        length = shorter
    return length.flatten(1)


def remaining(
    lattice: Lattice, field: Float[Tensor, "E P"], position: Float[Tensor, "n 2"], index: Int64[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Length of the way from each position to goal `index`, over the nearest of the four points around it."""
    first = (position / lattice.step - 0.5).floor().long()
    found = torch.full((len(position),), math.inf)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        column, row = (first[:, 0] + dx).clamp(0, lattice.side - 1), (first[:, 1] + dy).clamp(0, lattice.side - 1)
        point = (torch.stack([column, row], 1) + 0.5) * lattice.step
        found = found.minimum(field[index, row * lattice.side + column] + (position - point).norm(dim=1))
    return found


def _seen(padded: Tensor, dy: int, dx: int) -> Tensor:
    """What stands one place down and to the right, or up and left, of each place of a padded grid."""
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    return padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
