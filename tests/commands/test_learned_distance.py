"""Planning by a distance that the method learned, or by a value fitted to its latents, from the command line."""

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
from armillary.planning import cloning, value
from armillary.training.checkpoint import weights

REACHING = value.reaching
TINY = [
    "--method.encoder.widths", "4", "4", "4", "--method.width", "8", "--method.group", "4",
    "--method.hidden", "16", "--data.window", "5",
    "--steps", "4", "--batch", "8", "--planning.goals", "2", "--planning.budget", "6", "--planning.films", "1",
    "--planning.planner.horizon", "3", "--planning.planner.samples", "8", "--planning.planner.elites", "4",
    "--planning.planner.keep-elites", "1", "--planning.planner.iterations", "2", "--loop.monitor", "16",
]  # fmt: skip


@pytest.fixture(scope="module", params=["value_guided_two_rooms", "value_guided_point_maze"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, collected for and trained through the command line."""
    place = tmp_path_factory.mktemp("valued")
    data = ["--data.path", str(place / "episodes")]
    assert main(["collect", request.param, "--episodes", "20", "--length", "40", *data]) == 0
    assert main(["train", request.param, "--out", str(place / "run"), *data, *TINY]) == 0
    return place / "run"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor is fitted for an instant: these tests are not about it."""
    monkeypatch.setattr(offline, "CLONING", cloning.Cloning(hidden=8, steps=10, batch=16))
    monkeypatch.setattr(offline, "VALUING", value.Valuing(hidden=8, width=8, group=4, steps=10, batch=16))


def test_plans_go_by_the_learned_distance(folder, monkeypatch, capsys):
    run = workspace.open_run(folder)
    kind = type(build(run.method))
    asked = []
    learned = kind.goal_distance
    monkeypatch.setattr(kind, "goal_distance", lambda self, z, goal: asked.append(len(z)) or learned(self, z, goal))
    assert main(["plan", str(folder), "--goals", "2"]) == 0
    assert "distance learned" in " ".join(capsys.readouterr().out.split())
    told = json.loads((folder / "report.json").read_text())["plan"]
    assert told["harness"]["distance"] == "learned" and asked
    kinds = [name for name in told if name != "harness"]
    assert all(0 <= told[name]["success"] <= 1 for name in kinds)
    method = build(run.method, run.seed)
    weights(folder, method, "newest")
    assert float(method.balance.detach()) != -1.0, "it was trained"


def test_a_state_has_no_learned_distance(folder, capsys):
    assert main(["plan", str(folder), "--goals", "2", "--goal-as", "state"]) == 2
    assert "a learned distance is of latents" in " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LeWM, which learns no distance."""
    place = tmp_path_factory.mktemp("plain")
    data = ["--data.path", str(place / "episodes")]
    assert main(["collect", "lewm_two_rooms", "--episodes", "20", "--length", "40", *data]) == 0
    group = TINY.index("--method.group")
    sizes = (
        TINY[:group] + TINY[group + 2 :] + ["--method.rollout", "2", "--method.heads", "1", "--method.directions", "16"]
    )
    assert main(["train", "lewm_two_rooms", "--out", str(place / "run"), *data, *sizes]) == 0
    return place / "run"


def test_any_run_plans_by_a_value_of_its_latents(plain, monkeypatch, capsys):
    asked = []
    learned = value.Way.forward
    assert main(["plan", str(plain), "--goals", "2"]) == 0
    squared = json.loads((plain / "report.json").read_text())["plan"]
    monkeypatch.setattr(value, "reaching", lambda now, *rest: asked.append("fit") or REACHING(now, *rest))
    monkeypatch.setattr(value.Way, "forward", lambda self, z, goal: asked.append(len(z)) or learned(self, z, goal))
    assert main(["plan", str(plain), "--goals", "2", "--energy", "value"]) == 0
    valued = json.loads((plain / "report.json").read_text())["plan"]
    assert asked.count("fit") == 10 and asked[-1] != "fit", "fitted once, then asked by the planner"
    assert squared["harness"]["distance"] == "squared"
    assert valued["harness"]["distance"] == "a value learned from the run's episodes"
    assert main(["plan", str(plain), "--goals", "2", "--energy", "value", "--goal-as", "state"]) == 2
    assert "a learned distance is of latents" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        main(["plan", str(plain), "--offline", "--energy", "value"])
    assert "leave one of them out" in " ".join(capsys.readouterr().err.split())


def test_a_method_without_a_distance_is_refused_in_words(plain):
    run = workspace.open_run(plain)
    planning = replace(run.planning, distance="learned")
    with pytest.raises(ConfigError, match="LeWM learned no distance to goals"):
        acting.check(build(run.method), replace(run, planning=planning))
    acting.check(build(run.method), replace(run, planning=planning), ["--energy value"])  # it takes the place of it


def test_recorded_goals_are_searched_by_the_runs_own_distance(folder, monkeypatch):
    kind, asked = type(build(workspace.open_run(folder).method)), []
    learned = kind.goal_distance
    monkeypatch.setattr(kind, "goal_distance", lambda self, z, goal: asked.append(len(z)) or learned(self, z, goal))
    assert main(["plan", str(folder), "--offline"]) == 0
    assert asked


def test_folded_weights_that_are_not_there_are_refused_and_never_told(folder, capsys):
    for words in (["plan", str(folder), "--goals", "2", "--fast"], ["distill", str(folder), "--fast"]):
        assert main(words) == 2
        assert "no weights that could be folded: leave --fast away" in " ".join(capsys.readouterr().err.split())
    run = workspace.open_run(folder)
    actor = Actor(build(run.method), workspace.open_split(run, folder, "test").statistics, run)
    assert acting.told(actor, acting.Choice(fast=True))["fast"] is False
