"""Methods learn: above the untrained encoder by intervals. Minutes each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from armillary.cli import main

DATA = Path(__file__).parents[3] / "shared" / "data"
ROOMS = ["--data.window", "9", "--loop.diagnose-every", "50", "--loop.save-every", "1000"]

pytestmark = pytest.mark.slow


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def test_a_world_model_learns_the_position_and_what_actions_do(tmp_path: Path):
    run, rooms = tmp_path / "run", tmp_path / "rooms"
    assert main(["collect", "lewm_two_rooms", "--episodes", "150", "--data.path", str(rooms)]) == 0
    assert (
        main(["train", "lewm_two_rooms", "--out", str(run), "--data.path", str(rooms), "--steps", "300", *ROOMS]) == 0
    )
    assert main(["probe", str(run), "--probe.states", "1000"]) == 0
    told = report(run)
    position = told["probe"]["position"]
    assert position["interval"][0] > position["untrained_interval"][1] and position["r2"] > 0.9
    assert told["verdict"] == "healthy"


@pytest.mark.parametrize(
    ("recipe", "data", "steps", "probe"),
    [("ijepa_cifar10", "cifar10", 1500, "knn"), ("point_jepa_ldraw", "ldraw_shapes", 1500, "linear")],
)
def test_representations_gain_over_the_untrained_encoder(
    recipe: str, data: str, steps: int, probe: str, tmp_path: Path
):
    if not (DATA / data).is_dir():
        pytest.skip(f"{DATA / data} is not beside this checkout")
    run = tmp_path / "run"
    assert main(["train", recipe, "--out", str(run), "--data.path", str(DATA / data), "--steps", str(steps)]) == 0
    assert main(["probe", str(run)]) == 0
    assert report(run)["probe"]["label"][probe]["difference_interval"][0] > 0
