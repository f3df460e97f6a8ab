"""A run that acts without a planner, through the command line: in a world, and offline on states without images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from armillary.cli import main
from armillary.commands import acting, imitation, offline, workspace
from armillary.commands.seeing import Actor
from armillary.contracts import build
from armillary.data.episodes import EpisodeDataset
from armillary.errors import ConfigError
from armillary.methods.control import lewm
from armillary.planning import cloning
from armillary.recipes import run as runs
from armillary.training.checkpoint import weights

from .tiny import PLANNING

SMALL = [
    "--method.width", "8", "--method.depth", "1", "--method.decoder-depth", "1", "--method.predictor-depth", "1",
    "--method.heads", "1", "--steps", "4", "--batch", "8", "--loop.monitor", "16",
]  # fmt: skip
TINY = [
    *SMALL, "--method.encoder.widths", "4", "4", "4", "--method.chunk", "3", "--data.window", "5", *PLANNING,
]  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor is fitted for an instant."""
    monkeypatch.setattr(offline, "CLONING", cloning.Cloning(hidden=8, steps=10, batch=16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny policy of Two Rooms, collected and trained through the command line."""
    place = tmp_path_factory.mktemp("policies")
    data = ["--data.path", str(place / "episodes")]
    assert main(["collect", "act_jepa_two_rooms", "--episodes", "20", "--length", "30", *data]) == 0
    assert main(["train", "act_jepa_two_rooms", "--out", str(place / "run"), *data, *TINY]) == 0
    return place / "run"


@pytest.fixture(scope="module")
def door(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny policy on recorded demonstrations, converted and trained through the command line."""
    if not (shared / "data" / "adroit_door").is_dir():
        pytest.skip("shared/data has no adroit_door")
    place = tmp_path_factory.mktemp("door")
    assert main(["convert", str(shared / "data" / "adroit_door"), str(place / "store")]) == 0
    words = ["--data.path", str(place / "store"), "--data.window", "5", "--method.chunk", "3", *SMALL]
    assert main(["train", "act_jepa_door", "--out", str(place / "run"), *words]) == 0
    return place / "run"


def told(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def opened(folder: Path) -> tuple[torch.nn.Module, EpisodeDataset]:
    run = workspace.open_run(folder)
    method = build(run.method, run.seed).eval()
    weights(folder, method, "newest")
    dataset = workspace.open_split(run, folder, "test")
    assert isinstance(dataset, EpisodeDataset)
    return method, dataset


def test_a_policy_is_judged_beside_floors_and_ceiling_without_a_planner(folder, capsys):
    assert main(["plan", str(folder), "--goals", "0"]) == 0
    assert "imitate" in capsys.readouterr().out
    plan = told(folder)["plan"]
    for kind in ("same_room", "other_room"):
        row = plan[kind]
        for name in ("success", "random", "cloned", "true_dynamics", "at_end"):
            low, high = row["interval" if name == "success" else f"{name}_interval"]
            assert 0 <= low <= row[name] <= high <= 1
        assert row["difference"] == pytest.approx(row["success"] - row["true_dynamics"])
        assert row["goals"] == 3 and row["failed"] == 0 and row["evaluations_per_action"] == 0
    harness = plan["harness"]
    assert harness["policy"] == "ACTJEPA" and harness["execute"] == 3 and harness["chunks_averaged"] == "no"
    assert harness["planner_of_true_dynamics"]["name"] == "CEM" and "planner" not in harness
    assert np.load(folder / "episodes.npz")["frames"].shape[:2] == (4, 10)
    assert "imitate" in (folder / "report.html").read_text()


def test_averaged_chunks_are_asked_for_at_every_macro_step_and_repeat(folder):
    found = []
    for _ in range(2):
        assert main(["plan", str(folder), "--goals", "2", "--ensemble", "0.01"]) == 0
        plan = told(folder)["plan"]
        assert plan["harness"]["execute"] == 1 and "exp(-0.01 i)" in plan["harness"]["chunks_averaged"]
        found.append({kind: {k: v for k, v in plan[kind].items() if "seconds" not in k} for kind in ("same_room",)})
    assert found[0] == found[1]


def test_actions_of_the_policy_are_the_methods_in_the_worlds_units_and_bounds(folder):
    method, dataset = opened(folder)
    run = workspace.open_run(folder)
    actor = Actor(method, dataset.statistics, run)
    world = actor.open(4)
    tasks = world.tasks("other_room", 4, 0)
    context = actor.first(world, tasks)
    actions, _ = acting.policy(actor, acting.Choice(), world, tasks)(context, 0, None)
    prepare = lambda image: dataset.prepare({"image": image})["image"]  # noqa: E731
    with torch.no_grad():
        chunk = method.act({"image": prepare(context["image"])}, {"image": prepare(tasks.image)[:, None]})
    mean, std = (np.array(getattr(dataset.statistics, part)["action"]) for part in ("mean", "std"))
    expected = chunk.numpy().reshape(4, 9, 2) * std + mean  # 3 macro-steps of 3 raw ones
    np.testing.assert_allclose(actions.numpy(), expected.clip(world.low.numpy(), world.high.numpy()), atol=1e-5)
    assert not torch.equal(actions[0], actions[1])


def test_goals_come_from_episodes_and_files_as_for_planners(folder, tmp_path):
    assert main(["plan", str(folder), "--goals", "2", "--ahead", "12"]) == 0
    assert told(folder)["plan"].keys() == {"harness", "ahead_12"}
    np.save(tmp_path / "goals.npy", np.array([[12.0, 12.0], [50.0, 50.0]], np.float32))
    assert main(["plan", str(folder), "--goals", "2", "--goal-file", str(tmp_path / "goals.npy")]) == 0
    assert told(folder)["plan"].keys() == {"harness", "given"}


def test_flags_of_planners_are_refused(folder, capsys):
    for words, why in ((["--milliseconds", "5", "--fast"], "--milliseconds, --fast"),
                       (["--goal-as", "state"], "--goal-as state")):  # fmt: skip
        assert main(["plan", str(folder), *words]) == 2
        assert why in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["plan", str(folder), "--offline", "--ensemble", "0.01"])
    assert "leave one of them out" in " ".join(capsys.readouterr().err.split())
    run = workspace.find("lewm_two_rooms").run
    with pytest.raises(ConfigError, match="leave --ensemble away"):
        acting.check(lewm.tiny()[0], run, ["--ensemble"])
    acting.check(lewm.tiny()[0], run, ["--fast"])


@pytest.mark.parametrize("senses", [{"proprio": 4}, {"encoder": None, "proprio": 39}])
def test_what_goals_in_worlds_do_not_tell_is_refused_before_any_work(senses, tmp_path, capsys):
    run = workspace.find("act_jepa_two_rooms").run
    runs.save(tmp_path, replace(run, method=replace(run.method, **senses)), "act_jepa_two_rooms")
    assert main(["plan", str(tmp_path)]) == 2  # nothing was trained there: weights were not even looked for
    said = " ".join(capsys.readouterr().err.split())
    assert "ACTJEPA sees proprioception" in said and "--offline" in said


def test_latents_that_nothing_was_trained_to_predict_are_not_reported(folder):
    _, dataset = opened(folder)
    run = workspace.open_run(folder)
    cloning_alone = build(replace(run.method, latent_weight=0.0), run.seed).eval()
    assert imitation.validated(cloning_alone, dataset, None).keys() == {"chunk", "windows", "verdict"}


def test_probe_compares_with_untrained_and_raw(folder):
    assert main(["probe", str(folder)]) == 0
    assert {"r2", "interval", "untrained_r2", "raw_r2"} <= told(folder)["probe"]["position"].keys()


def test_offline_figures_are_those_of_a_loop_over_windows(folder):
    method, dataset = opened(folder)
    found = imitation.validated(method, dataset, None)
    assert found.keys() == {"chunk", "latents", "windows", "verdict"}
    ours, mean, copied, stay = [], [], [], []
    for number in dataset.episodes.tolist():
        raw = dataset.episode(number)
        action, image = raw["action"][0].numpy(), raw["image"]
        m, s = (np.array(getattr(dataset.statistics, part)["action"]) for part in ("mean", "std"))
        for start in range(len(image[0]) - 12):  # 5 frames, 3 raw steps apart
            steps = ((action[start : start + 12] - m) / s).reshape(4, 6)
            shown = dataset.prepare({"image": image[:, start : start + 13 : 3]})["image"]
            with torch.no_grad():
                chunk = method.act({"image": shown[:, 1:2]}, {"image": shown[:, -1:]})[0].numpy()
                z = method.targets(
                    {"image": shown[:, 1:], "action": torch.tensor(steps[None, 1:], dtype=torch.float32)}
                )
            ours.append(np.abs(chunk - steps[1:]).mean())
            mean.append(np.abs(steps[1:]).mean())
            copied.append(np.abs(steps[:1] - steps[1:]).mean())
            stay.append(float((z[:, 1:] - z[:, :1]).abs().mean()))
    chunk = found["chunk"]
    assert found["windows"] == len(ours) > 20
    assert chunk["l1"] == pytest.approx(np.mean(ours), rel=1e-4)
    assert chunk["mean_action"] == pytest.approx(np.mean(mean), rel=1e-4)
    assert chunk["copy_last"] == pytest.approx(np.mean(copied), rel=1e-4)
    assert chunk["over_mean_action"] == pytest.approx(np.mean(ours) / np.mean(mean), rel=1e-4)
    assert np.mean([row["copy_last"] for row in chunk["by_step"]]) == pytest.approx(chunk["copy_last"], rel=1e-4)
    pair = imitation.compared(method, dataset)[3]
    assert pair is not None and float(pair[1].mean()) == pytest.approx(np.mean(stay), rel=1e-4)
    assert found["latents"]["ratio"] == pytest.approx(float(pair[0].mean() / pair[1].mean()), rel=1e-4)


def test_the_verdict_asks_both_floors_surely():
    good = {"over_mean_action": 0.5, "over_mean_action_interval": [0.4, 0.6], "over_copy_last": 0.9}
    assert imitation.verdict({**good, "over_copy_last_interval": [0.8, 0.99]}).startswith("the policy imitates")
    assert "does not surely" in imitation.verdict({**good, "over_copy_last_interval": [0.8, 1.01]})


def test_intervals_resample_episodes_and_not_windows():
    error, floor = torch.tensor([[1.0], [1.0], [1.0], [3.0]]), torch.ones(4, 1)
    assert imitation.ratio(error, floor) == 1.5
    low, high = imitation.ratio_interval(error, floor, torch.tensor([7, 7, 7, 9]))
    assert low == 1 and high == 3
    assert imitation.ratio_interval(error, floor, torch.tensor([5, 5, 5, 5])) == [1.5, 1.5]


def test_states_without_images_are_converted_trained_validated_and_probed(door, capsys):
    assert main(["plan", str(door), "--offline"]) == 0
    rollout = told(door)["rollout"]
    assert rollout["windows"] == 512 and len(rollout["chunk"]["by_step"]) == 3
    assert rollout["chunk"]["mean_action"] > 0 and rollout["chunk"]["copy_last"] > 0
    assert rollout["probe"]["r2"] <= 1 and rollout["latents"]["ratio"] > 0
    assert "plan" not in told(door) and "imitate" in capsys.readouterr().out
    assert main(["probe", str(door)]) == 0
    assert told(door)["probe"]["state"]["raw_r2"] > 0.99  # the state is what the hand senses
    assert main(["plan", str(door)]) == 2
    assert "no world" in capsys.readouterr().err


def test_a_demonstration_without_images_makes_a_batch_of_numbers(door):
    run = workspace.open_run(door)
    batch = replace(run.data, window=4).open("train").batch(torch.arange(2))
    assert "image" not in batch and batch["proprio"].shape == (2, 4, 39) and batch["action"].shape == (2, 3, 28)
