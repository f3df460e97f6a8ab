"""A run is begun, continued and set aside; nothing is lost or started silently."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from armillary.cli import main
from armillary.commands import workspace
from armillary.errors import ConfigError
from armillary.training.checkpoint import lock

REPORT = {"recipe", "method", "seed", "commit", "machine", "verdict", "training", "diagnostics", "seconds"}


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


def copy(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to / "run"))


def test_a_method_in_a_file_of_the_users_own_is_trained(trained: Path, recipe: str):
    told = json.loads((trained / "run.json").read_text())
    assert told["recipe"] == recipe and len(told["sha256"]) == 64
    assert told["values"]["steps"] == 6 and told["values"]["method"]["width"] == 4
    assert steps(trained) == [1, 2, 3, 4, 5, 6]
    report = json.loads((trained / "report.json").read_text())
    assert report.keys() >= REPORT
    assert report["training"]["steps"] == 6 and report["training"]["samples"] == 48
    assert report["seconds"]["total"] == pytest.approx(report["seconds"]["train"])
    assert (trained / "report.html").stat().st_size > 1000


def test_a_run_that_exists_is_not_touched(
    trained: Path, recipe: str, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
):
    folder = copy(trained, tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["train", recipe, "--out", str(folder), *flags]) == 2
    shown = capsys.readouterr().err
    assert "--resume" in shown and "--fresh" in shown and "step 6" in shown
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_fresh_moves_the_old_runs_aside(trained: Path, recipe: str, flags: list[str], tmp_path: Path):
    folder = copy(trained, tmp_path)
    for number in (1, 2):
        assert main(["train", recipe, "--fresh", "--out", str(folder), *flags, "--seed", str(number)]) == 0
        assert (folder.with_name(f"run.{number}") / "log.jsonl").is_file()
    seeds = [json.loads((tmp_path / name / "run.json").read_text())["seed"] for name in ("run.1", "run.2", "run")]
    assert seeds == [0, 1, 2]


def test_fresh_leaves_a_run_alone_that_is_still_written(
    trained: Path, recipe: str, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
):
    folder = copy(trained, tmp_path)
    with lock(folder):
        assert main(["train", recipe, "--fresh", "--out", str(folder), *flags]) == 2
    assert "is being written by process" in capsys.readouterr().err
    assert steps(folder) == [1, 2, 3, 4, 5, 6] and not folder.with_name("run.1").exists()


def test_a_refused_resume_changes_no_setting(trained: Path, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = copy(trained, tmp_path)
    before = (folder / "run.json").read_bytes()
    for wrong in (["--loop.accumulate", "2"], ["--data.path", str(tmp_path / "nothing")], ["--steps", "3"]):
        assert main(["train", recipe, "--resume", "--out", str(folder), "--steps", "8", *wrong]) == 2, wrong
        assert (folder / "run.json").read_bytes() == before
    assert "beyond --steps 3" in capsys.readouterr().err
    with lock(folder):
        assert main(["train", recipe, "--resume", "--out", str(folder), "--optim.lr", "0.5"]) == 2
    assert (folder / "run.json").read_bytes() == before


def test_measurements_of_older_weights_leave_the_report(trained: Path, recipe: str, tmp_path: Path):
    folder = copy(trained, tmp_path)
    assert main(["probe", str(folder), "--recipe=" + recipe]) == 0
    assert json.loads((folder / "report.json").read_text())["measured"]["step"] == 6
    assert main(["train", recipe, "--resume", "--out", str(folder), "--steps", "8"]) == 0
    report = json.loads((folder / "report.json").read_text())
    assert report["training"]["steps"] == 8
    assert not {"probe", "measured"} & report.keys() and "probe" not in report["seconds"]


def test_a_folder_with_something_else_is_left_alone(recipe: str, flags: list[str], tmp_path: Path):
    (tmp_path / "letter.txt").write_text("dear")
    for flag in ([], ["--fresh"]):
        assert main(["train", recipe, "--out", str(tmp_path), *flag, *flags]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_resume_needs_a_run(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["train", recipe, "--resume", "--out", str(tmp_path / "none")]) == 2
    assert "no run" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_resume_takes_the_settings_of_the_run_and_goes_on(trained: Path, recipe: str, tmp_path: Path):
    folder = copy(trained, tmp_path)
    assert main(["train", recipe, "--resume", "--out", str(folder), "--steps", "9"]) == 0
    assert steps(folder) == list(range(1, 10))
    values = json.loads((folder / "run.json").read_text())["values"]
    assert values["steps"] == 9 and values["method"]["width"] == 4 and values["batch"] == 8
    assert json.loads((folder / "report.json").read_text())["training"]["resumed"] == 6


def test_resume_refuses_flags_that_make_it_another_run(
    trained: Path, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    folder = copy(trained, tmp_path)
    before = (folder / "run.json").read_text()
    assert main(["train", recipe, "--resume", "--out", str(folder), "--method.width", "8"]) == 2
    assert "another method" in capsys.readouterr().err
    assert (folder / "run.json").read_text() == before


def test_resume_refuses_a_file_that_has_changed(
    trained: Path, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    folder, path = copy(trained, tmp_path), tmp_path / "my_method.py"
    path.write_text(Path(recipe.partition(":")[0]).read_text() + "\n# a change\n")
    assert main(["train", f"{path}:recipe", "--resume", "--out", str(folder)]) == 2
    assert "has changed" in capsys.readouterr().err


def test_resume_and_fresh_exclude_each_other(recipe: str, tmp_path: Path):
    assert main(["train", recipe, "--resume", "--fresh", "--out", str(tmp_path / "run")]) == 2


def test_after_missing_data_the_same_command_with_the_right_path_works(
    recipe: str, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
):
    folder = tmp_path / "run"
    assert main(["train", recipe, "--out", str(folder), *flags, "--data.path", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (folder / "checkpoints").exists()
    assert main(["train", recipe, "--out", str(folder), *flags]) == 0
    assert steps(folder) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def recipe() -> Run: return 1", "name 'Run' is not defined|returned int"),
        ("from armillary import Run\ndef recipe() -> Run: return 1", "returned int"),
        ("def recipe( -> Run:", "line 1"),
        ("def other(): ...", "no recipe"),
    ],
)
def test_a_wrong_file_is_explained(text: str, message: str, tmp_path: Path):
    (tmp_path / "mine.py").write_text("from __future__ import annotations\n" * (message != "line 1") + text)
    with pytest.raises(ConfigError, match=message):
        workspace.find(f"{tmp_path / 'mine.py'}:recipe")


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="there is no file"):
        workspace.find(f"{tmp_path}/absent.py:recipe")


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


def test_a_terminated_run_is_saved_and_says_how_to_go_on(recipe: str, flags: list[str], tmp_path: Path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "armillary", "train", recipe, "--out", str(folder), *flags, "--steps", "1000000"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (folder / "log.jsonl").is_file() or len(steps(folder)) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "--resume" in shown
    assert main(["show", str(folder)]) == 0


@pytest.mark.slow
def test_two_processes_train_one_run(recipe: str, flags: list[str], tmp_path: Path):
    folder = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "armillary", "train", recipe, "--out", str(folder), *flags]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert steps(folder) == [1, 2, 3, 4, 5, 6]
    assert json.loads((folder / "run.json").read_text())["processes"] == 2
    assert done.stdout.count("report.html") == 1
