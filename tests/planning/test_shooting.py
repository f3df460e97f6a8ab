from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armillary.errors import ConfigError
from armillary.planning.shooting import PredictiveSampling, RandomShooting
from armillary.randomness import numbered

LOW, HIGH = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 2.0])
GOAL = torch.tensor([0.4, 1.3])


class Seen:
    """An energy that keeps what it was asked."""

    def __init__(self) -> None:
        self.plans: list[Tensor] = []

    def __call__(self, actions: Tensor) -> Tensor:
        self.plans.append(actions)
        return (actions - GOAL).square().sum((-1, -2))


def test_shots_are_uniform_and_the_best_is_near_the_minimum() -> None:
    seen = Seen()
    plan = RandomShooting(1, 20_000)(seen, LOW, HIGH, numbered(2))
    shots = (seen.plans[1] - LOW) / (HIGH - LOW)
    assert torch.allclose(shots.mean((0, 1, 2)), torch.tensor(0.5), atol=0.01)
    assert torch.allclose(shots.var((0, 1, 2)), torch.tensor(1 / 12), atol=0.002)
    assert (plan.actions - GOAL).abs().max() < 0.03


def test_each_round_copies_the_best_plan_so_far_with_noise() -> None:
    seen = Seen()
    plan = PredictiveSampling(4, 50, 3, std=0.05)(seen, LOW, HIGH, numbered(2))
    assert [p.shape[1] for p in seen.plans] == [1, 50, 50, 50], "one evaluation of the start, no other of the plan"
    best = seen.plans[0][:, 0]
    for drawn in seen.plans[1:]:
        assert torch.allclose((drawn - best[:, None]).std(), torch.tensor(0.1), rtol=0.1)
        all_of_them = torch.cat([best[:, None], drawn], 1)
        index = (all_of_them - GOAL).square().sum((-1, -2)).argmin(1)
        best = all_of_them[torch.arange(2), index]
    assert torch.equal(plan.actions, best)


@pytest.mark.parametrize(("between", "bends"), [("linear", 0.0), ("hold", None)])
def test_noise_lives_on_knots(between: str, bends: float | None) -> None:
    seen = Seen()
    PredictiveSampling(7, 50, 1, std=0.01, knots=3, between=between)(seen, LOW, HIGH, numbered(2))
    noise = seen.plans[1] - seen.plans[0]
    if bends is None:
        assert torch.equal(noise[:, :, 0], noise[:, :, 2]) and torch.equal(noise[:, :, 3], noise[:, :, 5])
        assert not torch.equal(noise[:, :, 2], noise[:, :, 3])
    else:
        second = noise[:, :, 2:] - 2 * noise[:, :, 1:-1] + noise[:, :, :-2]
        assert second[:, :, [0, 1, 3, 4]].abs().max() < 1e-6 and second[:, :, 2].abs().max() > 1e-3


def test_a_start_of_any_shape_is_kept_where_no_copy_is_better() -> None:
    start = GOAL.expand(2, 4, 2)
    plan = PredictiveSampling(4, 50, 3, knots=2)(Seen(), LOW, HIGH, numbered(2), start)
    assert torch.equal(plan.actions, start)


def test_impossible_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="samples 0"):
        RandomShooting(3, 0)
    for options in ({"samples": 0}, {"knots": 6}, {"std": 0.0}):
        with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*allowed"):
            PredictiveSampling(**options)
