"""Collect, train, probe, plan and the demo, end to end on a tiny model; second runs, interruptions, wrong flags."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from armillary.cli import main
from armillary.commands import collect, demo, goals, offline, plan, workspace, worlds
from armillary.contracts import build
from armillary.data.episodes import EpisodeDataset
from armillary.data.store import open_columns
from armillary.envs.two_rooms import TwoRooms, TwoRoomsWorld
from armillary.errors import ConfigError, DataError
from armillary.planning import cloning
from armillary.planning.windows import context, observed
from armillary.training.checkpoint import weights

from .tiny import LEWM as TINY


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor is fitted for an instant: these tests are about how it is reported, not about how good it is."""
    monkeypatch.setattr(offline, "CLONING", cloning.Cloning(hidden=8, steps=10, batch=16))


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
    assert main(["plan", str(folder), "--goals", "0"]) == 0
    told = json.loads((folder / "report.json").read_text())
    for kind in ("same_room", "other_room"):
        row = told["plan"][kind]
        for name in ("success", "random", "cloned", "true_dynamics", "at_end"):
            assert 0 <= row[name] <= 1
            low, high = row["interval" if name == "success" else f"{name}_interval"]
            assert 0 <= low <= row[name] <= high <= 1
        assert row["difference"] == pytest.approx(row["success"] - row["true_dynamics"])
        assert row["goals"] == 3 and row["failed"] == 0
        assert row["evaluations_per_action"] == (2 * 8 + 2) * 3 / 9  # candidates, steps of a plan; 9 raw actions
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
            for name in [name for name in row if "seconds" in name]:
                row.pop(name)
        reports.append((told["plan"], told["rollout"]))
    assert reports[0] == reports[1]


def planned(folder: Path, *words: str) -> dict:
    assert main(["plan", str(folder), "--goals", "2", *words]) == 0
    return json.loads((folder / "report.json").read_text())["plan"]


def test_goals_come_from_recorded_episodes(folder):
    plan = planned(folder, "--ahead", "12", "--fast")
    assert plan.keys() == {"harness", "ahead_12"} and plan["ahead_12"]["goals"] == 2 and plan["harness"]["fast"]
    assert "12 raw steps ahead" in plan["harness"]["goals_from"]


def recorded(folder: Path) -> tuple[EpisodeDataset, TwoRoomsWorld]:
    dataset = workspace.open_split(workspace.open_run(folder), folder, "test")
    assert isinstance(dataset, EpisodeDataset)
    return dataset, workspace.open_run(folder).world.open(40)


def test_a_task_ahead_is_a_piece_of_a_held_out_episode(folder):
    dataset, world = recorded(folder)
    tasks = goals.ahead(dataset, world, 40, seed=0, steps=12)
    held = [dataset.episode(number) for number in dataset.episodes.tolist()]
    places = set()
    for i in range(40):
        found = [(e, t) for e, one in enumerate(held) for t in range(29)
                 if torch.equal(one["state"][0, [t, t + 12]], torch.stack([tasks.start[i], tasks.goal[i]]))
                 and torch.equal(one["image"][0, t + 12], tasks.image[i])]  # fmt: skip
        assert found
        places.add(found[0])
    assert len(places) > 20
    assert torch.equal(world.begin(tasks)["state"], tasks.start)
    again = goals.ahead(dataset, world, 10, seed=0, steps=12)
    assert torch.equal(again.start, tasks.start[:10])
    with pytest.raises(DataError, match="no held-out episode is longer than 41 steps"):
        goals.ahead(dataset, world, 4, seed=0, steps=41)


def test_collected_episodes_know_their_walls_and_older_ones_are_still_read(folder, tmp_path):
    run = workspace.find("lewm_two_rooms_random").run
    run = replace(run, data=replace(run.data, path=str(tmp_path / "new"), test_share=0.5))
    worlds.collect(run, 6, 12, seed=0)
    _, columns = open_columns(tmp_path / "new")
    assert columns["layout"].shape == (6 * 13, 2) and len(np.unique(columns["layout"], axis=0)) == 6
    dataset, world = replace(run.data, window=2).open("test"), run.world.open(5)
    tasks = goals.ahead(dataset, world, 5, seed=0, steps=3)
    first = dataset.columns["state"].tolist().index(tasks.start[0].tolist())
    assert tasks.layout[0].tolist() == columns["layout"][first].tolist()
    assert torch.equal(world.begin(tasks)["image"][0], torch.tensor(np.array(columns["image"][first])))
    del dataset.columns["layout"]  # as stores of earlier versions are
    assert dataset.batch(torch.arange(2))["image"].shape[1] == 2
    with pytest.raises(DataError, match="where their walls stood"):
        goals.ahead(dataset, world, 5, seed=0, steps=3)
    old, fixed = recorded(folder)
    wanted = goals.ahead(old, fixed, 3, seed=0, steps=3)
    old.columns = {name: column for name, column in old.columns.items() if name != "layout"}
    assert torch.equal(goals.ahead(old, fixed, 3, seed=0, steps=3).layout, wanted.layout)  # the wall stands still


def test_goals_come_from_files_of_images_and_states(folder, tmp_path):
    states = np.array([[12.0, 12.0], [50.0, 50.0]], np.float32)
    np.save(tmp_path / "states.npy", states)
    plan = planned(folder, "--goal-file", str(tmp_path / "states.npy"))
    assert plan.keys() == {"harness", "given"} and "states.npy" in plan["harness"]["goals_from"]
    film = np.load(folder / "episodes.npz")
    assert film["goals"].tolist() == states.tolist()
    drawn = TwoRooms().render(torch.from_numpy(states), torch.tensor([[32.0, 20.0]]))
    assert np.array_equal(film["goal"], drawn.movedim(1, -1).numpy())
    Image.fromarray(drawn[0].movedim(0, -1).numpy()).save(tmp_path / "goal.png")
    plan = planned(folder, "--goal-file", str(tmp_path / "goal.png"), "--goal-as", "state")
    assert "linear probe" in plan["harness"]["goal"]
    again = np.load(folder / "episodes.npz")
    assert np.array_equal(again["goal"], np.stack([film["goal"][0]] * 2))
    for name, array, why in (
        ("wide", np.zeros((3, 5), np.float32), "states of 5 numbers"), ("word", np.array(["no"]), "give images"),
        ("nan", np.full((1, 2), np.nan, np.float32), "finite states"), 
        ("flat", np.zeros((2, 9, 9), np.uint8), "3 channels"),
    ):  # fmt: skip
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(DataError, match=why):
            goals.given(tmp_path / f"{name}.npy", TwoRooms().open(2), 2, 0, lambda image: torch.zeros(len(image), 2))
    with pytest.raises(DataError, match="cannot be read"):
        goals.loaded(tmp_path / "missing.png", (3, 64, 64))


def test_images_of_another_size_or_order_become_the_worlds(tmp_path):
    image = TwoRooms().render(torch.tensor([[20.0, 30.0]]), torch.tensor([[32.0, 20.0]]))
    np.save(tmp_path / "last.npy", image[0].movedim(0, -1).numpy())
    assert torch.equal(goals.loaded(tmp_path / "last.npy", (3, 64, 64)), image)
    large = image[0].movedim(0, -1).numpy().repeat(2, 0).repeat(2, 1)
    np.save(tmp_path / "large.npy", large)
    found = goals.loaded(tmp_path / "large.npy", (3, 64, 64)).float()
    assert found.shape == image.shape and float((found - image).abs().mean()) < 3


def test_a_time_limit_makes_the_search_smaller_and_says_so(folder):
    told = planned(folder, "--milliseconds", "0.001")["harness"]
    assert told["time_limit"]["milliseconds"] == 0.001 and not told["time_limit"]["fits"]
    assert told["planner"]["samples"] == 8 and told["planner"]["iterations"] == 2  # no smaller search is there


def test_worlds_with_a_time_for_steps_give_the_same_numbers(folder):
    together, apart = planned(folder), planned(folder, "--step-seconds", "30")
    assert apart["harness"]["step_seconds"] == 30
    for kind in ("same_room", "other_room"):
        for name in ("success", "at_end", "random", "cloned", "failed"):
            assert together[kind][name] == apart[kind][name]


def test_offline_validation_needs_no_world_and_says_whether_to_try(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "run")
    for name in ("report.json", "episodes.npz"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    capsys.readouterr()
    assert main(["plan", str(tmp_path / "run"), "--offline"]) == 0
    assert "planning is " in capsys.readouterr().out
    told = json.loads((tmp_path / "run" / "report.json").read_text())
    assert "plan" not in told and not (tmp_path / "run" / "episodes.npz").exists()
    rollout = told["rollout"]
    assert rollout["verdict"].startswith("planning is") and len(rollout["rules"]) == 6
    assert len(rollout["ranking"]["shuffled"]) == len(rollout["probe"]["by_horizon"]) == 8
    assert [row["horizon"] for row in rollout["reach"]["by_horizon"]] == [1, 2, 4, 8]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Offline validation" in page and "Goals within reach" in page and "State along rollouts" in page
    run = replace(workspace.open_run(folder), world=None, planning=None)
    again = plan.planned(run, tmp_path / "run", plan.Plan(offline=True))
    assert json.loads(json.dumps(again["rollout"]))["ranking"] == rollout["ranking"]


ACTING = {
    "--fast": {"fast": True}, "--flat": {"flat": True}, "--seeded": {"seeded": True}, "--goal-as": {"goal_as": "state"},
    "--milliseconds": {"milliseconds": 5.0}, "--ahead": {"ahead": 3}, "--goal-file": {"goal_file": Path("goal.png")},
    "--ensemble": {"ensemble": 0.0}, "--energy": {"energy": "value"}, "--step-seconds": {"step_seconds": 5.0},
}  # fmt: skip


@pytest.mark.parametrize("flag", ACTING)
def test_flags_of_acting_are_refused_offline(flag):
    with pytest.raises(ConfigError, match=f"{flag}.*--offline does not act; leave one of them out"):
        plan.Plan(offline=True, **ACTING[flag])
    assert [said.split()[0] for said in plan.Plan(**ACTING[flag]).acting] == [flag]


def test_what_recorded_episodes_tell_is_kept_where_acting_fails(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "report.json").unlink(missing_ok=True)
    np.save(tmp_path / "wide.npy", np.zeros((3, 5), np.float32))
    assert main(["plan", str(tmp_path / "run"), "--goals", "2", "--goal-file", str(tmp_path / "wide.npy")]) == 2
    assert "states of 5 numbers" in capsys.readouterr().err
    told = json.loads((tmp_path / "run" / "report.json").read_text())
    assert told["rollout"]["verdict"].startswith("planning is") and "plan" not in told


def test_goals_that_are_not_there_are_refused_before_any_work(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "report.json").unlink(missing_ok=True)
    for words, why in ((["--goal-file", str(tmp_path / "no.png")], "there is no file"), (["--ahead", "41"], "longer")):
        assert main(["plan", str(tmp_path / "run"), "--goals", "2", *words]) == 2
        assert why in " ".join(capsys.readouterr().err.split())
    assert "rollout" not in json.loads((tmp_path / "run" / "report.json").read_text())


@torch.no_grad()
def test_plans_to_recorded_goals_are_sought_by_one_distance_and_judged_by_the_squared_one(folder):
    run, (dataset, _) = workspace.open_run(folder), recorded(folder)
    method = build(run.method, run.seed).eval()
    weights(folder, method, "newest")
    longer = dataset.windows(1 + 4)
    batch = longer.prepare(longer.batch(torch.arange(0, len(longer), len(longer) // 24)[:24]))
    state = method.start(context(batch, 1))  # type: ignore[operator]
    first, truth = method.latent(state), observed(method, {**batch, "image": batch["image"][:, 1:]})  # type: ignore
    low, high, _ = offline.recorded(longer)
    idle = (low + high) / 2  # where all plans cost the same, the first that was seen stays: the middle of the bounds
    macro = longer.statistics.normalize("action", idle.repeat(dataset.config.frame_skip)[None]).expand(len(first), -1)
    far = []
    for t in range(4):
        state = method.step(state, macro)  # type: ignore[operator]
        far.append((method.latent(state) - truth[:, t]).square().sum(1))  # type: ignore[operator]
    within = float(torch.stack(far).median())
    start = method.start(context(batch, 1))  # type: ignore[operator]
    blind = lambda z, goal: torch.zeros(len(z))  # noqa: E731
    told = offline.reach(method, longer, run.planning, start, first, truth, within, truth, blind)
    for row, h in zip(told["by_horizon"], (1, 2, 4), strict=True):  # type: ignore[arg-type]
        assert row["share"] == pytest.approx(float((far[h - 1] <= within).double().mean()))
    assert 0 < sum(row["share"] for row in told["by_horizon"]) < 3  # type: ignore[union-attr]


def test_contradicting_flags_are_refused(folder, capsys):
    for words, why in (
        (["--ahead", "3", "--goal-file", "goal.png"], "not from both"), (["--milliseconds", "-1"], "0 or more"),
    ):  # fmt: skip
        with pytest.raises(SystemExit, match="2"):
            main(["plan", str(folder), *words])
        assert why in capsys.readouterr().err


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
