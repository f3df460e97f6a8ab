"""Every planner of the settings can be a recipe's: it is written to run.json, read back, and its fields are flags."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from armillary.commands import workspace
from armillary.commands.flags import parse_with_run
from armillary.contracts import Planner
from armillary.planning.cem import CEM
from armillary.planning.gradient import Gradient
from armillary.planning.icem import ICEM
from armillary.planning.mppi import MPPI
from armillary.planning.settings import described
from armillary.planning.shooting import PredictiveSampling, RandomShooting
from armillary.recipes.run import Run, restored, values


@dataclass(frozen=True)
class Verb:
    """Something to do."""


PLANNERS = [CEM(), CEM(std=(0.1, 0.2), max_norm=2.0), ICEM(), MPPI(), MPPI(elites=20, std_max=0.5),
            Gradient(optimizer="sgd"), PredictiveSampling(knots=3), RandomShooting()]  # fmt: skip


def run_with(planner: Planner) -> Run:
    run = workspace.find("lewm_two_rooms").run
    return replace(run, planning=replace(run.planning, planner=planner))


@pytest.mark.parametrize("planner", PLANNERS, ids=str)
def test_a_planner_survives_the_file(planner: Planner) -> None:
    run = run_with(planner)
    assert restored(values(run), run, "run.json").planning.planner == planner


@pytest.mark.parametrize("planner", PLANNERS, ids=str)
def test_its_fields_are_flags(planner: Planner) -> None:
    _, run = parse_with_run(Verb(), run_with(planner), ["--planning.planner.horizon", "3"], "plan", "", ("planning",))
    assert run.planning.planner == replace(planner, horizon=3)  # type: ignore[type-var]


@pytest.mark.parametrize("planner", PLANNERS, ids=str)
def test_what_is_told_of_a_planner_makes_it_again(planner: Planner) -> None:
    told = described(planner)
    assert type(planner).__name__ == told.pop("name") and type(planner)(**told) == planner
