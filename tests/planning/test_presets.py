"""PlaNet's and DINO-WM's planners against slow references in float64, written from their descriptions; units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.contracts import check_planner
from armillary.planning import presets
from armillary.planning.search import Round
from armillary.randomness import numbered

HORIZON, ROUNDS, SAMPLES, ELITES, PROBLEMS = 4, 5, 40, 6, 2
NOISE = [numbered(PROBLEMS).normal(f"noise/{i}", SAMPLES, HORIZON, 2) for i in range(ROUNDS)]


def bumpy(actions: Tensor) -> Tensor:
    path = actions.cumsum(-2)
    return (path[..., -1, :] - torch.tensor([1.3, -0.8])).square().sum(-1) + 0.3 * (3 * path[..., 0]).sin().sum(-1)


def bumpy_one(plan: np.ndarray) -> float:
    x, y, total = 0.0, 0.0, 0.0
    for a, b in plan:
        x, y = x + a, y + b
        total += 0.3 * np.sin(3 * x)
    return (x - 1.3) ** 2 + (y + 0.8) ** 2 + total


def reference(
    problem: int, first: float, clip: float, mean_first: bool, spread: Callable[[list[np.ndarray]], np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and standard deviation after every round, one plan at a time."""
    mean, std, found = np.zeros((HORIZON, 2)), np.full((HORIZON, 2), first), []
    for noise in NOISE:
        plans = []
        for s in range(SAMPLES):
            plan = mean + std * noise[problem, s].double().numpy()
            if mean_first and s == 0:
                plan = mean
            plans.append(np.minimum(np.maximum(plan, -clip), clip))
        best = sorted(plans, key=bumpy_one)[:ELITES]
        mean, std = sum(best) / ELITES, spread(best)
        found.append((mean, std))
    return found


def planet_spread(best: list[np.ndarray]) -> np.ndarray:
    mean = sum(best) / len(best)
    return np.sqrt(sum((plan - mean) ** 2 for plan in best) / len(best) + 1e-6)


def dino_wm_spread(best: list[np.ndarray]) -> np.ndarray:
    mean = sum(best) / len(best)
    return np.sqrt(sum((plan - mean) ** 2 for plan in best) / (len(best) - 1))


@pytest.mark.parametrize("name", ["planet", "dino_wm"])
def test_the_numbers_are_those_of_the_slow_reference(name: str) -> None:
    if name == "planet":
        bound, preset, known = 1.0, presets.planet(), (1.0, 1.0, False, planet_spread)
        assert (preset.horizon, preset.samples, preset.elites, preset.iterations) == (12, 1000, 100, 10)
    else:
        bound = 50.0
        wide = torch.full((2,), bound)
        preset, known = presets.dino_wm_cem(-wide, wide), (1.0, np.inf, True, dino_wm_spread)
        assert (preset.horizon, preset.samples, preset.elites, preset.iterations) == (5, 300, 30, 10)
    planner = replace(preset, horizon=HORIZON, samples=SAMPLES, elites=ELITES, iterations=ROUNDS)
    high = torch.full((2,), bound)
    rounds: list[Round] = []
    plan = planner(bumpy, -high, high, numbered(PROBLEMS), noise=lambda i: NOISE[i], watch=rounds.append)
    for problem in range(PROBLEMS):
        for one, (mean, std) in zip(rounds, reference(problem, *known), strict=True):
            assert np.abs(one.mean[problem].double().numpy() - mean).max() < 1e-5
            assert np.abs(one.std[problem].double().numpy() - std).max() < 1e-5
        assert float(plan.energy[problem]) <= bumpy_one(rounds[-1].mean[problem].double().numpy()) + 1e-5


BOUND = torch.tensor([1.0, 3.0])
ALL = [
    presets.planet(),
    presets.dino_wm_cem(-BOUND, BOUND),
    presets.stable_worldmodel_cem(-BOUND, BOUND),
    presets.stable_worldmodel_mppi(-BOUND, BOUND),
    presets.eb_jepa_cem(-BOUND, BOUND, max_norm=5.0),
    presets.eb_jepa_mppi(-BOUND, BOUND),
    presets.jepa_wms_cem(-BOUND, BOUND, momentum=0.1),
    presets.jepa_wms_mppi(-BOUND, BOUND),
    presets.td_mpc2(),
    presets.pldm(-BOUND, BOUND),
    replace(presets.vjepa2_ac(), std=0.5),
]


@pytest.mark.parametrize("planner", ALL, ids=lambda p: f"{type(p).__name__}-{p.samples}-{p.horizon}")
def test_presets_keep_our_contract(planner: object) -> None:
    check_planner(replace(planner, horizon=4, iterations=min(planner.iterations, 10)))  # type: ignore[type-var]


def test_std_is_in_units_of_actions_one_for_all_or_one_for_each() -> None:
    std = torch.tensor([0.1, 0.9])
    for preset in (presets.dino_wm_cem(-BOUND, BOUND, std), presets.pldm(-BOUND, BOUND, std)):
        assert preset.std == pytest.approx((0.1 / 2, 0.9 / 6))
    assert presets.eb_jepa_mppi(-BOUND, BOUND).std == pytest.approx((2 / 2, 2 / 6))


def test_vjepa2_ac_moves_without_rotating_and_ignores_a_small_grip() -> None:
    mean = torch.tensor([[[0.01, 0.02, -0.03, 0.2], [0.05, 0.0, 0.0, -0.25]]])
    wanted = torch.tensor([[[0.01, 0.02, -0.03, 0, 0, 0, 0.0], [0.05, 0, 0, 0, 0, 0, -0.25]]])
    assert torch.equal(presets.vjepa2_ac_action(mean), wanted)
    seen = presets.with_rotation(lambda a: a[..., 3:6].abs().sum((-1, -2)) + a[..., 6].sum(-1))(mean[:, None])
    assert seen.item() == pytest.approx(-0.05)


def test_padded_warm_start_ends_with_zeros() -> None:
    plan = torch.arange(1.0, 7.0).view(1, 3, 2)
    assert presets.padded(plan, 2)[0].tolist() == [[5.0, 6.0], [0.0, 0.0], [0.0, 0.0]]
    assert torch.equal(presets.padded(plan, 9), torch.zeros(1, 3, 2))
