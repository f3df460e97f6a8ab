"""A run is measured beside its floors, and the results reach its report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from armillary.cli import main
from armillary.commands.probe import _rows, probed
from armillary.contracts import build
from armillary.data.dataset import open_data
from armillary.data.episodes import Episodes, EpisodeWriter
from armillary.data.formats.images import Images
from armillary.envs.two_rooms import TwoRooms
from armillary.errors import ConfigError, DataError
from armillary.methods.control import lewm
from armillary.methods.image import ijepa
from armillary.nn.encoder import ConvNet, ViT
from armillary.randomness import numbered
from armillary.recipes.run import Probe, Run
from armillary.report import scores
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
    position = probed(run, folder)[1]["position"]
    assert position["interval"][0] <= position["r2"] <= position["interval"][1]
    assert position.keys() >= {"untrained_r2", "untrained_interval", "raw_r2", "raw_interval", "rmse", "train", "test"}
    assert len(position["rmse"]) == 2 and position["train"] == 60

    moved = replace(dataset.statistics, mean={**dataset.statistics.mean, "image": (0.9, 0.9, 0.9)})
    moved.save(folder / "statistics.json")
    assert probed(run, folder)[1]["position"]["r2"] != position["r2"]


PATCHES = ijepa.Config(
    ViT(image=16, patch=4, width=16, depth=1, heads=2), predictor_width=8, predictor_depth=1, predictor_heads=2
)


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Images of two classes, masks of their bright halves; the checkpoint lies in `tmp_path / "run"`."""
    monkeypatch.setattr("armillary.probes.report.RESAMPLES", 50)
    light = numbered(60, seed=4).uniform("light", 3, 16, 16) * 120
    for i, image in enumerate(light):
        top = i % 2 == 0
        image[:, 8 * (not top) : 16 - 8 * top] += 120
        mask = torch.zeros(16, 16, dtype=torch.uint8)
        mask[8 * (not top) : 16 - 8 * top] = 1
        for below, pixels in (("", image.to(torch.uint8).movedim(0, -1)), ("masks/", mask)):
            path = tmp_path / "data" / f"{below}{'top' if top else 'bottom'}" / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.numpy()).save(path)
    kinds = ("linear", "attentive", "low_shot", "segmentation", "retrieval", "clinical")
    data = Images(path=str(tmp_path / "data"), size=16, mask="masks")
    run = Run(PATCHES, data, steps=2, batch=8, probe=Probe(kinds=kinds, shots=(0.5, 3.0), draws=2))
    train(build(run.method), open_data(data), run.steps, run.batch, folder=tmp_path / "run")
    return run


def test_every_kind_of_probe_stands_beside_its_floors(street: Run, tmp_path: Path):
    found = probed(street, tmp_path / "run")[1]
    labels = {"linear", "attentive", "low_shot_50_percent", "low_shot_3_per_class", "retrieval", "clinical"}
    assert found["label"].keys() == labels | {"chance", "train", "test"}
    parts = [*(found["label"][name] for name in labels), found["mask"]["segmentation"]]
    for part in parts:
        assert part.keys() >= SCORES and part["interval"][0] <= part["score"] <= part["interval"][1]
    assert found["label"]["clinical"]["measure"] == "AUROC" and found["label"]["clinical"]["raw"] == 1.0
    assert found["label"]["low_shot_3_per_class"]["train"] == 6
    assert found["label"]["retrieval"]["recall"].keys() == {"1", "5", "10"}
    assert found["mask"]["segmentation"]["raw"] > 0.9  # each patch is bright or dark
    assert len(found["mask"]["segmentation"]["iou"]) == 2 and 0 < found["mask"]["segmentation"]["foreground_iou"] < 1
    json.dumps(found, allow_nan=False)
    names = [score.name for score in scores.probes({"probe": found})]
    assert {"Segmentation, mean IoU", "Clinical probe, AUROC", "Retrieval, mAP", "Attentive probe, accuracy"} <= set(
        names
    )
    assert any("recall at 5" in score.note for score in scores.probes({"probe": found}))
    assert len(_rows(found)) == 7 and all(len(row) == 5 for row in _rows(found))


def test_pooled_features_are_those_of_the_tokens(street: Run, tmp_path: Path):
    alone = replace(street, probe=replace(street.probe, kinds=("linear",)))
    both = replace(street, probe=replace(street.probe, kinds=("linear", "attentive")))
    one, other = (probed(run, tmp_path / "run")[1]["label"]["linear"] for run in (alone, both))
    assert one["score"] == other["score"] and one["raw"] == other["raw"]


def test_segmentation_without_masks_is_explained(street: Run, tmp_path: Path):
    bare = replace(street, data=replace(street.data, mask=""), probe=replace(street.probe, kinds=("segmentation",)))
    with pytest.raises(DataError, match=r"needs 'mask', the rows hold only .*data\.mask names"):
        probed(bare, tmp_path / "run")


def test_kinds_are_chosen_on_the_command_line(
    run: Path, recipe: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("armillary.probes.report.RESAMPLES", 50)
    flags = ["--probe.kinds", "retrieval", "low_shot", "--probe.shots", "2", "--probe.draws", "2", "--json"]
    assert main(["probe", str(run), "--recipe", recipe, *flags]) == 0
    found = json.loads(capsys.readouterr().out)["probe"]["label"]
    assert found.keys() == {"retrieval", "low_shot_2_per_class", "chance", "train", "test"}
    assert main(["probe", str(run), "--recipe", recipe, "--probe.kinds", "low_shot", "--probe.shots", "50"]) == 2
    assert "50 rows of each class are needed" in capsys.readouterr().err


def test_impossible_settings_are_refused():
    for wrong in ({"kinds": ()}, {"shots": (0.0,)}, {"specificity": 1.0}, {"draws": 0}):
        with pytest.raises(ConfigError, match="of the probe"):
            Probe(**wrong)
