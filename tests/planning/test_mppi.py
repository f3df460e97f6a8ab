from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.errors import ConfigError
from armillary.planning.mppi import MPPI
from armillary.planning.search import Round
from armillary.randomness import numbered

LOW, HIGH = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 2.0])
GOAL = torch.tensor([0.4, 1.3])


def bowl(actions: Tensor) -> Tensor:
    return (actions - GOAL).square().sum((-1, -2))


def watched(planner: MPPI, **options: object) -> list[Round]:
    rounds: list[Round] = []
    planner(bowl, LOW, HIGH, numbered(2), watch=rounds.append, **options)
    return rounds


@pytest.mark.parametrize("elites", [None, 10])
def test_mean_and_std_are_weighted_by_the_softmax_of_the_energies(elites: int | None) -> None:
    for one in watched(MPPI(2, 50, 4, temperature=0.3, elites=elites, std_min=0.0)):
        for problem in range(2):
            energy, plans = one.energy[problem].double().numpy(), one.plans[problem].double().numpy()
            best = np.argsort(energy)[: elites or 50]
            w = np.exp(-energy[best] / 0.3) / np.exp(-energy[best] / 0.3).sum()
            mean = np.einsum("s,sha->ha", w, plans[best])
            assert np.allclose(one.mean[problem].numpy(), mean, atol=1e-5)
            std = np.sqrt(np.einsum("s,sha->ha", w, (plans[best] - mean) ** 2))
            assert np.allclose(one.std[problem].numpy(), std, atol=1e-5)


def test_a_high_temperature_is_less_greedy() -> None:
    means = [watched(MPPI(2, 200, 1, temperature=t))[0].mean for t in (1.0, 10.0, 1e6)]
    off = [float(bowl(mean[:, None]).mean()) for mean in means]
    assert off[0] < off[1] < off[2]
    (one,) = watched(MPPI(2, 200, 1, temperature=1e9))
    assert torch.allclose(one.mean, one.plans.mean(1), atol=1e-5), "in the end all weigh alike"


def test_std_stays_or_keeps_between_floor_and_ceiling() -> None:
    first = (0.5 * (HIGH - LOW)).expand(2, 2, 2)
    assert all(torch.equal(r.std, first) for r in watched(MPPI(2, 50, 4, refit_std=False)))
    rounds = watched(MPPI(2, 50, 8, 0.01, std_min=0.05, std_max=0.1))
    std = torch.stack([r.std / (HIGH - LOW) for r in rounds])
    assert std.max() <= 0.1 + 1e-6 and std.min() >= 0.05 - 1e-6 and (std[-1] < 0.051).any()


def test_momentum_keeps_a_share_of_the_old_mean() -> None:
    plain, slow = watched(MPPI(2, 50, 1)), watched(MPPI(2, 50, 1, momentum=0.25))
    start = ((LOW + HIGH) / 2).expand(2, 2, 2)
    assert torch.allclose(slow[0].mean, 0.25 * start + 0.75 * plain[0].mean, atol=1e-6)


def test_noise_penalty_is_the_control_cost_of_the_noise_and_leaves_energies_alone() -> None:
    planner = MPPI(2, 50, 3, temperature=0.7, refit_std=False, noise_penalty=True)
    mean, var = ((LOW + HIGH) / 2).expand(2, 2, 2).double(), (0.5 * (HIGH - LOW)).double() ** 2
    for one in watched(planner):
        penalty = 0.7 * (mean[:, None] * (one.plans - mean[:, None]) / var).sum((-1, -2))
        score = (one.energy + penalty).sort(1).values.float()
        assert torch.allclose(one.score, score, atol=1e-5)
        assert torch.equal(one.energy, bowl(one.plans))
        mean = one.mean.double()


def test_proposals_win_where_nothing_else_is_good() -> None:
    plan = MPPI(2, 20, 3)(bowl, LOW, HIGH, numbered(2), proposals=GOAL.expand(2, 1, 2, 2))
    assert torch.equal(plan.actions, GOAL.expand(2, 2, 2)) and bool((plan.energy == 0).all())


@pytest.mark.parametrize(
    "options", [{"horizon": 0}, {"samples": 0}, {"elites": 301}, {"temperature": 0.0}, {"temperature": float("nan")},
                {"std": -1.0}, {"std_max": 0.001}, {"momentum": 2.0}, {"correlation": 1.0}], ids=str,
)  # fmt: skip
def test_impossible_settings_are_named(options: dict) -> None:
    name, value = next(iter(options.items()))
    with pytest.raises(ConfigError, match=f"{name}.* {re.escape(str(value))}.*allowed"):
        MPPI(**options)
