"""Goal-conditioned cloning learns what the data did, and is a function of its inputs and the seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armillary.errors import ConfigError, DataError, ShapeError
from armillary.planning.cloning import Cloned, Cloning, fitted
from armillary.randomness import numbered

SMALL = Cloning(hidden=64, steps=500, batch=128)


def straight(episodes: int = 60, frames: int = 8) -> tuple[list[Tensor], list[Tensor]]:
    """Episodes that go straight from a start to an end."""
    random = numbered(episodes)
    start, way = random.normal("start", 2), random.normal("way", 2)
    step = 0.2 * way / way.norm(dim=1, keepdim=True)
    seen = start[:, None] + torch.arange(frames)[None, :, None] * step[:, None]
    return list(seen), list(step[:, None].expand(-1, frames - 1, -1))


def test_it_goes_toward_goals_of_unseen_episodes() -> None:
    seen, actions = straight()
    policy = fitted(seen, seen, actions, SMALL)
    at, goal = numbered(50, 7).normal("at", 2), numbered(50, 7).normal("goal", 2)
    way, found = goal - at, policy(at, goal)
    far = way.norm(dim=1) > 0.3
    assert float(torch.cosine_similarity(found, way)[far].mean()) > 0.9


def test_the_same_seed_gives_the_same_policy_and_global_randomness_is_untouched() -> None:
    seen, actions = straight(10)
    few = Cloning(hidden=8, steps=5, batch=16)
    state = torch.random.get_rng_state()
    first, again, other = (fitted(seen, seen, actions, few, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    x = torch.ones(3, 2)
    assert torch.equal(first(x, x), again(x, x)) and not torch.equal(first(x, x), other(x, x))


def test_the_policy_acts_in_the_units_and_bounds_of_the_world() -> None:
    network = lambda seen, goal: goal - seen  # noqa: E731
    raw = lambda action: action.unflatten(1, (2, 1)) * 10  # noqa: E731
    goal = torch.tensor([[0.5, 1.0], [0.0, -9.0]])
    policy = Cloned(network, lambda c: c["state"], goal, raw, torch.tensor([-20.0]), torch.tensor([7.0]))
    actions, memory = policy({"state": torch.zeros(2, 2), "index": torch.tensor([0, 1])}, 0, None)
    assert actions.tolist() == [[[5.0], [7.0]], [[0.0], [-20.0]]] and memory is None


def test_wrong_input_is_named() -> None:
    seen, actions = straight(3)
    with pytest.raises(ShapeError, match="T - 1 actions"):
        fitted(seen, seen, [a[1:] for a in actions])
    with pytest.raises(DataError, match="no episode has an action"):
        fitted([torch.zeros(1, 2)], [torch.zeros(1, 2)], [torch.zeros(0, 2)])
    with pytest.raises(DataError, match="no episode has an action"):
        fitted([], [], [])
    with pytest.raises(ConfigError, match="hidden is 0"):
        Cloning(hidden=0)
