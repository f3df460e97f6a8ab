"""A run that is killed at any moment and resumed ends as the one that was left alone, to the last bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from armillary.training import checkpoint as disk
from armillary.training.checkpoint import Checkpoint

from . import worker
from .worker import METHODS, SAVE_EVERY, STEPS, assert_same_end, die_at, finish, last_step, start


def wait_for_step(folder: Path, step: int, process) -> None:
    end = time.monotonic() + 60
    while last_step(folder) < step and process.exitcode is None and time.monotonic() < end:
        time.sleep(0.001)


def killed_at_random(folder: Path, name: str, dice: random.Random, resume: bool) -> None:
    """SIGKILL from outside after a random row and a random wait, or at a random file operation of the run."""
    if dice.random() < 0.5:
        at = worker.last_step(folder) if resume else 0
        process = start(folder, name, resume)
        wait_for_step(folder, dice.randint(at, STEPS - 10), process)
        time.sleep(dice.uniform(0, 0.02))
        process.kill()
        process.join(60)
        code = process.exitcode
    else:
        code = finish(folder, name, resume, event=dice.randint(8, 60))
    assert code == -signal.SIGKILL, f"the process was not killed but ended with {code}"


def kill_and_resume(folder: Path, whole: dict[str, Path], seed: int) -> None:
    dice = random.Random(seed)
    name = METHODS[seed % len(METHODS)]
    killed_at_random(folder, name, dice, resume=False)
    begun = bool(disk.checkpoints(folder)) if (folder / "checkpoints").exists() else False
    assert finish(folder, name, resume=begun) == 0
    assert_same_end(whole[name], folder)


@pytest.mark.parametrize("seed", range(3))
def test_kill_nine_at_a_random_moment(tmp_path, whole, seed):
    kill_and_resume(tmp_path / "run", whole, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_kill_nine_at_twenty_random_moments(tmp_path, whole, seed):
    kill_and_resume(tmp_path / "run", whole, seed)


def test_killed_again_and_again_inside_saves(tmp_path, whole):
    """Each life dies while it writes a checkpoint: before the manifest, before the rename, while old ones go."""
    folder, inside = tmp_path / "run", 0
    for life, event in enumerate((20, 24, 28)):
        assert finish(folder, "control.lewm", resume=life > 0, event=event) == -signal.SIGKILL
        inside += any(p.name.startswith(".tmp-") for p in (folder / "checkpoints").iterdir())
    assert inside >= 2
    assert finish(folder, "control.lewm", resume=True) == 0
    assert_same_end(whole["control.lewm"], folder)


def test_killed_before_every_file_operation_of_a_save(tmp_path):
    """Whatever instant a save dies at, the newest checkpoint is a whole one, the old or the new, and saving goes on."""
    kinds, deaths = set(), 0
    for event in range(1, 100):
        run = tmp_path / str(event)
        for step in (1, 2):
            disk.write(run, snapshot(step))
        child = os.fork()
        if child == 0:
            try:
                die_at(event, run)
                disk.write(run, snapshot(3))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        path, reports = disk.newest(run)
        assert reports == []
        assert disk.step_of(path) in (2, 3)
        assert torch.equal(disk.read(path).model["w"], snapshot(disk.step_of(path)).model["w"])
        disk.write(run, snapshot(4))
        assert not [p for p in (run / "checkpoints").iterdir() if not p.name.startswith("step-")]
        if os.WIFEXITED(status):
            break
        kinds.add(disk.step_of(path))
        deaths += 1
        shutil.rmtree(run)
    assert deaths >= 10
    assert kinds == {2, 3}


def snapshot(step: int) -> Checkpoint:
    return Checkpoint(
        step, {"w": torch.full((50,), float(step))}, {"w/exp_avg": torch.ones(50)}, {"format": 1, "step": step}
    )


@pytest.mark.parametrize(("how", "after"), [(signal.SIGTERM, 2), (signal.SIGINT, 7), (signal.SIGTERM, 13)])
def test_a_signal_from_outside_ends_the_run_within_a_step_with_a_checkpoint(tmp_path, whole, how, after):
    folder = tmp_path / "run"
    process = start(folder, "image.ijepa")
    wait_for_step(folder, after, process)
    seen = last_step(folder)
    os.kill(process.pid, how)
    process.join(60)
    assert process.exitcode == 128 + how
    stopped = disk.step_of(disk.newest(folder)[0])
    assert after <= stopped == last_step(folder)
    assert stopped - seen <= SAVE_EVERY or stopped < STEPS  # it did not run on
    assert finish(folder, "image.ijepa", resume=True) == 0
    assert_same_end(whole["image.ijepa"], folder)
