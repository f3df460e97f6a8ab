"""Discrete plans: the contract of planners as it reads for one-hot actions, and the optimum by enumeration."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.contracts import Energy, Planner
from armillary.errors import ConfigError, ShapeError
from armillary.planning.categorical import CategoricalCEM, drawn, indexed
from armillary.randomness import Random, numbered

CHOICES, HORIZON = 4, 5
LOW, HIGH = torch.zeros(CHOICES), torch.ones(CHOICES)
MOVES = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # right, left, up, down
GOALS = torch.tensor([[2.0, 3.0], [-1.0, 2.0], [0.0, -5.0]])


def walk(goal: Tensor = GOALS) -> Energy:
    """Distance of the end of a walk from each problem's goal; a first step up costs, so that order matters."""

    def energy(plans: Tensor) -> Tensor:
        end = (plans @ MOVES).sum(-2)
        return (end - goal[:, None]).square().sum(-1) + 0.5 * plans[..., 0, 2]

    return energy


def check_one_hot_planner(planner: Planner, choices: int, horizon: int) -> None:
    """`check_planner` for plans that are one-hot: the best that was seen, independence of problems, warm start."""
    low, high = torch.zeros(choices), torch.ones(choices)
    wanted = torch.nn.functional.one_hot(torch.arange(horizon) % choices, choices).float()
    seen: list[Tensor] = []

    def energy(actions: Tensor) -> Tensor:
        assert bool(((actions == 0) | (actions == 1)).all() and (actions.sum(-1) == 1).all()), "a plan is not one-hot"
        seen.append((actions - wanted).abs().sum((-1, -2)))
        return seen[-1]

    plan = planner(energy, low, high, numbered(3))
    assert plan.actions.shape == (3, horizon, choices)
    assert torch.equal(plan.energy, torch.cat(seen, 1).amin(1)), "the plan is not the best one that was evaluated"
    assert torch.equal(energy(plan.actions[:, None])[:, 0], plan.energy), "plan and energy do not match"
    assert torch.equal(planner(energy, low, high, numbered(1)).actions[0], plan.actions[0])
    assert float(planner(energy, low, high, numbered(3), wanted.expand(3, -1, -1)).energy.max()) == 0


@pytest.mark.parametrize(
    "options",
    [{}, {"floor": 0.0}, {"floor": 1.0}, {"momentum": 0.5}, {"elites": 1}, {"elites": 64}, {"iterations": 1}],
    ids=str,
)
def test_it_keeps_the_contract_for_one_hot_plans(options: dict) -> None:
    planner = CategoricalCEM(**{"horizon": 4, "samples": 64, "elites": 8, "iterations": 4, **options})
    assert isinstance(planner, Planner)
    check_one_hot_planner(planner, CHOICES, 4)


def test_the_best_of_all_plans_is_found() -> None:
    every = torch.tensor(list(itertools.product(range(CHOICES), repeat=HORIZON)))
    lowest = walk()(torch.nn.functional.one_hot(every, CHOICES).float().expand(3, -1, -1, -1)).amin(1)
    plan = CategoricalCEM(HORIZON, 100, 15, 10)(walk(), LOW, HIGH, numbered(3))
    assert torch.allclose(plan.energy, lowest), "of 1024 plans, with 1000 evaluations at most and chance against it"


def test_a_long_walk_that_enumeration_cannot_reach_ends_at_its_goal() -> None:
    goal = torch.tensor([[9.0, 5.0], [-7.0, 7.0]])  # 4^14 plans
    plan = CategoricalCEM(14, 300, 30, 20)(walk(goal), LOW, HIGH, numbered(2))
    assert torch.allclose(plan.energy, torch.zeros(2))


def test_probabilities_are_shares_of_the_elites_above_a_floor() -> None:
    plans: list[Tensor] = []

    def energy(actions: Tensor) -> Tensor:
        plans.append(actions)
        return walk()(actions)

    plan = CategoricalCEM(HORIZON, 60, 7, 1, floor=0.2)(energy, LOW, HIGH, numbered(3))
    for problem in range(3):
        value = walk()(plans[1])[problem]
        share = plans[1][problem, value.topk(7, largest=False).indices].mean(0).double()
        p = 0.8 * share + 0.2 / CHOICES
        assert torch.allclose(plan.std[problem].double(), (p * (1 - p)).sqrt(), atol=1e-6)
        assert p.min() >= 0.05 - 1e-9


def test_choices_are_drawn_with_their_probabilities() -> None:
    p = torch.tensor([[0.5, 0.0, 0.3, 0.2], [0.0, 0.0, 1.0, 0.0]]).expand(2, 2, 4)
    plans = drawn(p, numbered(2).uniform("x", 40_000, 2))
    assert torch.allclose(plans.mean(1), p, atol=0.01)
    assert float(plans[:, :, 1, [0, 1, 3]].sum()) == 0 and float(plans[:, :, 0, 1].sum()) == 0, "never the impossible"


def test_an_energy_of_indices_is_adapted() -> None:
    target = torch.tensor([3, 0, 2, 1, 1])

    def hamming(choice: Tensor) -> Tensor:
        return (choice != target).sum(-1).float()

    plan = CategoricalCEM(HORIZON)(indexed(hamming), LOW, HIGH, numbered(2))
    assert torch.equal(plan.actions.argmax(-1), target.expand(2, -1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3.0])
@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_energies_without_information_give_a_one_hot_plan(bad: float, floor: float) -> None:
    start = torch.zeros(2, HORIZON, CHOICES)
    start[..., 2] = 1
    plan = CategoricalCEM(HORIZON, 20, 5, 3, floor)(
        lambda a: torch.full(a.shape[:2], bad), LOW, HIGH, numbered(2), start
    )
    assert torch.equal(plan.actions, start) and bool(plan.std.isfinite().all())
    assert bool((plan.energy == (3.0 if bad == 3.0 else torch.inf)).all())


def test_candidates_without_a_finite_energy_are_ignored() -> None:
    plan = CategoricalCEM(HORIZON)(
        lambda a: torch.where(a[..., 0].sum(-1) > 0, torch.nan, walk()(a)), LOW, HIGH, numbered(3)
    )
    assert bool(plan.energy.isfinite().all()) and float(plan.actions[..., 0].sum()) == 0


def test_a_problem_does_not_depend_on_the_others() -> None:
    planner = CategoricalCEM(HORIZON, 40, 5, 3)
    together = planner(walk(), LOW, HIGH, numbered(3))
    some = torch.tensor([2, 0])
    alone = planner(walk(GOALS[some]), LOW, HIGH, Random(0, 0, some))
    assert torch.equal(alone.actions, together.actions[some])


def test_wrong_input_is_named() -> None:
    planner, one = CategoricalCEM(HORIZON), numbered(3)
    with pytest.raises(ConfigError, match="need 0 and 1 inside"):
        planner(walk(), LOW, 0.5 * HIGH, one)
    with pytest.raises(ConfigError, match="negative probabilities or a step without any"):
        planner(walk(), LOW, HIGH, one, torch.zeros(3, HORIZON, CHOICES))
    with pytest.raises(ConfigError, match="negative probabilities"):
        planner(walk(), LOW, HIGH, one, torch.full((3, HORIZON, CHOICES), -0.5))
    with pytest.raises(ShapeError, match="start of shape"):
        planner(walk(), LOW, HIGH, one, torch.ones(3, 2, CHOICES))
    with pytest.raises(ShapeError, match="one number per candidate"):
        planner(lambda a: a.sum(-1), LOW, HIGH, one)


@pytest.mark.parametrize("options", [{"horizon": 0}, {"elites": 301}, {"floor": 1.5}, {"momentum": np.nan}], ids=str)
def test_impossible_settings_are_named(options: dict) -> None:
    name, value = next(iter(options.items()))
    with pytest.raises(ConfigError, match=f"{name}.* {re.escape(str(value))}.*allowed"):
        CategoricalCEM(**options)
