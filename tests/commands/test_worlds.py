"""Collect, train, probe, plan and the demo, end to end on a tiny model; second runs, interruptions, wrong flags."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from armillary.cli import main
from armillary.commands import collect, demo, workspace

TINY = [
    "--method.encoder.widths", "4", "4", "4", "--method.width", "8", "--method.hidden", "16", "--method.depth", "1",
    "--method.heads", "1", "--method.head-width", "8", "--method.directions", "16", "--method.rollout", "2",
    "--data.window", "3", "--steps", "4", "--batch", "8", "--planning.goals", "3", "--planning.budget", "9",
    "--planning.planner.samples", "8", "--planning.planner.elites", "4", "--planning.planner.keep-elites", "1",
    "--planning.planner.iterations", "2", "--planning.planner.horizon", "3", "--planning.films", "2",
    "--loop.monitor", "16",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world model, collected and trained through the command line."""
    place = tmp_path_factory.mktemp("worlds")
    data = ["--data.path", str(place / "episodes")]
    assert main(["collect", "lewm_two_rooms", "--episodes", "30", "--length", "40", *data]) == 0
    assert main(["train", "lewm_two_rooms", "--out", str(place / "run"), *data, *TINY]) == 0
    return place / "run"


def test_second_collection_into_the_same_folder_is_refused(folder, capsys):
    words = ["collect", "lewm_two_rooms", "--episodes", "2", "--data.path", str(folder.parent / "episodes")]
    assert main(words) == 2
    assert "--fresh" in capsys.readouterr().err


def test_probe_compares_with_untrained_and_raw(folder):
    assert main(["probe", str(folder)]) == 0
    position = json.loads((folder / "report.json").read_text())["probe"]["position"]
    assert {"r2", "interval", "untrained_r2", "raw_r2"} <= position.keys()


def test_plan_reports_floor_ceiling_intervals_and_harness(folder):
    assert main(["plan", str(folder)]) == 0
    told = json.loads((folder / "report.json").read_text())
    for kind in ("same_room", "other_room"):
        row = told["plan"][kind]
        for name in ("success", "random", "true_dynamics", "at_end"):
            assert 0 <= row[name] <= 1
            low, high = row["interval" if name == "success" else f"{name}_interval"]
            assert 0 <= low <= row[name] <= high <= 1
        assert row["difference"] == pytest.approx(row["success"] - row["true_dynamics"])
    assert told["plan"]["harness"]["world"]["tolerance"] == 4.5
    assert told["rollout"]["nmse"] > 0 and len(told["rollout"]["by_horizon"]) == 8
    film = np.load(folder / "episodes.npz")
    assert film["frames"].shape[:2] == (4, 10) and sorted(set(film["task"].tolist())) == ["other_room", "same_room"]
    assert "<svg" in (folder / "report.html").read_text()


def test_planning_twice_gives_the_same_numbers(folder):
    reports = []
    for _ in range(2):
        assert main(["plan", str(folder), "--goals", "2"]) == 0
        told = json.loads((folder / "report.json").read_text())
        for row in (told["plan"]["same_room"], told["plan"]["other_room"]):
            row.pop("seconds_per_plan")
        reports.append((told["plan"], told["rollout"]))
    assert reports[0] == reports[1]


def test_recipes_without_a_world_cannot_collect(capsys):
    assert main(["collect", "ijepa_cifar10"]) == 2
    assert "lewm_two_rooms" in capsys.readouterr().err


def test_an_unfinished_demo_is_continued_and_any_other_moved_aside(tmp_path):
    asked = demo.Demo(out=tmp_path / "demo", steps=3)
    run = demo.configured(asked)
    assert not demo.begin(asked, run)
    assert demo.begin(asked, run)  # nothing was planned yet
    other = replace(asked, seed=5)
    assert not demo.begin(other, demo.configured(other)) and (tmp_path / "demo.1" / "run.json").exists()
    (tmp_path / "demo" / "report.json").write_text(json.dumps({"plan": {}}))
    assert not demo.begin(other, demo.configured(other)) and (tmp_path / "demo.2").exists()


def test_a_demo_with_other_episodes_is_not_continued(folder, tmp_path):
    asked = demo.Demo(out=tmp_path / "demo", steps=3, episodes=30, length=40)
    run = demo.configured(asked)
    demo.begin(asked, run)
    shutil.copytree(folder.parent / "episodes", tmp_path / "demo" / "episodes")
    assert demo.unfinished(asked.out, run, 30, 40)
    (tmp_path / "demo" / "episodes" / "index.json").write_text("{")
    assert not demo.unfinished(asked.out, run, 30, 40)  # damaged: moved aside, not a way into an endless error
    shutil.copy(folder.parent / "episodes" / "index.json", tmp_path / "demo" / "episodes")
    assert not demo.unfinished(asked.out, run, 200, 40) and not demo.unfinished(asked.out, run, 30, 90)


def test_a_moved_demo_reads_its_own_episodes(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "moved")
    shutil.copytree(folder.parent / "episodes", tmp_path / "moved" / "episodes")
    run = workspace.open_run(tmp_path / "moved")
    dataset = workspace.open_split(run, tmp_path / "moved", "test")
    assert Path(dataset.config.path) == tmp_path / "moved" / "episodes"


def test_collect_says_how_to_train_on_what_it_collected():
    given = ["--episodes", "3", "--data.path", "some where", "--fresh", "--method.action", "3", "--length=9"]
    told = collect.following("lewm_reacher", given)
    assert told == "armillary train lewm_reacher --data.path 'some where' --method.action 3"


def test_the_summary_does_not_praise_a_model_that_learned_nothing():
    plans = {"same_room": {"success": 0.4}, "other_room": {"success": 0.1}}
    told = {"probe": {"position": {"r2": 0.3}}, "rollout": {"horizon": 4, "ratio": 10.2}, "plan": plans}
    assert demo.summary(told).count("did not learn well") == 2


def test_actions_of_another_width_are_explained(folder, capsys):
    data = ["--data.path", str(folder.parent / "episodes"), "--out", str(folder.parent / "other")]
    assert main(["train", "lewm_two_rooms", *data, *TINY, "--data.frame-skip", "2"]) == 2
    assert "4 numbers, the method was built for 6" in capsys.readouterr().err


@pytest.mark.slow
def test_demo_runs_and_runs_again(tmp_path):
    words = ["demo", "--out", str(tmp_path / "demo"), "--episodes", "30", "--steps", "20", "--goals", "3"]
    assert main(words) == 0
    first = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert main(words) == 0  # the finished one is moved aside
    again = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert (tmp_path / "demo.1" / "report.html").exists()
    assert first["probe"] == again["probe"] and first["rollout"] == again["rollout"]
