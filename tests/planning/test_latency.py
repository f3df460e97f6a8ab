"""A search that fits into a time: it is shrunk until its plan, measured, does."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ConfigError
from armillary.planning import latency
from armillary.planning.cem import CEM
from armillary.planning.gradient import Gradient
from armillary.planning.icem import ICEM
from armillary.planning.latency import Fit, drawn, fitting, rounds, sized, took
from armillary.planning.mppi import MPPI
from armillary.planning.shooting import PredictiveSampling, RandomShooting
from armillary.randomness import numbered

PLANNERS = [CEM(), ICEM(), MPPI(), PredictiveSampling(), RandomShooting(), Gradient(), CEM(keep_elites=30, elites=30)]
EACH = pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: type(planner).__name__)
LOW, HIGH = -torch.ones(2), torch.ones(2)
CALL, CANDIDATE = 0.002, 2e-4  # seconds of the energy below, on its own clock


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch):
    """An energy that alone takes time: a little for each call, and for each candidate."""
    now = [0.0]

    def energy(actions: torch.Tensor) -> torch.Tensor:
        now[0] += CALL + CANDIDATE * actions.shape[1]
        return actions.square().sum((-1, -2))

    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    return energy


@EACH
@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_what_comes_back_fits_and_is_not_much_smaller_than_it_must_be(planner, share: float, slow) -> None:
    whole = took(planner, slow, LOW, HIGH, numbered(1))
    found = fitting(planner, slow, LOW, HIGH, numbered(1), share * whole)
    assert found.whole == pytest.approx(whole) and found.seconds <= share * whole
    assert found.seconds == pytest.approx(took(found.planner, slow, LOW, HIGH, numbered(1)))
    if found.planner != sized(planner, 0.0):
        assert found.seconds >= 0.6 * share * whole
    assert type(found.planner) is type(planner) and found.planner.horizon == planner.horizon
    assert float(found.planner(slow, LOW, HIGH, numbered(1)).energy[0]) < 1.0


@EACH
def test_enough_time_changes_nothing_and_too_little_leaves_a_search(planner, slow) -> None:
    whole = took(planner, slow, LOW, HIGH, numbered(1))
    enough = fitting(planner, slow, LOW, HIGH, numbered(1), 2 * whole)
    assert enough.planner is planner and enough.seconds == enough.whole == pytest.approx(whole)
    least = fitting(planner, slow, LOW, HIGH, numbered(1), 1e-6)
    assert rounds(least.planner) == min(3, rounds(planner)) and drawn(least.planner) == min(8, drawn(planner))
    assert least.seconds > 1e-6


@EACH
def test_rounds_and_candidates_shrink_together(planner) -> None:
    half = sized(planner, 0.25)
    if rounds(planner) > 6:
        assert rounds(half) == pytest.approx(rounds(planner) / 2, abs=1)
    wanted = max(rounds(planner) * drawn(planner) / 4, rounds(half) * min(8, drawn(planner)))
    assert rounds(half) * drawn(half) == pytest.approx(wanted, rel=0.3)


def test_a_time_of_nothing_and_planners_of_unknown_size_are_named(slow) -> None:
    with pytest.raises(ConfigError, match="within 0 s"):
        fitting(CEM(), slow, LOW, HIGH, numbered(1), 0)
    with pytest.raises(ConfigError, match="no field of samples, restarts"):
        drawn(Fit(None, 0, 1))
