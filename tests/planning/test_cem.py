from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from armillary.errors import ConfigError, ShapeError
from armillary.planning.cem import CEM
from armillary.planning.search import Round
from armillary.randomness import Random, numbered

LOW, HIGH = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 2.0])
GOAL = torch.tensor([0.4, 1.3])


def bowl(actions: Tensor) -> Tensor:
    return (actions - GOAL).square().sum((-1, -2))


def test_finds_the_minimum_of_a_quadratic() -> None:
    plan = CEM(3, 200, 20, 15, std_min=0.001)(bowl, LOW, HIGH, numbered(4))
    assert (plan.actions - GOAL).abs().max() < 0.01


def test_finds_a_minimum_on_the_bound() -> None:
    plan = CEM(3, 200, 20, 15, std_min=0.001)(lambda a: bowl(a + 2), LOW, HIGH, numbered(2))
    assert torch.allclose(plan.actions, LOW.expand(2, 3, 2), atol=0.01)


def test_std_is_a_fraction_of_each_range_and_has_a_floor() -> None:
    seen = []

    def energy(actions: Tensor) -> Tensor:
        seen.append(actions)
        return bowl(actions)

    wide = torch.tensor([100.0, 1.0])
    plan = CEM(2, 4000, 10, 8, std=0.05, std_min=0.02)(energy, -wide, wide, numbered(1))
    assert torch.allclose(seen[1].std((0, 1, 2)), 0.05 * 2 * wide, rtol=0.05)
    assert bool((plan.std >= 0.02 * 2 * wide - 1e-4).all())


def test_refit_is_mean_and_std_of_the_elites() -> None:
    calls: list[tuple[Tensor, Tensor]] = []

    def energy(actions: Tensor) -> Tensor:
        calls.append((actions, bowl(actions)))
        return calls[-1][1]

    for unbiased in (False, True):
        calls.clear()
        plan = CEM(2, 50, 5, 1, std_min=0.0, unbiased=unbiased)(energy, LOW, HIGH, numbered(1))
        plans, value = calls[1]
        elite = plans[0, value[0].argsort()[:5]]
        assert torch.allclose(calls[2][0][0, 0], elite.mean(0), atol=1e-6)  # the final mean is evaluated too
        assert torch.allclose(plan.std[0], elite.std(0, correction=int(unbiased)), atol=1e-6)


def test_kept_elites_compete_again_without_being_evaluated() -> None:
    plans: list[Tensor] = []

    def energy(actions: Tensor) -> Tensor:
        plans.append(actions)
        return bowl(actions)

    CEM(2, 20, 4, 5, keep_elites=4)(energy, LOW, HIGH, numbered(3))
    assert [p.shape[1] for p in plans] == [1, 20, 20, 20, 20, 20, 1]
    drawn, mean = torch.cat(plans[1:-1], 1), plans[-1][:, 0]
    for problem in range(3):  # with all elites kept, the Gaussian follows the best four of all that were drawn
        best = bowl(drawn[problem]).argsort()[:4]
        assert torch.allclose(mean[problem], drawn[problem, best].mean(0), atol=1e-6)


def test_another_seed_or_step_gives_another_search() -> None:
    plans = [CEM(3, 20, 4, 2)(bowl, LOW, HIGH, Random(*k, torch.arange(1))).actions for k in [(0, 0), (1, 0), (0, 1)]]
    assert not torch.equal(plans[0], plans[1]) and not torch.equal(plans[0], plans[2])


def test_start_is_clamped_and_evaluated() -> None:
    start = torch.full((1, 2, 2), 5.0)
    plan = CEM(2, 2, 1, 1)(lambda a: -a.sum((-1, -2)), LOW, HIGH, numbered(1), start)
    assert torch.equal(plan.actions, HIGH.expand(1, 2, 2))


@pytest.mark.parametrize(
    "options",
    [
        {"elites": 0},
        {"elites": 301},
        {"horizon": 0},
        {"iterations": 0},
        {"correlation": 1.0},
        {"correlation": -0.1},
        {"keep_elites": 31},
        {"std": 0.0},
        {"std_min": -1.0},
        {"std": (0.5, 0.0)},
        {"momentum": 1.5},
        {"std_momentum": -0.1},
        {"std_added": -1.0},
        {"max_norm": 0.0},
    ],
    ids=str,
)
def test_impossible_settings_are_named(options: dict) -> None:
    name, value = next(iter(options.items()))
    with pytest.raises(ConfigError, match=f"{name}.* {re.escape(str(value))}.*allowed"):
        CEM(**options)


def test_wrong_noise_is_named() -> None:
    with pytest.raises(ShapeError, match=r"noise of shape \(1, 9, 3, 2\)"):
        CEM(3, 10, 2, 1)(bowl, LOW, HIGH, numbered(1), noise=lambda i: torch.zeros(1, 9, 3, 2))


def watched(planner: CEM, **options: object) -> list[Round]:
    rounds: list[Round] = []
    planner(bowl, LOW, HIGH, numbered(2), watch=rounds.append, **options)
    return rounds


def test_momentum_keeps_a_share_of_the_old_mean_and_of_the_old_std() -> None:
    rounds = watched(CEM(2, 50, 5, 3, std_min=0.0, momentum=0.3, std_momentum=0.6))
    mean, std = torch.tensor([0.0, 1.0]).expand(2, 2, 2), torch.ones(2, 2, 2)
    for one in rounds:
        mean, std = 0.3 * mean + 0.7 * one.elite.mean(1), 0.6 * std + 0.4 * one.elite.std(1, correction=0)
        assert torch.allclose(one.mean, mean, atol=1e-6) and torch.allclose(one.std, std, atol=1e-6)


def test_std_is_one_fraction_for_each_action() -> None:
    seen: list[Tensor] = []

    def energy(actions: Tensor) -> Tensor:
        seen.append(actions)
        return bowl(actions)

    wide = torch.tensor([100.0, 100.0])
    CEM(2, 4000, 10, 1, std=(0.01, 0.03))(energy, -wide, wide, numbered(1))
    assert torch.allclose(seen[1].std((0, 1, 2)), torch.tensor([2.0, 6.0]), rtol=0.05)
    with pytest.raises(ConfigError, match=r"3 fractions.* 2 actions"):
        CEM(2, std=(0.1, 0.1, 0.1))(bowl, LOW, HIGH, numbered(1))


def test_added_std_stays_when_elites_agree() -> None:
    (last,) = watched(CEM(2, 50, 1, 1, std_min=0.0, std_added=0.1))
    assert torch.allclose(last.std, torch.tensor(0.2).expand(2, 2, 2))


def test_long_actions_are_shortened_before_they_are_fitted() -> None:
    rounds = watched(CEM(2, 100, 10, 4, max_norm=0.5))
    plans = torch.cat([r.plans for r in rounds], 1)
    assert plans.norm(dim=-1).max() < 0.5 + 1e-6
    plan = CEM(2, 300, 30, 20, std_min=1e-4, max_norm=0.5)(bowl, LOW, HIGH, numbered(2))
    assert torch.allclose(plan.actions, (0.5 * GOAL / GOAL.norm()).expand(2, 2, 2), atol=0.03)


def test_proposals_compete_in_every_round() -> None:
    rounds = watched(CEM(2, 20, 4, 3), proposals=GOAL.expand(2, 1, 2, 2))
    assert all(r.plans.shape[1] == 21 and torch.equal(r.elite[:, 0], GOAL.expand(2, 2, 2)) for r in rounds)


def test_wrong_proposals_are_named() -> None:
    with pytest.raises(ShapeError, match=r"proposals of shape \(2, 1, 3, 2\)"):
        watched(CEM(2, 20, 4, 3), proposals=torch.zeros(2, 1, 3, 2))
    with pytest.raises(ConfigError, match="NaN"):
        watched(CEM(2, 20, 4, 3), proposals=torch.full((2, 1, 2, 2), torch.nan))
