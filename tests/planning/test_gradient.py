from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.errors import ConfigError
from armillary.planning.gradient import Gradient
from armillary.randomness import numbered

LOW, HIGH = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 20.0])
GOAL = torch.tensor([0.4, 13.0])


def bowl(actions: Tensor) -> Tensor:
    return (actions - GOAL).square().sum((-1, -2))


def visited(planner: Gradient, start: Tensor) -> np.ndarray:
    """The plans that were evaluated, [steps + 1, R, H, A]."""
    seen: list[Tensor] = []

    def energy(actions: Tensor) -> Tensor:
        seen.append(actions.detach().clone())
        return bowl(actions)

    planner(energy, LOW, HIGH, numbered(1), start)
    return torch.stack(seen)[:, 0].double().numpy()


START = torch.tensor([-0.5, 15.0]).expand(1, 2, 2)
SPAN, SLOPE = (HIGH - LOW).double().numpy(), lambda a: 2 * (a - GOAL.double().numpy())


def test_sgd_steps_down_the_gradient_in_units_of_the_ranges() -> None:
    path = visited(Gradient(2, "sgd", steps=4, rate=1e-3, restarts=1), START)
    a = START[0].double().numpy()
    for plans in path:
        assert np.allclose(plans[0], a, atol=1e-4)
        a = a - 1e-3 * SPAN**2 * SLOPE(a)


def test_adam_steps_adam() -> None:
    """Kingma and Ba (1412.6980), algorithm 1, written out; SGD's path is another."""
    path = visited(Gradient(2, "adam", steps=6, rate=0.02, restarts=1), START)
    u, m, v = (START[0] - LOW).double().numpy() / SPAN, 0.0, 0.0
    for t, plans in enumerate(path, start=1):
        assert np.allclose(plans[0], LOW.numpy() + SPAN * u, atol=1e-4)
        g = SPAN * SLOPE(LOW.numpy() + SPAN * u)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        u = u - 0.02 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    first = np.abs(path[1, 0] - path[0, 0]) / SPAN
    assert np.allclose(first, 0.02, atol=1e-5), "Adam's first step has the length of the rate in every direction"


def test_several_restarts_find_the_better_of_two_valleys() -> None:
    def two(actions: Tensor) -> Tensor:  # a shallow valley at -0.5, where the start is, and a deep one at 0.7
        x = actions[..., 0]
        return torch.minimum((x + 0.5).square() + 0.3, 3 * (x - 0.7).square()).sum(-1)

    start = torch.tensor([-0.5, 10.0]).expand(4, 1, 2)
    one = Gradient(1, restarts=1)(two, LOW, HIGH, numbered(4), start)
    many = Gradient(1, restarts=32, std=0.5)(two, LOW, HIGH, numbered(4), start)
    assert torch.allclose(one.energy, torch.tensor(0.3)) and many.energy.max() < 1e-3


def test_noise_moves_a_plan_off_a_saddle() -> None:
    def saddle(actions: Tensor) -> Tensor:
        return -actions[..., 0].square().sum(-1)

    options = {"horizon": 1, "optimizer": "sgd", "steps": 60, "rate": 0.05, "restarts": 1}
    assert float(Gradient(**options)(saddle, LOW, HIGH, numbered(1)).energy) == 0
    assert float(Gradient(**options, noise=0.003)(saddle, LOW, HIGH, numbered(1)).energy) < -0.9


def test_parameters_of_the_model_get_no_gradient_and_no_grad_outside_does_not_matter() -> None:
    weight = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        plan = Gradient(2, rate=0.02, steps=200)(lambda a: bowl(weight * a), LOW, HIGH, numbered(1))
    assert weight.grad is None and not plan.actions.requires_grad and not plan.energy.requires_grad
    assert torch.allclose(plan.actions, GOAL.expand(1, 2, 2), atol=0.1)


def test_an_energy_without_a_gradient_is_named() -> None:
    with pytest.raises(ConfigError, match="no gradient with respect to the actions"):
        Gradient(2)(lambda a: bowl(a.detach()), LOW, HIGH, numbered(1))


@pytest.mark.parametrize(
    "options",
    [{"horizon": 0}, {"steps": 0}, {"restarts": 0}, {"rate": 0.0}, {"noise": -1.0}, {"momentum": 2.0}],
    ids=str,
)
def test_impossible_settings_are_named(options: dict) -> None:
    name, value = next(iter(options.items()))
    with pytest.raises(ConfigError, match=f"{name}.* {re.escape(str(value))}.*allowed"):
        Gradient(**options)
