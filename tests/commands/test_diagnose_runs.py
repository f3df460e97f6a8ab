"""`armillary diagnose RUN`: checkpoints ranked without labels; how sure a world model is, and what surprises it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from armillary.cli import main
from armillary.commands import expectations, ranking

TINY = [
    "--method.encoder.widths", "4", "4", "4", "--method.width", "8", "--method.hidden", "16", "--method.depth", "1",
    "--method.heads", "1", "--method.head-width", "8", "--method.directions", "16", "--steps", "4", "--batch", "8",
    "--loop.monitor", "16", "--loop.save-every", "2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sizes: what is tested here is the way, not the numbers."""
    monkeypatch.setattr(ranking, "ROWS", 30)
    monkeypatch.setattr(ranking, "INPUTS", 20)
    monkeypatch.setattr(expectations, "HELD", expectations.Config(steps=20, calibration=0.2, test=0.5))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world model of Two Rooms."""
    place = tmp_path_factory.mktemp("rooms")
    data = ["--data.path", str(place / "episodes")]
    assert main(["collect", "lewm_two_rooms", "--episodes", "20", "--length", "40", *data]) == 0
    small = ["--method.rollout", "2", "--data.window", "3"]
    assert main(["train", "lewm_two_rooms", "--out", str(place / "run"), *data, *TINY, *small]) == 0
    return place / "run"


def found(capsys, *words):
    capsys.readouterr()
    status = main(["diagnose", *map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_checkpoints_of_runs_are_ranked_healthy_ones_first(trained, recipe, tmp_path, capsys):
    other = shutil.copytree(trained, tmp_path / "other")
    status, told = found(capsys, trained, other, "--recipe", recipe)
    rows = told["checkpoints"]
    assert {row["run"] for row in rows} == {str(trained), str(other)} and len(rows) == 2 * len(
        {r["step"] for r in rows}
    )
    assert rows == sorted(rows, key=lambda row: (row["verdict"] != "healthy", -row["score"]))
    assert status == any(row["verdict"] != "healthy" for row in rows if row["step"] == 6)
    assert {"effective_rank", "lidar", "recognition"} <= rows[0]["measures"].keys() and "worlds" not in told
    assert main(["diagnose", str(trained), "--recipe", recipe]) == status
    assert "lidar" in capsys.readouterr().out


def test_a_world_model_is_asked_how_sure_it_is_and_what_surprises_it(rooms, capsys):
    status, told = found(capsys, rooms, "--episodes", "40", "--pairs", "30")
    part = told["worlds"][str(rooms)]
    assert status in (0, 1) and part["uncertainty"].keys() == {"quantiles", "ensemble"}
    for name, row in part["uncertainty"].items():
        assert row["episodes"] == 20 and 0.7 < row["coverage"]["0.9"]["value"] <= 1
        assert (row["disagreement"] is not None) == (name == "ensemble")
    assert {"teleport", "color", "all"} <= part["surprise"].keys()
    assert part["surprise"]["teleport"]["pairs"] == 30
    kept = json.loads((rooms / "report.json").read_text())
    assert kept["surprise"] == part["surprise"], "and it is kept in the report"
    again = found(capsys, rooms, "--episodes", "40", "--pairs", "30")[1]
    assert again["worlds"] == told["worlds"], "the same numbers twice"


def test_generated_physics_need_no_files(tmp_path, capsys):
    words = ["--method.history", "3", "--method.rollout", "2", "--data.count", "40", "--data.frames", "12"]
    run = tmp_path / "physics"
    assert main(["train", "lewm_physics", "--out", str(run), *TINY, *words]) == 0
    told = found(capsys, run, "--episodes", "30", "--pairs", "6")[1]["worlds"][str(run)]
    kinds = {"permanence", "continuity", "solidity", "gravity", "color"}
    assert told["surprise"].keys() == {*kinds, "all"} and told["surprise"]["all"]["pairs"] == 30


def test_wrong_words_are_answered(rooms, tmp_path, capsys):
    for words, said in (
        ([rooms, rooms], "named twice"), ([rooms, "--episodes", "3"], "20 or more"), ([tmp_path], "is no run"),
        ([rooms, rooms.parent / "episodes.npy"], "2 files"),
    ):  # fmt: skip
        assert main(["diagnose", *map(str, words)]) == 2
        assert said in capsys.readouterr().err
