"""Layouts of square mazes: named ones, endless ones grown from spanning trees, and how their rooms hang together.

A maze has `rooms` x `rooms` rooms. A layout is a grid of 2 rooms + 1 lines each way, 1 where a wall stands: even lines
are walls, odd lines are rooms, so (odd, odd) is a room, (even, odd) and (odd, even) are the openings between two rooms
or the wall there, (even, even) are posts, which always stand. Where rooms are numbered, it is row by row.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import DataError
from ..randomness import Random, mix
from .batched import redrawn

# A line is a row of rooms: "_" is a wall below a room, "|" one to its right; the outer walls are not drawn. No seen one
# is `held_back` and every unseen one is, so what is generated for training never is an unseen one.
SEEN = {
    "comb": (" | | | ", " | | | ", " | | | ", "       "),
    "court": ("  _ _  ", " |   | ", " |_ _  ", "       "),
    "halves": ("   |   ", " | | | ", " | | | ", "       "),
    "snake": ("  _ _ _", "       ", "  _ _ _", "       "),
    "spiral": ("  _ _  ", " |   | ", " |_| | ", "     | "),
    "tree": ("_  | | ", "  _    ", " |_ _ _", "       "),
}
UNSEEN = {
    "fork": ("_ _ _  ", "       ", "_ _ _| ", "       "),
    "key": (" |_ _  ", " |  _| ", "   |   ", "     | "),
    "knot": ("  _  | ", " |_ _| ", "_    | ", "   |   "),
    "rooms": ("   |   ", "_  |   ", "   |   ", "       "),
    "well": ("_ _   _", " |   | ", " | | | ", "   |   "),
    "zigzag": ("     | ", " |_|_ _", " |     ", "   | | "),
}
HELD_SHARE = 2  # one of this many generated layouts is held back


def parsed(text: tuple[str, ...]) -> Float[Tensor, "n n"]:
    """The grid of a drawing, as `SEEN` has them.

    Raises:
        DataError: lines of another length, or other characters.
    """
    rooms = len(text)
    if any(len(line) != 2 * rooms - 1 or set(line) - set(" _|") for line in text):
        raise DataError(f"{text} draws no maze: give {rooms} lines of {2 * rooms - 1} of the characters ' ', '_', '|'")
    grid = torch.ones(2 * rooms + 1, 2 * rooms + 1)
    for row, line in enumerate(text):
        for column, mark in enumerate(line):
            if column % 2 == 0:
                grid[2 * row + 1, column + 1] = 0
                if row < rooms - 1:
                    grid[2 * row + 2, column + 1] = float(mark == "_")
            else:
                grid[2 * row + 1, column + 1] = float(mark == "|")
    return grid


@cache
def named(unseen: bool) -> Float[Tensor, "M n n"]:
    """The grids of `SEEN` or `UNSEEN`, in their order."""
    return torch.stack([parsed(text) for text in (UNSEEN if unseen else SEEN).values()])


@cache
def walls_between(rooms: int) -> Int64[Tensor, "E 4"]:
    """What can stand between two rooms: the numbers of both, and its row and column in the grid."""
    across = [(r * rooms + c, r * rooms + c + 1, 2 * r + 1, 2 * c + 2) for r in range(rooms) for c in range(rooms - 1)]
    down = [(r * rooms + c, (r + 1) * rooms + c, 2 * r + 2, 2 * c + 1) for r in range(rooms - 1) for c in range(rooms)]
    return torch.tensor(across + down)


def standing(layout: Float[Tensor, "B n n"]) -> Bool[Tensor, "B E"]:
    """Which of `walls_between` stand."""
    _, _, row, column = walls_between(layout.shape[1] // 2).unbind(1)
    return layout[:, row, column] > 0


def built(walls: Bool[Tensor, "B E"], rooms: int) -> Float[Tensor, "B n n"]:
    """Grids in which the given ones of `walls_between` stand."""
    grid = torch.ones(len(walls), 2 * rooms + 1, 2 * rooms + 1)
    grid[:, 1::2, 1::2] = 0
    _, _, row, column = walls_between(rooms).unbind(1)
    grid[:, row, column] = walls.float()
    return grid


def held_back(layout: Float[Tensor, "B n n"]) -> Bool[Tensor, " B"]:
    """Whether a layout belongs to the half that is never generated for training; a hash of its walls decides."""
    walls = standing(layout)
    code = torch.zeros(len(walls), dtype=torch.int64)
    for wall in walls.long().unbind(1):
        code = mix(code + wall + 1)
    return (code & 0xFFFFFFFF) % HELD_SHARE == 0


def grown(random: Random, stream: str, rooms: int, loops: float) -> Float[Tensor, "B n n"]:
    """Random mazes: walls are taken down in random order where they part rooms that are not joined yet.

    This leaves a spanning tree (Kruskal's algorithm with random weights). Each other wall is taken down with chance
    `loops`, which adds ways round.
    """
    between, count = walls_between(rooms), len(walls_between(rooms))
    order = random.order(f"{stream}/order", count)
    label = torch.arange(rooms * rooms).expand(len(order), -1)
    walls = random.uniform(f"{stream}/loops", count) >= loops
    for number in order.unbind(1):
        one, other = (label.gather(1, between[number, end, None]) for end in (0, 1))
        joins = one != other
        walls = walls.scatter(1, number[:, None], walls.gather(1, number[:, None]) & ~joins)
        label = torch.where(label == other, one, label)
    return built(walls, rooms)


def half(random: Random, stream: str, rooms: int, loops: float, unseen: bool) -> Float[Tensor, "B n n"]:
    """Random mazes, all `held_back` or none: what is met in episodes and what is kept for tests never mix."""
    return redrawn(
        lambda attempt: grown(random, f"{stream}/{attempt}", rooms, loops),
        lambda layout: held_back(layout) == unseen,
        f"maze of {rooms} x {rooms} rooms in the wanted half",
    )


def hops(layout: Float[Tensor, "B n n"]) -> Int64[Tensor, "B R R"]:
    """How many openings lie between each two rooms on the shortest way, by breadth-first search from all rooms at once.

    Rooms that no way joins are R apart.
    """
    rooms = layout.shape[1] // 2
    one, other, _, _ = walls_between(rooms).unbind(1)
    beside = torch.eye(rooms * rooms).repeat(len(layout), 1, 1)
    beside[:, one, other] = beside[:, other, one] = (~standing(layout)).float()
    within, found = torch.eye(rooms * rooms).expand_as(beside), torch.zeros_like(beside)
    for _ in range(rooms * rooms):
        found += 1 - within  # one more for each search in which a room was not reached yet
        wider = ((within @ beside) > 0).float()
        if torch.equal(wider, within):
            break
        within = wider
    return torch.where(within > 0, found, rooms * rooms).long()


def open_sides(layout: Float[Tensor, "B n n"]) -> Bool[Tensor, "B R 4"]:
    """Whether each room opens to the right, below, to the left and above."""
    middle = layout[:, 1::2, 1::2]
    sides = [layout[:, 1::2, 2::2], layout[:, 2::2, 1::2], layout[:, 1::2, :-1:2], layout[:, :-1:2, 1::2]]
    return torch.stack([side == 0 for side in sides], -1).flatten(1, 2) & (middle == 0).flatten(1)[..., None]
