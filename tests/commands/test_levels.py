"""Planning in two levels from the command line: trained, planned with, planned flat, and what does not go together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from armillary.cli import main
from armillary.commands import acting, offline, workspace
from armillary.commands.seeing import Actor
from armillary.contracts import build
from armillary.errors import ConfigError
from armillary.planning import cloning
from armillary.planning.cem import CEM
from armillary.planning.hierarchy import TwoLevels
from armillary.planning.icem import ICEM
from armillary.planning.policies import Receding
from armillary.planning.settings import Hierarchy
from armillary.recipes import run as runs
from armillary.recipes.run import restored, values

TINY = [
    "--method.encoder.widths", "4", "4", "4", "--method.width", "8", "--method.hidden", "16", "--method.heads", "1",
    "--method.head-width", "8", "--method.directions", "16", "--method.rollout", "2", "--method.stride", "2",
    "--method.high-rollout", "2", "--method.macro-width", "3", "--method.high-hidden", "16", "--data.window", "5",
    "--steps", "4", "--batch", "8", "--planning.goals", "2", "--planning.budget", "9", "--planning.films", "1",
    "--loop.monitor", "16",
]  # fmt: skip
PLANNERS = {"planner": 3, "hierarchy.high": 2, "hierarchy.low": 3}  # and their horizons
for planner, horizon in PLANNERS.items():
    sizes = {"horizon": horizon, "samples": 8, "elites": 4, "keep-elites": 1, "iterations": 2}
    TINY += [word for name, size in sizes.items() for word in (f"--planning.{planner}.{name}", str(size))]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor is fitted for an instant: these tests are not about it."""
    monkeypatch.setattr(offline, "CLONING", cloning.Cloning(hidden=8, steps=10, batch=16))


def made(recipe: str, place: Path) -> Path:
    """A tiny model of two levels, collected for and trained through the command line."""
    data = ["--data.path", str(place / "episodes")]
    assert main(["collect", recipe, "--episodes", "20", "--length", "40", *data]) == 0
    assert main(["train", recipe, "--out", str(place / "run"), *data, *TINY]) == 0
    return place / "run"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of Two Rooms."""
    return made("hwm_two_rooms", tmp_path_factory.mktemp("levels"))


def planned(folder: Path, *words: str) -> dict:
    assert main(["plan", str(folder), "--goals", "2", *words]) == 0
    return json.loads((folder / "report.json").read_text())["plan"]


SEARCHED = 2 * 8 + 2  # candidates of a search
LEVELS = (SEARCHED * 2 + 1) + (SEARCHED * 1 + 1) + SEARCHED * 3  # ahead, near, and the low level


def test_plan_uses_both_levels_and_flat_one(folder, capsys):
    both = planned(folder)
    said = " ".join(capsys.readouterr().out.split())
    kinds = [name for name in both if name != "harness"]
    assert {both[kind]["evaluations_per_action"] for kind in kinds} == {LEVELS / 9}  # one plan for nine raw actions
    told = both["harness"]["hierarchy"]
    assert told["high"]["name"] == told["low"]["name"] == "CEM" and told["high"]["horizon"] == 2
    assert "hierarchy (high (name CEM" in said and "near 0.25" in said
    assert "hierarchy" in (folder / "report.html").read_text()
    flat = planned(folder, "--flat", "--milliseconds", "500", "--goal-as", "state")
    assert {flat[kind]["evaluations_per_action"] for kind in kinds} == {SEARCHED * 3 / 9}
    assert "none" in flat["harness"]["hierarchy"]
    assert workspace.open_run(folder).planning.hierarchy is not None  # the run stays as it was


def test_two_levels_of_a_model_with_history_plan_in_a_maze(tmp_path):
    told = planned(made("hwm_point_maze", tmp_path))
    assert {told[kind]["evaluations_per_action"] for kind in told if kind != "harness"} == {2 * LEVELS / 9}


def test_one_level_and_two_act_as_the_run_plans(folder):
    run, world = workspace.open_run(folder), workspace.open_run(folder).world.open(2)
    statistics = workspace.open_split(run, folder, "test").statistics  # type: ignore[attr-defined]
    tasks, choice = world.tasks(world.kinds[0], 2, 0), acting.Choice()
    two = Actor(build(run.method, 1).eval(), statistics, run)
    with pytest.raises(ConfigError, match="train the method first"):
        acting.policy(two, choice, world, tasks)
    two.method.seen += 1  # type: ignore[operator]
    found = acting.policy(two, choice, world, tasks)
    assert isinstance(found, TwoLevels) and found.below.planner == run.planning.hierarchy.low
    other = workspace.find("lewm_two_rooms").run
    one = Actor(build(other.method).eval(), statistics, other)
    assert isinstance(acting.policy(one, choice, world, tasks), Receding)


@pytest.mark.parametrize("flag", ["--seeded", "--milliseconds 50", "--goal-as state"])
def test_what_only_one_level_can_do_is_refused_before_any_work(flag, tmp_path, capsys):
    runs.save(tmp_path, workspace.find("hwm_two_rooms").run, "hwm_two_rooms")
    assert main(["plan", str(tmp_path), *flag.split()]) == 2  # nothing was trained there, and no policy distilled
    said = " ".join(capsys.readouterr().err.split())
    assert "plans in two" in said and "add --flat" in said and "armillary distill" not in said


def test_levels_that_are_not_there_are_refused(tmp_path, capsys):
    one = workspace.find("lewm_two_rooms").run
    levels = replace(one, planning=replace(one.planning, hierarchy=Hierarchy()))
    with pytest.raises(ConfigError, match=r"LeWM has no high level.*add --flat"):
        acting.check(build(one.method), levels)
    runs.save(tmp_path, one, "lewm_two_rooms")
    assert main(["plan", str(tmp_path), "--flat"]) == 2
    assert "--flat is of recipes that plan in two levels" in " ".join(capsys.readouterr().err.split())


def test_a_low_level_that_looks_past_its_sub_goals_is_warned_of(caplog):
    run = workspace.find("hwm_two_rooms").run
    method = build(run.method)
    acting.check(method, run)
    assert not caplog.records  # the recipe's own levels fit
    levels = run.planning.hierarchy
    longer = replace(levels, low=replace(levels.low, horizon=7))
    acting.check(method, replace(run, planning=replace(run.planning, hierarchy=longer)))
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "horizon is 7" in record.getMessage()
    assert "method.stride = 4" in record.getMessage()


def test_hierarchies_survive_the_file_and_older_files_have_none():
    run = workspace.find("hwm_point_maze").run
    levels = Hierarchy(ICEM(horizon=3), CEM(horizon=2, std=(0.1, 0.2)), macro_cost=0.5)
    changed = replace(run, planning=replace(run.planning, hierarchy=levels))
    assert restored(values(changed), run, "run.json").planning.hierarchy == levels
    without = replace(run, planning=replace(run.planning, hierarchy=None))
    assert restored(values(without), run, "run.json").planning.hierarchy is None
    older = workspace.find("lewm_two_rooms").run
    tree = values(older)
    del tree["planning"]["hierarchy"]  # type: ignore[attr-defined]
    assert restored(tree, older, "run.json") == older
