"""A run is measured beside its floors, and the results reach its report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from armillary.cli import main
from armillary.commands.probe import probed
from armillary.contracts import build
from armillary.data.dataset import open_data
from armillary.data.episodes import Episodes, EpisodeWriter
from armillary.envs.two_rooms import TwoRooms
from armillary.methods.control import lewm
from armillary.nn.encoder import ConvNet
from armillary.randomness import numbered
from armillary.recipes.run import Probe, Run
from armillary.training.loop import train

SCORES = {"score", "interval", "untrained", "untrained_interval", "raw", "raw_interval", "difference",
          "difference_interval", "settings"}  # fmt: skip


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_labels_are_probed_beside_the_untrained_encoder_and_the_raw_input(
    run: Path, recipe: str, capsys: pytest.CaptureFixture
):
    assert main(["probe", str(run), "--recipe", recipe, "--json", "--probe.neighbors", "3"]) == 0
    found = json.loads(capsys.readouterr().out)["probe"]
    assert json.loads((run / "report.json").read_text())["probe"] == found
    assert found["label"].keys() == {"linear", "knn", "chance", "train", "test"}
    for kind in ("linear", "knn"):
        part = found["label"][kind]
        assert part.keys() == SCORES
        assert part["interval"][0] <= part["score"] <= part["interval"][1]
    assert found["label"]["linear"]["raw"] > found["label"]["chance"]  # dark and bright are told apart by any pixel
    assert found["label"]["knn"]["settings"]["k"] == 3
    assert found["label"]["train"] + found["label"]["test"] == 60
    seconds = json.loads((run / "report.json").read_text())["seconds"]
    assert seconds["total"] == pytest.approx(seconds["train"] + seconds["probe"])


def test_a_run_of_the_users_own_file_is_only_opened_when_the_file_is_named(run: Path, capsys: pytest.CaptureFixture):
    assert main(["probe", str(run)]) == 2
    assert "--recipe" in capsys.readouterr().err


def test_damaged_weights_are_not_measured(run: Path, recipe: str, capsys: pytest.CaptureFixture):
    for path in run.glob("checkpoints/*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    assert main(["probe", str(run), "--recipe", recipe]) == 2
    assert "damaged" in capsys.readouterr().err


def test_the_page_is_written_again_from_what_is_there(run: Path, capsys: pytest.CaptureFixture):
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert (run / "report.html").is_file()


def test_the_position_in_a_world_is_read_with_the_statistics_of_the_run(tmp_path: Path):
    world = TwoRooms(size=32, wall=16.0, door=10.0, margin=2.0, border=1.0)
    store, folder = tmp_path / "store", tmp_path / "run"
    worlds = world.open(12)
    seen, actions = [worlds.reset(0)], worlds.wander(numbered(12), 9)
    for t in range(9):
        seen.append(worlds.step(actions[:, t])[0])
    with EpisodeWriter(store) as writer:
        writer.append(
            {**{key: torch.stack([s[key] for s in seen], 1) for key in ("image", "state")}, "action": actions}
        )
    config = lewm.Config(
        ConvNet(image=32, widths=(8, 8)), width=8, action=2, history=1, depth=1, heads=1, head_width=8, hidden=16,
        dropout=0.0, directions=16,
    )  # fmt: skip
    data = Episodes(str(store), window=3, test_share=0.25)
    run = Run(config, data, steps=2, batch=8, probe=Probe(states=60), world=world)
    dataset = open_data(data)
    train(build(config), dataset, run.steps, run.batch, folder=folder)
    dataset.statistics.save(folder / "statistics.json")
    position = probed(run, folder)["position"]
    assert position["interval"][0] <= position["r2"] <= position["interval"][1]
    assert position.keys() >= {"untrained_r2", "untrained_interval", "raw_r2", "raw_interval", "rmse", "train", "test"}
    assert len(position["rmse"]) == 2 and position["train"] == 60

    moved = replace(dataset.statistics, mean={**dataset.statistics.mean, "image": (0.9, 0.9, 0.9)})
    moved.save(folder / "statistics.json")
    assert probed(run, folder)["position"]["r2"] != position["r2"]
