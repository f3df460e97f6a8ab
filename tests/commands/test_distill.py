"""From the command line: a planner becomes a policy, is judged on other tasks than it was learned on, and is seeded."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from armillary.cli import main
from armillary.commands import acting, distill, screen, student, workspace
from armillary.contracts import build
from armillary.envs.point_maze import PointMaze
from armillary.envs.two_rooms import TwoRooms
from armillary.errors import ConfigError
from armillary.planning import cloning, distilling
from armillary.planning.gradient import Gradient
from armillary.recipes import run as runs
from armillary.report import page

from .tiny import LEWM as TINY

QUICK = cloning.Cloning(hidden=8, steps=10, batch=16)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are fitted for an instant: these tests are about what is done with them, not about how good they are."""
    monkeypatch.setattr(screen.out, "_width", 200)  # tables as on a wide screen
    monkeypatch.setattr(distilling, "SETTINGS", QUICK)
    monkeypatch.setattr("armillary.commands.offline.CLONING", QUICK)


@pytest.fixture(scope="module")
def world_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world model, collected and trained through the command line."""
    place = tmp_path_factory.mktemp("worlds")
    data = ["--data.path", str(place / "episodes")]
    assert main(["collect", "lewm_two_rooms", "--episodes", "20", "--length", "30", *data]) == 0
    assert main(["train", "lewm_two_rooms", "--out", str(place / "run"), *data, *TINY]) == 0
    return place / "run"


@pytest.fixture
def folder(world_model: Path, tmp_path: Path) -> Path:
    """A copy of it, in which nothing was distilled yet."""
    return Path(shutil.copytree(world_model, tmp_path / "run"))


def distilled(folder: Path, *words: str) -> dict:
    assert main(["distill", str(folder), "--rounds", "2", "--goals", "4", *words]) == 0
    return json.loads((folder / "report.json").read_text())["distilled"]


def test_policy_and_planner_are_judged_on_the_same_tasks(folder: Path, capsys: pytest.CaptureFixture):
    part = distilled(folder)
    for kind in ("same_room", "other_room"):
        row = part[kind]
        for name in ("success", "at_end", "planner", "planner_at_end"):
            low, high = row["interval" if name == "success" else f"{name}_interval"]
            assert 0 <= low <= row[name] <= high <= 1
        low, high = row["difference_interval"]
        assert low <= row["difference"] <= high and row["goals"] == 3
        assert row["difference"] == pytest.approx(row["success"] - row["planner"])
        assert row["evaluations_per_action"] == 0 and row["planner_evaluations_per_action"] == (2 * 8 + 2) * 3 / 9
        assert min(row["seconds_per_action"], row["planner_seconds_per_action"]) > 0
    alone = part["alone"]
    ratio = alone["policy_seconds_per_action"] / alone["planner_seconds_per_action"]
    assert alone["time_of_planner"] == pytest.approx(ratio) and ratio > 0
    # a plan is three macro-steps, as an episode is; where the planner acts, the last two are labels as seen, too
    assert [(row["acts"], row["labels"]) for row in part["rounds"]] == [("planner", 8 * 5), ("policy", 8 * 5 + 8 * 3)]
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("policy minus planner", "time per action", "labels", "harness: world"))
    source = (folder / "report.html").read_text()
    assert "Distilled policy" in source and "In a single world an action takes" in source and "its planner" in source
    assert "learned on" in source.lower() and source == page.write(folder).read_text()


def test_the_planner_of_distill_is_the_planner_of_plan(folder: Path):
    part = distilled(folder)
    assert main(["plan", str(folder), "--goals", "0"]) == 0
    plan = json.loads((folder / "report.json").read_text())["plan"]
    for kind in ("same_room", "other_room"):
        assert part[kind]["planner"] == plan[kind]["success"]
        assert part[kind]["planner_interval"] == plan[kind]["interval"]


def test_no_task_is_both_learned_on_and_judged_on(folder: Path, monkeypatch: pytest.MonkeyPatch):
    drawn: list[tuple[str, int, int, torch.Tensor]] = []
    real = TwoRooms.tasks

    def noted(self: TwoRooms, kind: str, count: int, seed: int):
        tasks = real(self, kind, count, seed)
        drawn.append((kind, count, seed, torch.cat([tasks.start, tasks.goal], 1)))
        return tasks

    monkeypatch.setattr(TwoRooms, "tasks", noted)
    distilled(folder, "--judged", "5")
    judged = [pairs for _, count, seed, pairs in drawn if seed == 1_000_000 and count == 5]
    learned = [pairs for _, count, seed, pairs in drawn if seed != 1_000_000]
    assert len(judged) == 2 and len(learned) == 4 and all(len(pairs) == 4 for pairs in learned)
    assert len({tuple(row) for pairs in judged + learned for row in pairs.tolist()}) == 2 * 5 + 4 * 4


def test_worlds_are_opened_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    opened: list[int] = []
    real = TwoRooms.open
    monkeypatch.setattr(TwoRooms, "open", lambda self, count: opened.append(count) or real(self, count))
    distilled(folder)
    assert opened == [3, 4, 1]  # judged on, learned in, and the one in which time is taken
    opened.clear()
    assert main(["distill", str(folder), "--rounds", "1", "--goals", "3"]) == 0
    assert opened == [3, 1]


def test_layouts_that_are_held_back_are_not_learned_on():
    world = PointMaze().open(1)
    assert any(kind.startswith("unseen") for kind in world.kinds)
    assert distill.training_kinds(world) == [kind for kind in world.kinds if not kind.startswith("unseen")] != []


def test_distilling_twice_gives_the_same_policy(folder: Path):
    reports, files = [], []
    for _ in range(2):
        part = distilled(folder, "--mixing", "0.5")
        for row in part.values():
            for name in [name for name in row if "seconds" in name or "time" in name] if isinstance(row, dict) else []:
                row.pop(name)
        reports.append(part)
        files.append((folder / student.FILE).read_bytes())
    assert reports[0] == reports[1] and files[0] == files[1]
    assert [row["acts"] for row in reports[0]["rounds"]] == ["planner", "both"]


def test_json_is_for_programs(folder: Path, capsys: pytest.CaptureFixture):
    distilled(folder, "--json")
    shown = json.loads(capsys.readouterr().out)
    assert {"same_room", "other_room", "alone", "rounds", "harness"} == shown["distilled"].keys()


def test_seeded_planning_needs_a_policy_and_says_how_to_make_one(folder: Path, capsys: pytest.CaptureFixture):
    assert main(["plan", str(folder), "--goals", "2", "--seeded"]) == 2
    assert "armillary distill" in capsys.readouterr().err
    distilled(folder)
    assert main(["plan", str(folder), "--goals", "2", "--seeded", "--milliseconds", "1000"]) == 0
    plan = json.loads((folder / "report.json").read_text())["plan"]
    assert "distilled policy" in plan["harness"]["seeded"] and plan["harness"]["time_limit"]["fits"]
    # two rounds of 8 candidates and the policy's plan, first and last mean; 3 steps of a plan for 9 raw actions
    assert plan["same_room"]["evaluations_per_action"] == (2 * 9 + 2) * 3 / 9
    assert main(["plan", str(folder), "--goals", "2"]) == 0
    assert "seeded" not in json.loads((folder / "report.json").read_text())["plan"]["harness"]


def test_a_policy_of_other_weights_or_a_damaged_one_does_not_seed(folder: Path, capsys: pytest.CaptureFixture):
    distilled(folder)
    path = folder / student.FILE
    network, told = distilling.load(path)
    distilling.save(path, network, {**told, "weights": "of another training", "step": 3})
    assert main(["plan", str(folder), "--goals", "2", "--seeded"]) == 2
    assert "distilled from the weights of step 3, these are others, of step 4" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:-9])
    assert main(["plan", str(folder), "--goals", "2", "--seeded"]) == 2
    assert "damaged" in capsys.readouterr().err
    distilled(folder)  # a damaged one is made again
    assert student.learned(folder, 4).sizes == {"seen": 8, "goal": 8, "actions": 2, "hidden": 8}


def test_new_training_takes_the_part_away(folder: Path):
    distilled(folder)
    workspace.add_to_report(folder, {"training": {"steps": 5}})
    assert "distilled" not in workspace.report(folder)


def test_a_run_without_a_world_is_refused(trained: Path, recipe: str, capsys: pytest.CaptureFixture):
    assert main(["distill", str(trained), "--recipe", recipe]) == 2
    assert "no world" in capsys.readouterr().err


def test_a_world_without_goals_is_refused_as_plan_does(tmp_path: Path, capsys: pytest.CaptureFixture):
    runs.save(tmp_path, workspace.find("lewm_bouncing_balls").run, "lewm_bouncing_balls")
    said = []
    for verb in ("plan", "distill"):
        assert main([verb, str(tmp_path)]) == 2
        said.append(" ".join(capsys.readouterr().err.split()))
    assert "BouncingBalls has nothing to reach" in said[0] and said[0] == said[1]


def test_seeds_that_do_nothing_are_refused_before_any_work(folder: Path, capsys: pytest.CaptureFixture):
    assert main(["plan", str(folder), "--goals", "2", "--seeded", "--goal-as", "state"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "toward images" in said and "armillary distill" not in said  # none was distilled, which is not the point
    run = workspace.open_run(folder)
    searching = replace(run, planning=replace(run.planning, planner=Gradient()))
    with pytest.raises(ConfigError, match="Gradient takes no proposals: leave --seeded away"):
        acting.check(build(run.method), searching, ["--seeded"])


def test_a_run_that_acts_without_a_planner_has_none_to_distill(tmp_path: Path, capsys: pytest.CaptureFixture):
    runs.save(tmp_path, workspace.find("act_jepa_two_rooms").run, "act_jepa_two_rooms")
    assert main(["distill", str(tmp_path)]) == 2
    assert "acts without a planner" in capsys.readouterr().err


def test_wrong_flags_are_refused(folder: Path, capsys: pytest.CaptureFixture):
    for words, why in (
        (["distill", str(folder), "--rounds", "0"], "rounds is 0"),
        (["distill", str(folder), "--mixing", "1.5"], "mixing is 1.5"),
        (["plan", str(folder), "--seeded", "--offline"], "leave one of them out"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(words)
        assert why in capsys.readouterr().err
