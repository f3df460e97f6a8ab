"""Every planner keeps the contract that `check_planner` states, with each of its options."""

from __future__ import annotations

import dataclasses

import pytest

from armillary.contracts import Planner, check_planner
from armillary.planning.cem import CEM
from armillary.planning.shooting import RandomShooting

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
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_cem_keeps_the_contract(options: dict) -> None:
    planner = dataclasses.replace(SMALL, **options)
    assert isinstance(planner, Planner)
    check_planner(planner)


@pytest.mark.parametrize("samples", [1, 200])
def test_random_shooting_keeps_the_contract(samples: int) -> None:
    check_planner(RandomShooting(4, samples))
