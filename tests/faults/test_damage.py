"""Every truncation and every flipped bit of a checkpoint is noticed, and the run goes on from the one before."""

from __future__ import annotations

import logging
import random
import shutil
from pathlib import Path

import pytest

from armillary.errors import CheckpointError
from armillary.training import checkpoint as disk
from armillary.training.loop import train

from .worker import LOOP, OPTIM, STEPS, assert_same_end, tiny

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


def trained(folder: Path, steps: int = STEPS, resume: bool = False):
    method, rows = tiny("control.lewm")
    return train(method, rows, steps, 8, OPTIM, LOOP, folder=folder, resume=resume)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trained(folder)
    return folder


@pytest.fixture
def newest(run, tmp_path) -> Path:
    return Path(shutil.copytree(disk.newest(run)[0], tmp_path / "step-00000001"))


def flipped(path: Path, bit: int) -> str:
    """What is noticed when a bit of a file is flipped; the file is mended again."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))
        file.flush()
        noticed = disk.damage(path.parent)
        file.seek(bit // 8)
        file.write(bytes([byte]))
    return noticed


def truncated(path: Path, size: int) -> str:
    """What is noticed when a file ends after `size` bytes; the file is mended again."""
    whole = path.read_bytes()
    path.write_bytes(whole[:size])
    noticed = disk.damage(path.parent)
    path.write_bytes(whole)
    return noticed


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits_and_truncations_are_noticed(newest, name):
    dice, path = random.Random(name), newest / name
    size = path.stat().st_size
    assert all(flipped(path, dice.randrange(8 * size)) for _ in range(40))
    assert all(truncated(path, size * percent // 100) for percent in range(0, 100, 10))
    assert truncated(path, size - 1)
    assert disk.damage(newest) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_thousand_flipped_bits_and_every_percent_are_noticed(newest, name):
    dice, path = random.Random(name), newest / name
    size = path.stat().st_size
    assert all(flipped(path, dice.randrange(8 * size)) for _ in range(1000))
    assert all(truncated(path, size * percent // 100) for percent in range(100))
    assert disk.damage(newest) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["manifest.json", "state.json"])
def test_every_single_bit_of_the_small_files_is_noticed(newest, name):
    path = newest / name
    assert all(flipped(path, bit) for bit in range(8 * path.stat().st_size))


@pytest.mark.parametrize("name", FILES)
def test_longer_and_missing_files_are_noticed(newest, name):
    path = newest / name
    whole = path.read_bytes()
    path.write_bytes(whole + b" ")
    assert disk.damage(newest)
    path.write_bytes(b"")
    assert disk.damage(newest)
    path.unlink()
    assert "missing" in disk.damage(newest)


def test_files_of_two_checkpoints_do_not_mix(run, newest):
    older = disk.checkpoints(run)[-2]
    shutil.copy(older / "model.safetensors", newest / "model.safetensors")
    assert "model.safetensors does not match" in disk.damage(newest)


def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before(run, tmp_path, caplog):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    flipping = disk.newest(folder)[0] / "optimizer.safetensors"
    data = bytearray(flipping.read_bytes())
    data[len(data) // 2] ^= 1
    flipping.write_bytes(data)
    with caplog.at_level(logging.WARNING, logger="armillary.training"):
        outcome = trained(folder, resume=True)
    assert outcome.resumed == disk.step_of(disk.checkpoints(run)[-2])
    assert "optimizer.safetensors" in outcome.damaged[0]
    assert outcome.damaged[0] in caplog.text
    shutil.rmtree(folder / "checkpoints" / f"damaged-step-{STEPS:08d}")
    assert_same_end(run, folder)


def test_a_run_without_an_undamaged_checkpoint_never_starts_at_zero(run, tmp_path):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    for path in disk.checkpoints(folder):
        (path / "state.json").write_text("{}")
    before = (folder / "log.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=r"no checkpoint to go on from.*state.json.*--fresh"):
        trained(folder, resume=True)
    assert (folder / "log.jsonl").read_bytes() == before
