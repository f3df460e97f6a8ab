"""Terms of energies against numpy in float64, how they are put together, and regions that plans keep out of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.contracts import check_dynamics
from armillary.errors import ConfigError, DataError, ShapeError
from armillary.planning import constraints, readout, terms
from armillary.planning.cem import CEM
from armillary.planning.energies import (
    Moment,
    energy_of,
    goal_energy,
    last,
    scaled,
    squared,
    summed,
    through,
    to_goal,
    weighted,
)
from armillary.planning.ensemble import Ensemble
from armillary.randomness import numbered


@dataclass(frozen=True)
class Line:
    """A point that moves by its action, times a gain."""

    gain: float = 1.0

    def start(self, batch: dict[str, Tensor]) -> tuple[Tensor]:
        return (batch["state"],)

    def step(self, state: tuple[Tensor], action: Tensor) -> tuple[Tensor]:
        return (state[0] + self.gain * action,)

    def latent(self, state: tuple[Tensor]) -> Tensor:
        return state[0]


class FastLine(Line):
    """The same with rollouts of its own."""

    def rollouts(self, state: tuple[Tensor], actions: Tensor) -> Tensor:
        return state[0][:, None, None] + self.gain * actions.cumsum(2)


STATE = {"state": numbered(3).normal("state", 2)}
ACTIONS = numbered(3).normal("actions", 7, 5, 2)
GOAL = numbered(3).normal("goal", 2)
REFERENCES = {
    "squared": lambda d, x, g: (d**2).sum(),
    "l1": lambda d, x, g: np.abs(d).sum(),
    "l2": lambda d, x, g: math.sqrt((d**2).sum()),
    "cosine": lambda d, x, g: np.mean(
        [1 - (a @ b) / ((np.linalg.norm(a) * np.linalg.norm(b)) or np.inf) for a, b in zip(x, g, strict=True)]
    ),
}


def path(b: int, s: int, gain: float = 1.0) -> np.ndarray:
    return STATE["state"][b].double().numpy() + gain * ACTIONS[b, s].double().numpy().cumsum(0)


def energy(term, dynamics=Line()) -> Tensor:
    return energy_of(dynamics, dynamics.start(STATE), term)(ACTIONS)


def moment(latent: Tensor, t: int = 1, steps: int = 1) -> Moment:
    n = len(latent)
    return Moment(lambda: latent, (), torch.zeros(n, 1), None, torch.arange(n), t, steps)


@pytest.mark.parametrize("name", list(terms.MEASURES))
@pytest.mark.parametrize("shape", [(3,), (1,), (4, 3), (1, 1)])
@pytest.mark.parametrize("kind", ["random", "equal", "zeros", "huge"])
def test_each_distance_is_its_formula_for_vectors_and_tokens(name: str, shape: tuple[int, ...], kind: str) -> None:
    x, g = numbered(6).normal("x", *shape), numbered(6).normal("g", *shape)
    if kind == "equal":
        g = x.clone()
    elif kind == "zeros":
        x = torch.zeros_like(x)
    elif kind == "huge":
        x, g = 1e6 * x, 1e6 * g
    found = terms.MEASURES[name](x, g)
    for i in range(6):
        rows = [v[i].double().numpy().reshape(-1, shape[-1]) for v in (x, g)]
        assert float(found[i]) == pytest.approx(REFERENCES[name](rows[0] - rows[1], *rows), rel=2e-5, abs=2e-6)


def test_the_gradient_of_the_euclidean_distance_is_finite_at_the_goal() -> None:
    x = torch.zeros(2, 3, requires_grad=True)
    terms.euclidean(x, torch.zeros(2, 3)).sum().backward()
    assert x.grad is not None and bool((x.grad == 0).all())


def test_an_unknown_distance_and_goals_of_another_shape_are_named() -> None:
    with pytest.raises(ConfigError, match="no distance 'l3'; known: squared, l1, l2, cosine"):
        terms.named("l3")
    with pytest.raises(ShapeError, match=r"goals \(1,\) for latents \(2,\)"):
        energy(to_goal(GOAL[:, :1]))


def test_last_weights_and_sums_are_sums_over_steps() -> None:
    far = [[((path(b, s) - GOAL[b].double().numpy()) ** 2).sum(1) for s in range(7)] for b in range(3)]
    far = np.array(far)  # [B, S, H]
    cases = {
        "last": (last(to_goal(GOAL)), [0, 0, 0, 0, 1]),
        "earlier": (last(to_goal(GOAL), 0.1), [0.1, 0.1, 0.1, 0.1, 1]),
        "all": (to_goal(GOAL), [1, 1, 1, 1, 1]),
        "weighted": (weighted(to_goal(GOAL), (0, 1, 2, 0, 3)), [0, 1, 2, 0, 3]),
        "scaled": (scaled(to_goal(GOAL), 2.5), [2.5] * 5),
        "summed": (summed(to_goal(GOAL), last(to_goal(GOAL))), [1, 1, 1, 1, 2]),
    }
    for name, (term, weights) in cases.items():
        assert np.allclose(energy(term).double().numpy(), far @ np.array(weights), rtol=1e-5), name
    assert torch.equal(energy(last(to_goal(GOAL), 0.1)), goal_energy(Line(), Line().start(STATE), GOAL, 0.1)(ACTIONS))


def test_a_step_without_weight_does_not_look_at_the_latent() -> None:
    looked = []

    def looking(now: Moment) -> Tensor:
        looked.append(now.t)
        return now.latent.sum(1)

    energy(weighted(looking, (0, 1, 0, 0, 1)))
    assert looked == [2, 5]
    energy(last(looking))
    assert looked == [2, 5, 5]


def test_values_classes_and_parts_of_the_latent_are_minimized() -> None:
    ends = np.array([[path(b, s)[-1] for s in range(7)] for b in range(3)])  # [B, S, 2]
    assert np.allclose(energy(last(terms.valued(lambda z: 3 * z[:, 0]))), -3 * ends[..., 0], atol=1e-5)
    label = torch.tensor([0, 2, 1])
    weight = numbered(1).normal("weight", 2, 3)[0]
    found = energy(last(terms.classified(lambda z: z @ weight, label)))
    logits = ends @ weight.double().numpy()
    wanted = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, label.numpy()[:, None, None], 2)[..., 0]
    assert np.allclose(found, wanted, atol=1e-5)
    body = energy(last(terms.proprioception(terms.features(1, 2), GOAL[:, 1:])))
    assert np.allclose(body, (ends[..., 1] - GOAL[:, 1:].numpy()) ** 2, rtol=1e-4, atol=1e-6)


def test_actions_cost_their_size_and_their_change() -> None:
    a = ACTIONS.double().numpy()
    assert np.allclose(energy(terms.action_size), (a**2).sum((2, 3)), rtol=1e-5)
    change = (np.diff(a, axis=2) ** 2).sum((2, 3))
    assert np.allclose(energy(terms.action_change()), change, rtol=1e-5)
    before = GOAL.double().numpy()[:, None]
    from_last = change + ((a[:, :, 0] - before) ** 2).sum(2)
    assert np.allclose(energy(terms.action_change(GOAL)), from_last, rtol=1e-5)
    assert float(energy_of(Line(), Line().start(STATE), terms.action_change())(ACTIONS[:, :, :1]).abs().max()) == 0


def test_an_ensemble_is_dynamics_and_its_disagreement_is_the_variance_over_members() -> None:
    gains = (0.5, 1.0, 2.5)
    ensemble = Ensemble([Line(gain) for gain in gains])
    check_dynamics(ensemble, STATE, ACTIONS[:, 0, 0])
    found = energy(terms.disagreement(ensemble), ensemble)
    for b in range(3):
        for s in range(7):
            paths = np.stack([path(b, s, gain) for gain in gains])
            assert float(found[b, s]) == pytest.approx(paths.var(0).sum(), rel=1e-4)
    same = Ensemble([Line(), Line()])
    assert float(energy(terms.disagreement(same), same).abs().max()) == 0
    with pytest.raises(ConfigError, match="ensemble of 1 cannot disagree"):
        Ensemble([Line()])
    with pytest.raises(ConfigError, match="2 members share 3 tensors"):
        same.split((GOAL, GOAL, GOAL))


@pytest.mark.parametrize("rows", [1, 5, 2048])
def test_dynamics_with_fast_rollouts_have_the_same_energy(rows: int) -> None:
    term = summed(last(to_goal(GOAL), 0.1), scaled(terms.action_change(GOAL), 0.3), terms.action_size)
    fast = FastLine()
    found = energy_of(fast, fast.start(STATE), term, rows)(ACTIONS)
    assert torch.allclose(found, energy(term), rtol=1e-4, atol=1e-5)


def test_depth_in_regions_is_the_distance_to_the_nearest_way_out() -> None:
    at = torch.tensor([[0.5, 0.5], [0.9, 0.5], [1.0, 0.2], [2.0, 0.5], [0.4, -3.0]])
    low, high = torch.zeros(2), torch.ones(2)
    inside = constraints.forbidden(low, high)(moment(at))
    assert torch.allclose(inside, torch.tensor([0.5, 0.1, 0.0, 0.0, 0.0]), atol=1e-6)
    half = constraints.forbidden(torch.tensor([0.7, -math.inf]), torch.tensor([math.inf, math.inf]))(moment(at))
    assert torch.allclose(half, torch.tensor([0.0, 0.2, 0.3, 1.3, 0.0]), atol=1e-6)
    ball = constraints.avoided(torch.tensor([0.5, 0.5]), 0.5)(moment(at))
    assert torch.allclose(ball, torch.tensor([0.5, 0.1, 0.0, 0.0, 0.0]), atol=1e-6)
    outside = constraints.confined(low, high)(moment(at))
    assert torch.allclose(outside, torch.tensor([0.0, 0.0, 0.0, 1.0, 3.0]), atol=1e-6)


def test_a_plan_goes_around_a_forbidden_region_that_is_read_through_a_probe() -> None:
    state = (torch.tensor([[-1.0, 0.0]]),)
    goal, low, high = torch.tensor([[1.0, 0.0]]), torch.full((2,), -0.5), torch.full((2,), 0.5)
    turn = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # the probe gives (y, x)
    keep_out = constraints.forbidden(torch.tensor([-0.3, -0.4]), torch.tensor([math.inf, 0.4]))
    planner = CEM(horizon=8, samples=300, elites=20, iterations=15)

    def entered(term) -> float:
        plan = planner(energy_of(Line(), state, term), low, high, numbered(1))
        way = state[0] + plan.actions[0].cumsum(0)
        assert float((way[-1] - goal).norm()) < 0.25
        return float(keep_out(moment(way @ turn)).max())

    near = to_goal(goal)
    assert entered(near) > 0.1
    assert entered(summed(near, scaled(through(lambda z: z @ turn, keep_out), 50.0))) < 0.02


def test_projections_fix_values_and_bound_changes() -> None:
    fixed = constraints.fixed({1: 0.25})(ACTIONS)
    assert bool((fixed[..., 1] == 0.25).all()) and torch.equal(fixed[..., 0], ACTIONS[..., 0])
    steady = constraints.steady((0.1, 0.3), GOAL)(ACTIONS)
    steps = torch.cat([GOAL[:, None, None].expand(-1, 7, 1, -1), steady], 2).diff(dim=2).abs()
    assert bool((steps <= torch.tensor([0.1, 0.3]) + 1e-6).all())
    wide = constraints.steady((100.0, 100.0))(ACTIONS)
    assert torch.equal(wide, ACTIONS)
    both = constraints.chained(constraints.steady((0.1, 0.3)), constraints.fixed({0: 0.0}))
    plan = CEM(horizon=5, samples=40, elites=8, iterations=3)(
        energy_of(Line(), Line().start(STATE), to_goal(GOAL)), torch.full((2,), -1.0), torch.ones(2), numbered(3),
        project=both,
    )  # fmt: skip
    assert bool((plan.actions[..., 0] == 0).all()) and float(plan.actions.diff(dim=1).abs().max()) <= 0.3 + 1e-6


def test_wrong_regions_weights_and_widths_are_named() -> None:
    with pytest.raises(ConfigError, match="low below high"):
        constraints.forbidden(torch.ones(2), torch.zeros(2))
    with pytest.raises(ConfigError, match="radius is 0"):
        constraints.avoided(torch.zeros(2), 0)
    with pytest.raises(ShapeError, match="region of 3 coordinates for latents"):
        energy(constraints.confined(torch.zeros(3), torch.ones(3)))
    with pytest.raises(ConfigError, match="largest changes"):
        constraints.steady((0.1, 0.0))
    with pytest.raises(ShapeError, match="3 largest changes for actions of 2"):
        constraints.steady((0.1, 0.1, 0.1))(ACTIONS)
    with pytest.raises(ConfigError, match="weight is -1"):
        scaled(to_goal(GOAL), -1)
    with pytest.raises(ConfigError, match=r"earlier_weight is -0\.1"):
        last(to_goal(GOAL), -0.1)
    with pytest.raises(ConfigError, match="weights are"):
        weighted(to_goal(GOAL), ())
    with pytest.raises(ShapeError, match="2 weights for plans of 5 steps"):
        energy(weighted(to_goal(GOAL), (1, 1)))


@pytest.mark.parametrize(("rows", "shape"), [(400, (6,)), (400, (2, 3)), (30, (50,))])
def test_a_readout_is_ridge_regression(rows: int, shape: tuple[int, ...]) -> None:
    z = 1e3 + 5 * numbered(rows).normal("z", *shape)
    z[:, ..., 0] = 7.0  # a constant feature
    flat = z.flatten(1).double().numpy()
    y = torch.from_numpy(flat[:, 1:3] * [2.0, -1.0] + 0.1 * flat[:, 3:4] - 900.0).float()
    found = readout.fitted(z, y, 1e-3)(z).double().numpy()
    x = (flat - flat.mean(0)) / np.where(flat.std(0) > 0, flat.std(0), np.inf)
    middle = y.double().numpy().mean(0)
    kernel = x @ x.T / rows
    wanted = kernel @ np.linalg.solve(kernel + 1e-3 * np.eye(rows), y.double().numpy() - middle) + middle
    assert np.allclose(found, wanted, atol=2e-2)
    assert 1 - ((found - y.numpy()) ** 2).mean() / y.numpy().var(0).mean() > 0.99


def test_a_readout_of_many_tokens_reads_their_mean_and_refuses_others() -> None:
    z = numbered(20).normal("z", 100, 50)
    assert readout.flat(z).shape == (20, 50) and torch.equal(readout.flat(z), z.mean(1))
    probe = readout.fitted(z, z.mean(1)[:, :2])
    with pytest.raises(ShapeError, match="probe of 50 numbers"):
        probe(z[:, 0, :7])
    with pytest.raises(ShapeError, match="20 latents and 19 states"):
        readout.fitted(z, z.mean(1)[:19])
    with pytest.raises(DataError, match="all finite"):
        readout.fitted(torch.full((5, 2), torch.nan), torch.zeros(5, 1))
    with pytest.raises(DataError, match="3 rows or more"):
        readout.fitted(torch.ones(2, 2), torch.zeros(2, 1))
    same = readout.fitted(torch.ones(9, 2), torch.arange(9.0)[:, None])  # duplicates: the mean is all there is to say
    assert torch.allclose(same(torch.ones(1, 2)), torch.tensor([[4.0]]))


def test_the_squared_distance_sums_over_everything_but_rows() -> None:
    x = torch.full((2, 4, 3), 2.0)
    assert squared(x, torch.zeros_like(x)).tolist() == [48.0, 48.0]
