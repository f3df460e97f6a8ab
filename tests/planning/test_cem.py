from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armillary.errors import ConfigError, ShapeError
from armillary.planning.cem import CEM, smooth
from armillary.planning.shooting import RandomShooting
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


def test_smooth_noise_keeps_its_variance_and_has_the_stated_correlation() -> None:
    noise = smooth(numbered(4).normal("x", 20000, 6, 2), 0.9)
    assert torch.allclose(noise.square().mean((0, 1)), torch.ones(6, 2), atol=0.03)
    neighbours = (noise[:, :, 1:] * noise[:, :, :-1]).mean((0, 1))
    assert torch.allclose(neighbours, torch.full((5, 2), 0.9), atol=0.03)
    assert torch.allclose((noise[:, :, 3] * noise[:, :, 0]).mean((0, 1)), torch.tensor(0.9**3), atol=0.03)


def test_a_problem_does_not_depend_on_the_others() -> None:
    def energy_of(index: Tensor) -> object:
        return lambda actions: (actions - 0.1 * index[:, None, None, None]).square().sum((-1, -2))

    planner = CEM(3, 60, 6, 4, correlation=0.5, keep_elites=2)
    all_of_them = planner(energy_of(torch.arange(6)), LOW, HIGH, numbered(6))
    some = torch.tensor([4, 1])
    alone = planner(energy_of(some), LOW, HIGH, Random(0, 0, some))
    assert torch.equal(alone.actions, all_of_them.actions[some])


def test_another_seed_or_step_gives_another_search() -> None:
    plans = [CEM(3, 20, 4, 2)(bowl, LOW, HIGH, Random(*k, torch.arange(1))).actions for k in [(0, 0), (1, 0), (0, 1)]]
    assert not torch.equal(plans[0], plans[1]) and not torch.equal(plans[0], plans[2])


@pytest.mark.parametrize("planner", [CEM(3, 40, 8, 4, keep_elites=2), CEM(3, 1, 1, 3), RandomShooting(3, 40)], ids=str)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nothing_finite_returns_the_start(planner: CEM | RandomShooting, bad: float) -> None:
    start = numbered(2).uniform("start", 3, 2)
    plan = planner(lambda a: torch.full(a.shape[:2], bad), LOW, HIGH, numbered(2), start)
    assert torch.equal(plan.actions, start) and bool(plan.energy.isposinf().all())
    assert bool(plan.std.isfinite().all())


def test_candidates_without_a_finite_energy_are_ignored() -> None:
    def energy(actions: Tensor) -> Tensor:  # the left half of the range breaks the model
        return torch.where(actions[..., 0].amin(-1) < 0, torch.nan, bowl(actions))

    plan = CEM(2, 300, 30, 12)(energy, LOW, HIGH, numbered(3))
    assert bool(plan.energy.isfinite().all()) and bool((plan.actions[..., 0] >= 0).all())
    assert plan.energy.max() < 0.05


def test_start_is_clamped_and_evaluated() -> None:
    start = torch.full((1, 2, 2), 5.0)
    plan = CEM(2, 2, 1, 1)(lambda a: -a.sum((-1, -2)), LOW, HIGH, numbered(1), start)
    assert torch.equal(plan.actions, HIGH.expand(1, 2, 2))


def test_energy_sees_only_plans_inside_the_bounds_and_no_gradient() -> None:
    def energy(actions: Tensor) -> Tensor:
        assert bool(((actions >= LOW) & (actions <= HIGH)).all()) and not torch.is_grad_enabled()
        return bowl(actions)

    CEM(3, 50, 5, 3, std=5.0)(energy, LOW, HIGH, numbered(2))
    RandomShooting(3, 50)(energy, LOW, HIGH, numbered(2))


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
    ],
    ids=str,
)
def test_impossible_settings_are_named(options: dict) -> None:
    name, value = next(iter(options.items()))
    with pytest.raises(ConfigError, match=f"{name}.* {value}.*allowed"):
        CEM(**options)


@pytest.mark.parametrize("planner", [CEM(3, 10, 2, 1), RandomShooting(3, 10)], ids=str)
def test_wrong_input_is_named(planner: CEM | RandomShooting) -> None:
    one = numbered(1)
    with pytest.raises(ConfigError, match="low below high"):
        planner(bowl, HIGH, LOW, one)
    with pytest.raises(ConfigError, match="finite"):
        planner(bowl, LOW, torch.full((2,), torch.inf), one)
    with pytest.raises(ShapeError, match=r"start of shape \(1, 4, 2\).*\(1, 3, 2\)"):
        planner(bowl, LOW, HIGH, one, torch.zeros(1, 4, 2))
    with pytest.raises(ConfigError, match="NaN"):
        planner(bowl, LOW, HIGH, one, torch.full((1, 3, 2), torch.nan))
    with pytest.raises(ShapeError, match="one number per candidate"):
        planner(lambda a: a.sum(-1), LOW, HIGH, one)


def test_wrong_noise_is_named() -> None:
    with pytest.raises(ShapeError, match=r"noise of shape \(1, 9, 3, 2\)"):
        CEM(3, 10, 2, 1)(bowl, LOW, HIGH, numbered(1), noise=lambda i: torch.zeros(1, 9, 3, 2))


def test_shooting_needs_something_to_shoot() -> None:
    with pytest.raises(ConfigError, match="samples 0"):
        RandomShooting(3, 0)
