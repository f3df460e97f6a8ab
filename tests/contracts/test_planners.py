"""Every planner keeps the contract that `check_planner` states, with each of its options."""

from __future__ import annotations

import dataclasses

import pytest

from armillary.contracts import Planner, check_planner
from armillary.planning.cem import CEM
from armillary.planning.gradient import Gradient
from armillary.planning.icem import ICEM
from armillary.planning.mppi import MPPI
from armillary.planning.shooting import PredictiveSampling, RandomShooting

SMALL = CEM(4, samples=64, elites=8, iterations=4)
OPTIONS = [
    {},
    {"include_mean": True},
    {"unbiased": True},
    {"keep_elites": 4},
    {"keep_elites": 8},
    {"correlation": 0.9},
    {"std_min": 0.0},
    {"elites": 1},
    {"elites": 64},
    {"iterations": 1},
    {"momentum": 0.5, "std_momentum": 0.9},
    {"std": (0.2, 0.6)},
    {"std_added": 0.1},
    {"max_norm": 5.0},
]
OTHERS = [
    ICEM(4, 64, 8, 4),
    ICEM(4, 64, 8, 1, exponent=0.0, keep_elites=0, std_min=0.0),
    ICEM(4, 8, 8, 4, decay=3.0, keep_elites=8),
    MPPI(4, 64, 4),
    MPPI(4, 64, 4, elites=8, refit_std=False, include_mean=True),
    MPPI(4, 64, 4, temperature=1e-6, std_min=0.0, std_max=0.2, momentum=0.5),
    MPPI(4, 64, 4, noise_penalty=True, correlation=0.9),
    MPPI(4, 1, 1),
    Gradient(4, steps=20),
    Gradient(4, "sgd", steps=20, rate=0.05, momentum=0.9, restarts=1, noise=0.01),
    PredictiveSampling(4, 64, 4),
    PredictiveSampling(4, 64, 1, knots=2, between="hold"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_cem_keeps_the_contract(options: dict) -> None:
    planner = dataclasses.replace(SMALL, **options)
    assert isinstance(planner, Planner)
    check_planner(planner)


@pytest.mark.parametrize("samples", [1, 200])
def test_random_shooting_keeps_the_contract(samples: int) -> None:
    check_planner(RandomShooting(4, samples))


@pytest.mark.parametrize("planner", OTHERS, ids=str)
def test_every_other_planner_keeps_the_contract(planner: Planner) -> None:
    assert isinstance(planner, Planner)
    check_planner(planner)
