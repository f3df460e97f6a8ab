"""A search that fits into a time: its size follows from what it costs, which is measured."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ConfigError
from armillary.planning import latency
from armillary.planning.cem import CEM
from armillary.planning.gradient import Gradient
from armillary.planning.icem import ICEM
from armillary.planning.latency import Cost, affordable, drawn, measured, rounds, sized
from armillary.planning.mppi import MPPI
from armillary.planning.shooting import PredictiveSampling, RandomShooting
from armillary.randomness import numbered

PLANNERS = [CEM(), ICEM(), MPPI(), PredictiveSampling(), RandomShooting(), Gradient(), CEM(keep_elites=30, elites=30)]
LOW, HIGH = -torch.ones(2), torch.ones(2)


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: type(planner).__name__)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_what_is_affordable_fits_and_is_no_smaller_than_needed(planner, share: float) -> None:
    cost = Cost(0.01, 1e-4)
    seconds = cost.fixed + share * (cost.of(planner) - cost.fixed)
    found = affordable(planner, cost, seconds)
    least = min(3, rounds(planner)) * min(8, drawn(planner))
    if rounds(planner) * drawn(planner) * share >= 2 * least:
        assert cost.of(found) <= seconds + 1e-9
        assert cost.of(found) - cost.fixed >= 0.5 * (seconds - cost.fixed)
    assert type(found) is type(planner) and found.horizon == planner.horizon
    assert float(found(lambda a: a.square().sum((-1, -2)), LOW, HIGH, numbered(1)).energy[0]) < 1.0


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: type(planner).__name__)
def test_enough_time_changes_nothing_and_too_little_leaves_a_search(planner) -> None:
    cost = Cost(0.01, 1e-4)
    assert affordable(planner, cost, 2 * cost.of(planner)) is planner
    least = affordable(planner, cost, 1e-6)
    assert rounds(least) == min(3, rounds(planner)) and drawn(least) == min(8, drawn(planner))


@pytest.mark.parametrize("planner", [CEM(samples=100, elites=10), RandomShooting(samples=16), CEM(samples=8, elites=2)])
def test_the_cost_of_a_slow_energy_is_found(planner, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def slow(actions: torch.Tensor) -> torch.Tensor:
        now[0] += 0.003 + 2e-4 * actions.shape[1]  # the only thing that takes time on this clock
        return actions.square().sum((-1, -2))

    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    cost = measured(planner, slow, LOW, HIGH, numbered(1))
    assert cost.each == pytest.approx(2e-4, rel=1e-6)
    before = now[0]
    sized(planner, drawn(planner), 1)(slow, LOW, HIGH, numbered(1))
    assert cost.fixed + cost.each * drawn(planner) == pytest.approx(now[0] - before, rel=1e-6)


def test_a_time_of_nothing_and_planners_of_unknown_size_are_named() -> None:
    with pytest.raises(ConfigError, match="within 0 s"):
        affordable(CEM(), Cost(0, 1), 0)
    with pytest.raises(ConfigError, match="no field of samples, restarts"):
        drawn(Cost(0, 1))
