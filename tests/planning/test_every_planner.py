"""What holds for every planner of continuous actions: bounds, bad energies, independence, known optima."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.contracts import Planner
from armillary.errors import ConfigError, ShapeError
from armillary.planning.cem import CEM
from armillary.planning.gradient import Gradient
from armillary.planning.icem import ICEM
from armillary.planning.mppi import MPPI
from armillary.planning.plans import shortened
from armillary.planning.shooting import PredictiveSampling, RandomShooting
from armillary.randomness import Random, numbered

LOW, HIGH = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 2.0])
GOAL = torch.tensor([0.4, 1.3])
PLANNERS: list[Planner] = [
    CEM(3, 40, 8, 4, keep_elites=2),
    CEM(3, 1, 1, 3),
    ICEM(3, 40, 8, 4),
    MPPI(3, 40, 4),
    MPPI(3, 40, 4, temperature=1e-6, std_min=0.0),
    MPPI(3, 40, 4, noise_penalty=True, std_min=0.0),
    Gradient(3, steps=5),
    Gradient(3, "sgd", steps=5, rate=10.0, restarts=1, momentum=0.9, noise=0.1),
    RandomShooting(3, 40),
    PredictiveSampling(3, 40, 2),
]
every_planner = pytest.mark.parametrize("planner", PLANNERS, ids=str)


def bowl(actions: Tensor) -> Tensor:
    return (actions - GOAL).square().sum((-1, -2))


@every_planner
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nothing_finite_returns_the_start(planner: Planner, bad: float) -> None:
    start = numbered(2).uniform("start", 3, 2)
    plan = planner(lambda a: torch.full(a.shape[:2], bad), LOW, HIGH, numbered(2), start)
    assert torch.equal(plan.actions, start) and bool(plan.energy.isposinf().all())
    assert bool(plan.std.isfinite().all())


@every_planner
def test_nothing_finite_through_a_graph_returns_the_start(planner: Planner) -> None:
    start = numbered(2).uniform("start", 3, 2)
    plan = planner(lambda a: (a.sum((-1, -2)) - 1e6).sqrt(), LOW, HIGH, numbered(2), start)
    assert torch.equal(plan.actions, start) and bool(plan.energy.isposinf().all())


@every_planner
def test_a_constant_energy_gives_a_finite_plan_inside_the_bounds(planner: Planner) -> None:
    plan = planner(lambda a: torch.full(a.shape[:2], 3.0), LOW, HIGH, numbered(2))
    assert bool(((plan.actions >= LOW) & (plan.actions <= HIGH)).all()) and bool((plan.energy == 3).all())
    assert bool(plan.std.isfinite().all())


@every_planner
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_energies_of_any_size_give_a_finite_plan(planner: Planner, scale: float) -> None:
    plan = planner(lambda a: scale * bowl(a), LOW, HIGH, numbered(2))
    assert bool(plan.actions.isfinite().all() and plan.std.isfinite().all() and plan.energy.isfinite().all())


@every_planner
def test_a_start_without_spread_stays_finite(planner: Planner) -> None:
    """On one point of the bounds, where all candidates of a corner are clipped to it."""
    start = HIGH.expand(2, 3, 2)
    plan = planner(lambda a: -1e3 * a.sum((-1, -2)), LOW, HIGH, numbered(2), start)
    assert torch.equal(plan.actions, start) and bool(plan.std.isfinite().all())


@every_planner
def test_candidates_without_a_finite_energy_are_ignored(planner: Planner) -> None:
    def energy(actions: Tensor) -> Tensor:  # the left half of the range breaks the model
        return torch.where(actions[..., 0].amin(-1) < 0, torch.nan, bowl(actions))

    plan = planner(energy, LOW, HIGH, numbered(3), torch.tensor([0.1, 0.1]).expand(3, 3, 2))
    assert bool(plan.energy.isfinite().all()) and bool((plan.actions[..., 0] >= 0).all())


@every_planner
def test_the_energy_sees_only_plans_inside_the_bounds(planner: Planner) -> None:
    def energy(actions: Tensor) -> Tensor:
        assert bool(((actions >= LOW) & (actions <= HIGH)).all())
        return bowl(actions)

    planner(energy, LOW, HIGH, numbered(2), HIGH.expand(2, 3, 2))


@every_planner
def test_a_projection_holds_for_all_that_is_evaluated_and_for_the_plan(planner: Planner) -> None:
    def energy(actions: Tensor) -> Tensor:
        assert actions.norm(dim=-1).max() < 0.5 + 1e-6
        return bowl(actions)

    planner = partial(planner, project=lambda plans: shortened(plans, 0.5))
    plan = planner(energy, LOW, HIGH, numbered(2), HIGH.expand(2, 3, 2))
    assert plan.actions.norm(dim=-1).max() < 0.5 + 1e-6


@every_planner
def test_a_problem_does_not_depend_on_the_others(planner: Planner) -> None:
    def energy_of(index: Tensor):
        return lambda actions: (actions - 0.1 * index[:, None, None, None]).square().sum((-1, -2))

    all_of_them = planner(energy_of(torch.arange(6)), LOW, HIGH, numbered(6))
    some = torch.tensor([4, 1])
    alone = planner(energy_of(some), LOW, HIGH, Random(0, 0, some))
    assert torch.allclose(alone.actions, all_of_them.actions[some], atol=1e-5)


@every_planner
def test_wrong_input_is_named(planner: Planner) -> None:
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


# A double integrator: x is pushed by the action, in 2 dimensions of different strength, towards a goal, for H steps.
STEPS, STRENGTH, TARGET, EFFORT = 6, np.array([1.0, 0.4]), np.array([3.0, -1.0]), 0.05
TIGHT = torch.tensor([0.12, 0.5])  # binding in the first dimension, not in the second


def forces() -> np.ndarray:
    """M with position_H = M @ actions of one dimension of strength 1, by simulating unit impulses."""
    effect = []
    for impulse in np.eye(STEPS):
        x = v = 0.0
        for a in impulse:
            v = v + a
            x = x + v
        effect.append(x)
    return np.array(effect)


def integrator(actions: Tensor) -> Tensor:
    x = v = torch.zeros_like(actions[..., 0, :])
    for a in actions.unbind(-2):
        v = v + a * torch.tensor(STRENGTH, dtype=a.dtype)
        x = x + v
    return (x - torch.tensor(TARGET, dtype=x.dtype)).square().sum(-1) + EFFORT * actions.square().sum((-1, -2))


def optimum(bound: np.ndarray) -> tuple[np.ndarray, float]:
    """Actions [H, A] and energy of the bounded optimum: projected gradient in float64, to convergence."""
    best = np.zeros((STEPS, 2))
    row = forces()
    for d in range(2):
        effect = row * STRENGTH[d]
        hessian = 2 * (np.outer(effect, effect) + EFFORT * np.eye(STEPS))
        rate = 1 / np.linalg.eigvalsh(hessian)[-1]
        a = np.zeros(STEPS)
        for _ in range(20_000):
            a = np.clip(a - rate * (hessian @ a - 2 * TARGET[d] * effect), -bound[d], bound[d])
        best[:, d] = a
    reached = (row[:, None] * STRENGTH * best).sum(0)
    return best, float(((reached - TARGET) ** 2).sum() + EFFORT * (best**2).sum())


LOOSE = torch.tensor([1.0, 1.0])
SHARE = 1e-3  # of the energy of doing nothing: how far above the optimum a plan may be
ACCURATE: list[Planner] = [
    CEM(STEPS, 1000, 100, 40, std_min=3e-3),
    CEM(STEPS, 1000, 100, 40, std_min=1e-4, momentum=0.2, std_momentum=0.6),
    ICEM(STEPS, 1000, 50, 30, std_min=3e-3, decay=1.05, exponent=0.5, keep_elites=10),
    MPPI(STEPS, 1000, 40, temperature=1.0, elites=100, std_min=3e-3, momentum=0.3),
    Gradient(STEPS, "adam", steps=300, rate=0.02),
    Gradient(STEPS, "sgd", steps=300, rate=1e-3, momentum=0.9),
    PredictiveSampling(STEPS, 300, 100, std=0.02),
]


@pytest.mark.parametrize("bound", [TIGHT, LOOSE], ids=["binding", "loose"])
@pytest.mark.parametrize("planner", ACCURATE, ids=str)
def test_the_optimum_of_a_double_integrator_is_reached(planner: Planner, bound: Tensor) -> None:
    actions, lowest = optimum(bound.double().numpy().round(6))
    nothing = float((TARGET**2).sum())
    assert integrator(torch.tensor(actions)).item() == pytest.approx(lowest)
    assert bool((np.abs(actions[:, 0]) == 0.12).any()) == (bound is TIGHT), "the first bound binds, or not"
    plan = planner(integrator, -bound, bound, numbered(2))
    assert bool((plan.actions.abs() <= bound).all())
    assert float(plan.energy.max()) - lowest < SHARE * nothing
    assert float(plan.energy.min()) >= lowest - 1e-5


def test_loose_bounds_give_the_solution_of_the_normal_equations() -> None:
    """The reference of this file against the closed form."""
    actions, _ = optimum(LOOSE.double().numpy())
    for d in range(2):
        effect = forces() * STRENGTH[d]
        exact = np.linalg.solve(np.outer(effect, effect) + EFFORT * np.eye(STEPS), TARGET[d] * effect)
        assert np.abs(actions[:, d] - exact).max() < 1e-6


@pytest.mark.parametrize(
    "planner",
    [
        CEM(3, 200, 20, 15, std_min=1e-3),
        ICEM(3, 300, 10, 15, std_min=1e-3, exponent=0.5),
        MPPI(3, 300, 20, temperature=0.5, elites=30, std_min=1e-3),
        Gradient(3),
        Gradient(3, "sgd", rate=0.05),
        PredictiveSampling(3, 300, 50, std=0.02),
    ],
    ids=str,
)
def test_the_minimum_of_a_quadratic_is_found_inside_and_on_the_bound(planner: Planner) -> None:
    plan = planner(bowl, LOW, HIGH, numbered(4))
    assert (plan.actions - GOAL).abs().max() < 0.03
    plan = planner(lambda a: bowl(a + 2), LOW, HIGH, numbered(2))
    assert torch.allclose(plan.actions, LOW.expand(2, 3, 2), atol=0.03)
