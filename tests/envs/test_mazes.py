from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch

from armillary.envs import batched, mazes
from armillary.errors import ConfigError, DataError
from armillary.randomness import numbered


def searched(grid: np.ndarray, room: int) -> list[int]:
    """Openings between one room and each other one, by a queue on the drawn grid; -1 where there is no way."""
    rooms = grid.shape[0] // 2
    far = {(2 * (room // rooms) + 1, 2 * (room % rooms) + 1): 0}
    queue = deque(far)
    while queue:
        row, column = queue.popleft()
        for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            place = row + 2 * down, column + 2 * right
            if grid[row + down, column + right] == 0 and place not in far:
                far[place] = far[row, column] + 1
                queue.append(place)
    return [far.get((2 * r + 1, 2 * c + 1), -1) for r in range(rooms) for c in range(rooms)]


def test_a_drawing_is_read_as_it_looks() -> None:
    grid = mazes.parsed(("_| ", "   "))
    assert grid.int().tolist() == [
        [1, 1, 1, 1, 1],
        [1, 0, 1, 0, 1],
        [1, 1, 1, 0, 1],
        [1, 0, 0, 0, 1],
        [1, 1, 1, 1, 1],
    ]
    for wrong in (("_|", "  "), ("_|x", "   "), ("_| ", "    ")):
        with pytest.raises(DataError, match="draws no maze"):
            mazes.parsed(wrong)


def test_there_are_five_or_more_seen_layouts_and_as_many_unseen_ones_all_different_and_joined() -> None:
    seen, unseen = mazes.named(False), mazes.named(True)
    assert len(seen) >= 5 and len(unseen) >= 5
    both = torch.cat([seen, unseen])
    assert len(both.flatten(1).unique(dim=0)) == len(both)
    for turned in (torch.rot90(both, k, (1, 2)) for k in (1, 2, 3)):  # nor is an unseen one a seen one that was turned
        assert len(torch.cat([turned[: len(seen)], unseen]).flatten(1).unique(dim=0)) == len(both)
    assert int(mazes.hops(both).max()) < 16
    assert bool((mazes.hops(both).flatten(1).amax(1) >= 6).all())


def test_no_seen_layout_is_held_back_and_every_unseen_one_is() -> None:
    assert not bool(mazes.held_back(mazes.named(False)).any())
    assert bool(mazes.held_back(mazes.named(True)).all())


@pytest.mark.parametrize("rooms", [2, 3, 4, 6])
def test_a_grown_maze_is_a_spanning_tree(rooms: int) -> None:
    grid = mazes.grown(numbered(50), "x", rooms, 0.0)
    assert bool(((~mazes.standing(grid)).sum(1) == rooms**2 - 1).all()), "as many openings as a tree has"
    assert int(mazes.hops(grid).max()) < rooms**2, "and all rooms are joined"
    assert bool((grid[:, ::2, ::2] == 1).all()) and bool((grid[:, 1::2, 1::2] == 0).all())
    assert bool((grid[:, [0, -1]] == 1).all()) and bool((grid[:, :, [0, -1]] == 1).all())


def test_loops_take_down_a_share_of_the_needless_walls() -> None:
    grid = mazes.grown(numbered(2000), "x", 4, 0.25)
    needless = 24 - 15
    more = (~mazes.standing(grid)).sum(1).double().mean() - 15
    assert abs(float(more) - 0.25 * needless) < 0.1
    assert bool((mazes.grown(numbered(5), "x", 4, 1.0)[:, 1:-1, 1:-1][:, ::2] == 0).any())
    assert bool((~mazes.standing(mazes.grown(numbered(5), "x", 4, 1.0))).all())


def test_trees_are_many_and_depend_on_seed_and_number_alone() -> None:
    grid = mazes.grown(numbered(1000), "x", 4, 0.0)
    assert len(grid.flatten(1).unique(dim=0)) > 950
    assert torch.equal(mazes.grown(numbered(3), "x", 4, 0.0), grid[:3])
    assert not torch.equal(mazes.grown(numbered(3, seed=1), "x", 4, 0.0), grid[:3])
    assert torch.equal(mazes.half(numbered(3), "x", 4, 0.1, True), mazes.half(numbered(30), "x", 4, 0.1, True)[:3])


def test_the_two_halves_are_of_one_size_and_never_mix() -> None:
    share = mazes.held_back(mazes.grown(numbered(4000), "x", 4, 0.1)).double().mean()
    assert abs(float(share) - 0.5) < 0.04
    kept, met = (mazes.half(numbered(300), "x", 4, 0.1, unseen) for unseen in (True, False))
    assert bool(mazes.held_back(kept).all()) and not bool(mazes.held_back(met).any())
    common = torch.cat([kept.flatten(1).unique(dim=0), met.flatten(1).unique(dim=0)])
    assert len(common.unique(dim=0)) == len(common)


def test_a_half_without_mazes_is_told(monkeypatch) -> None:
    monkeypatch.setattr(mazes, "HELD_SHARE", 1)  # all are held back
    monkeypatch.setattr(batched, "ATTEMPTS", 20)
    with pytest.raises(ConfigError, match="no maze of 2 x 2 rooms"):
        mazes.half(numbered(1), "x", 2, 0.0, False)


def test_hops_are_those_of_a_search_from_each_room() -> None:
    grids = torch.cat([mazes.named(False), mazes.grown(numbered(10), "x", 4, 0.2)])
    found = mazes.hops(grids)
    for grid, rows in zip(grids.numpy(), found.tolist(), strict=True):
        assert rows == [searched(grid, room) for room in range(16)]


def test_rooms_without_a_way_are_told_apart() -> None:
    closed = mazes.built(torch.ones(1, 24, dtype=torch.bool), 4)
    expected = torch.where(torch.eye(16) > 0, 0, 16)
    assert torch.equal(mazes.hops(closed)[0], expected)
    assert not bool(mazes.open_sides(closed).any())


def test_open_sides_are_where_the_walls_are_not() -> None:
    sides = mazes.open_sides(mazes.parsed(("_| ", "   "))[None])[0]  # right, below, left, above
    assert sides.int().tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]]
