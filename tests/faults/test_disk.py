"""A disk that is full, closed or in use ends a run with words; what was saved stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from armillary.errors import CheckpointError
from armillary.training import checkpoint as disk
from armillary.training.loop import train

from .worker import LOOP, OPTIM, STEPS, assert_same_end, finish, last_step, tiny


def message(folder: Path) -> str:
    return (folder.parent / f"{folder.name}.error").read_text()


def interrupted(folder: Path) -> list[str]:
    """A run that died in its third save; the names of what it has saved."""
    assert finish(folder, "control.lewm", event=40) == -9
    return [path.name for path in disk.checkpoints(folder)]


def test_a_full_disk_stops_the_save_and_leaves_the_old_checkpoints(tmp_path, whole):
    folder = tmp_path / "run"
    names = interrupted(folder)
    assert len(names) >= 2
    assert finish(folder, "control.lewm", resume=True, file_limit=8192) == 3
    assert "could not be written: File too large" in message(folder)
    assert names[-1] in message(folder)
    assert [path.name for path in disk.checkpoints(folder)] == names
    assert disk.newest(folder)[1] == []
    assert all(p.name.startswith("step-") for p in (folder / "checkpoints").iterdir())  # no part of a file is left
    assert finish(folder, "control.lewm", resume=True) == 0
    assert_same_end(whole["control.lewm"], folder)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_in_the_log_stops_the_run_and_resuming_mends_it(tmp_path, whole):
    folder = tmp_path / "run"

    def fill(row: dict) -> None:
        log = str(folder / "log.jsonl")
        open_here = [int(p.name) for p in Path("/proc/self/fd").iterdir() if p.exists() and os.readlink(p) == log]
        if row["step"] == 10:
            with Path("/dev/full").open("wb") as full:
                os.dup2(full.fileno(), open_here[0])

    method, rows = tiny("control.lewm", dropout=0.2)
    with pytest.raises(CheckpointError, match=r"log.jsonl could not be written: No space left on device.*--resume"):
        train(method, rows, STEPS, 8, OPTIM, LOOP, folder=folder, on_log=fill)
    assert last_step(folder) == 10
    assert finish(folder, "control.lewm", resume=True) == 0
    assert_same_end(whole["control.lewm"], folder)


def test_a_disk_that_is_full_from_the_start_is_told_before_the_first_step(tmp_path):
    folder = tmp_path / "run"
    assert finish(folder, "control.lewm", file_limit=8192) == 3
    assert "step-00000000 could not be written" in message(folder)
    assert last_step(folder) == 0
    assert finish(folder, "control.lewm") == 0  # nothing is there that would need --resume or --fresh


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    method, rows = tiny("image.ijepa")
    with pytest.raises(CheckpointError, match=r"file/run cannot be written: Not a directory.*--out"):
        train(method, rows, 1, 8, loop=LOOP, folder=tmp_path / "file" / "run")


def test_checkpoints_that_cannot_be_made_are_named(tmp_path):
    """A file where the folder of checkpoints should be; works for every user."""
    (tmp_path / "checkpoints").write_text("")
    method, rows = tiny("image.ijepa")
    with pytest.raises(CheckpointError, match="step-00000000 could not be written"):
        train(method, rows, 1, 8, loop=LOOP, folder=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    method, rows = tiny("image.ijepa")
    with pytest.raises(CheckpointError, match="Permission denied"):
        train(method, rows, 1, 8, loop=LOOP, folder=tmp_path / "run")


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path):
    method, rows = tiny("image.ijepa")
    with disk.lock(tmp_path), pytest.raises(CheckpointError, match=f"process {os.getpid()}"):
        train(method, rows, 1, 8, loop=LOOP, folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]
