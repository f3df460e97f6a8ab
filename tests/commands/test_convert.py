"""`armillary convert` end to end: a report for readers and for programs, mistakes in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from armillary.cli import main


@pytest.fixture
def maze(tmp_path: Path) -> Path:
    """Ten episodes of a point that is pushed about, in OGBench's layout."""
    generator = np.random.default_rng(0)
    action = generator.uniform(-1, 1, (10, 20, 2)).astype(np.float32)
    position = np.cumsum(np.concatenate([np.zeros((10, 1, 2)), action[:, :-1]], 1), 1).astype(np.float32)
    ends = np.tile(np.arange(20) == 19, 10)
    path = tmp_path / "maze.npz"
    np.savez(path, observations=position.reshape(-1, 2), actions=action.reshape(-1, 2), terminals=ends)
    return path


def test_the_report_is_printed_and_the_store_is_there(maze: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["convert", str(maze), str(tmp_path / "store"), "--frame-rate", "10", "--validation", "0.3"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "ogbench",
        "observations",
        "10 of 20 to 20 frames",
        "10 a second",
        "3 episodes",
        "a1",
        "nothing looks",
    ):
        assert part in shown
    assert {path.name for path in (tmp_path / "store").iterdir()} >= {"index.json", "actions.json", "report.json"}


def test_json_is_the_report(maze: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["convert", str(maze), str(tmp_path / "store"), "--state", "observations", "--shift", "1", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["source"]["shift"] == 1 and told["alignment"]["best"] == -1 and "--shift -1" in told["warnings"][0]


def test_a_second_run_is_refused_unless_it_is_to_be_fresh(maze: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["convert", str(maze), str(tmp_path / "store")]
    assert main(words) == 0
    assert main(words) == 2
    assert "--fresh" in capsys.readouterr().err
    assert main([*words, "--fresh"]) == 0
    assert (tmp_path / "store.1" / "index.json").is_file()


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--image", "pixels"], "no column 'pixels' for image"),
        (["--format", "minary"], "did you mean minari"),
        (["--shift", "3"], "shift is 3"),
        (["--shortest", "50"], "lower --shortest"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    maze: Path, tmp_path: Path, capsys: pytest.CaptureFixture, flags: list[str], said: str
):
    try:
        status = main(["convert", str(maze), str(tmp_path / "store"), *flags])
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2 and said in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "store").exists() and not (tmp_path / "store.part").exists()


def test_the_data_are_not_overwritten(maze: Path, capsys: pytest.CaptureFixture):
    assert main(["convert", str(maze), str(maze)]) == 2
    assert "is the data itself" in capsys.readouterr().err
