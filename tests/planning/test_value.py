"""A value fitted to frozen latents tells the way around a wall that latents do not tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from armillary.errors import ConfigError, DataError
from armillary.planning.terms import euclidean
from armillary.planning.value import Valuing, Way, fitted
from armillary.randomness import numbered

SIDE = 5
WALL = {(2, 0), (2, 1), (2, 2), (2, 3)}  # but for a door at the end
CELLS = [(r, c) for r in range(SIDE) for c in range(SIDE) if (r, c) not in WALL]
QUICK = Valuing(hidden=64, width=32, discount=0.9, expectile=0.8, steps=500, batch=128, rate=3e-3)


def around(cell: tuple[int, int]) -> list[int]:
    near = [(cell[0] + r, cell[1] + c) for r, c in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    return [CELLS.index(n) for n in near if n in CELLS]


def latent(cells: Tensor, shape: tuple[int, ...] = (2,)) -> Tensor:
    """Latents as a good encoder of places makes them: as far from each other as in the plane. shape: (2,) or tokens."""
    return torch.tensor(CELLS, dtype=torch.float32)[cells].reshape(*cells.shape, *shape)


def walks(episodes: int = 60, frames: int = 25) -> list[Tensor]:
    """Cells of random walks."""
    found = []
    for start, turns in zip(
        numbered(episodes).integers("start", len(CELLS), 1)[:, 0].tolist(),
        numbered(episodes).integers("turn", 12, frames - 1).tolist(), strict=True,
    ):  # fmt: skip
        cells = [start]
        for turn in turns:
            near = around(CELLS[cells[-1]])
            cells.append(near[turn % len(near)])
        found.append(torch.tensor(cells))
    return found


@pytest.mark.parametrize("shape", [(2,), (2, 1)], ids=["vectors", "tokens"])
def test_the_way_ranks_pairs_by_steps_where_latents_do_not(shape: tuple[int, ...]):
    way = fitted([latent(cells, shape) for cells in walks()], QUICK)
    every = latent(torch.arange(len(CELLS)), shape)
    here, there = (x.flatten() for x in torch.meshgrid(*[torch.arange(len(CELLS))] * 2, indexing="ij"))
    found, plane = (d(every[here], every[there]).double().numpy() for d in (way, euclidean))
    true = np.full((len(CELLS), len(CELLS)), 99.0)
    np.fill_diagonal(true, 0)
    for i, cell in enumerate(CELLS):
        true[i, around(cell)] = 1
    for k in range(len(CELLS)):
        true = np.minimum(true, true[:, k : k + 1] + true[k : k + 1])
    others = true.flatten() > 0
    rank, in_plane = (spearmanr(d[others], true.flatten()[others])[0] for d in (found, plane))
    assert rank > 0.93 > in_plane + 0.1
    assert (found[~others] == 0).all() and found.max() < 1.3 / (1 - QUICK.discount)
    places = [CELLS.index(c) for c in ((1, c) for c in range(SIDE))]
    behind = CELLS.index((3, 0))
    leading = found.reshape(len(CELLS), -1)[places, behind]
    assert leading[0] > leading[3] > leading[4], "along the wall to the door it comes nearer"
    assert math.dist(CELLS[places[0]], CELLS[behind]) < math.dist(CELLS[places[-1]], CELLS[behind])


def test_it_is_a_function_of_episodes_and_seed_and_is_trained_no_more():
    settings = Valuing(hidden=8, width=8, group=4, steps=5, batch=16)
    episodes = [latent(cells) for cells in walks(5)]
    torch.manual_seed(1)
    one = fitted(episodes, settings, 3)
    with torch.no_grad():
        two, other = fitted(episodes, settings, 3), fitted(episodes, settings, 4)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.layers[0].weight, other.layers[0].weight)
    assert not any(p.requires_grad for p in one.parameters()) and not one.training
    z = latent(torch.arange(4)).requires_grad_()  # planners by gradient need one to the latent
    one(z, latent(torch.arange(4, 8))).sum().backward()
    assert z.grad is not None and bool(z.grad.isfinite().all())


def test_constant_latents_and_episodes_of_one_frame_do_no_harm():
    settings = Valuing(hidden=8, width=8, group=4, steps=5, batch=16)
    way = fitted([torch.ones(6, 3), torch.ones(1, 3)], settings)
    assert isinstance(way, Way) and bool((way(torch.ones(2, 3), torch.ones(2, 3)) == 0).all())


def test_what_does_not_fit_is_named():
    with pytest.raises(DataError, match="no episode has a step"):
        fitted([torch.ones(1, 3)])
    with pytest.raises(DataError, match="no episode has a step"):
        fitted([])
    with pytest.raises(DataError, match="not finite"):
        fitted([torch.full((4, 3), math.nan)])
    for settings, said in (
        ({"group": 7}, "width 64 is no multiple of group 7"),
        ({"discount": 1.5}, r"discount is 1\.5"),
        ({"own": -1.0}, r"own is -1\.0"),
        ({"steps": 0}, "steps is 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            Valuing(**settings)  # type: ignore[arg-type]
