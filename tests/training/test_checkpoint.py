"""Checkpoints are complete or absent, and no bit of one changes unnoticed. The heavier attacks are in tests/faults."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from armillary.errors import CheckpointError
from armillary.training import checkpoint as disk
from armillary.training.checkpoint import Checkpoint
from armillary.training.optim import Optim, optimizer_of

from .rows import tiny


def saved(run: Path, step: int = 1, keep: int = 2) -> Path:
    tensors = {"weight": torch.full((3, 2), float(step)), "count": torch.tensor(step)}
    return disk.write(
        run, Checkpoint(step, tensors, {"weight/exp_avg": torch.ones(3, 2)}, {"format": 1, "step": step}), keep
    )


def test_what_is_read_is_what_was_written(tmp_path):
    path = saved(tmp_path, 7)
    assert path.name == "step-00000007"
    assert disk.damage(path) == ""
    back = disk.read(path)
    assert back.step == 7
    assert torch.equal(back.model["weight"], torch.full((3, 2), 7.0))
    assert back.model["count"].dtype == torch.int64
    assert torch.equal(back.optimizer["weight/exp_avg"], torch.ones(3, 2))


def test_no_file_is_a_pickle(tmp_path):
    files = sorted(saved(tmp_path).iterdir())
    assert [f.name for f in files] == ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]
    for file in files:
        head = file.read_bytes()
        assert not head.startswith((b"\x80", b"PK"))
        if file.suffix == ".json":
            json.loads(head)


def test_the_newest_are_kept(tmp_path):
    for step in (1, 2, 10, 9_999_999, 100_000_000):  # the last has more digits than the others
        saved(tmp_path, step, keep=3)
    assert [disk.step_of(path) for path in disk.checkpoints(tmp_path)] == [10, 9_999_999, 100_000_000]
    assert disk.step_of(disk.newest(tmp_path)[0]) == 100_000_000


def test_a_damaged_newest_one_is_reported_set_aside_and_passed_over(tmp_path, caplog):
    for step in (1, 2):
        saved(tmp_path, step)
    with (tmp_path / "checkpoints" / "step-00000002" / "model.safetensors").open("r+b") as file:
        file.seek(100)
        file.write(b"?")
    with caplog.at_level(logging.WARNING, logger="armillary.training"):
        path, reports = disk.recover(tmp_path)
    assert disk.step_of(path) == 1
    assert "model.safetensors does not match its SHA-256" in reports[0]
    assert reports[0] in caplog.text
    assert (tmp_path / "checkpoints" / "damaged-step-00000002").is_dir()
    saved(tmp_path, 3)
    assert [disk.step_of(path) for path in disk.checkpoints(tmp_path)] == [
        1,
        3,
    ]  # the damaged one is not of the two kept


def test_nothing_undamaged_is_an_error_that_says_why(tmp_path):
    saved(tmp_path, 1)
    (tmp_path / "checkpoints" / "step-00000001" / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"state.json is missing.*--fresh"):
        disk.newest(tmp_path)


def test_what_an_interrupted_save_left_is_swept_and_never_read(tmp_path):
    saved(tmp_path, 1)
    half = tmp_path / "checkpoints" / ".tmp-step-00000002"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert disk.step_of(disk.newest(tmp_path)[0]) == 1
    saved(tmp_path, 3)
    assert not half.exists()


def test_a_newer_format_is_refused_in_words(tmp_path):
    path = disk.write(tmp_path, Checkpoint(1, {}, {}, {"format": disk.FORMAT + 1, "step": 1}))
    with pytest.raises(CheckpointError, match="use a newer armillary"):
        disk.read(path)


def test_a_manifest_cannot_name_files_elsewhere(tmp_path):
    path = saved(tmp_path, 1)
    manifest = json.loads((path / "manifest.json").read_bytes())["files"]
    manifest["../../outside"] = manifest.pop("state.json")
    (path / "manifest.json").write_bytes(disk._sealed(manifest))
    assert disk.damage(path) == "manifest.json does not match its own checksum"


def test_one_writer_only_and_the_lock_dies_with_its_process(tmp_path):
    with disk.lock(tmp_path), pytest.raises(CheckpointError, match=f"process {os.getpid()}"), disk.lock(tmp_path):
        pass
    code = (
        "import os, pathlib, signal, sys\n"
        "from armillary.training.checkpoint import lock\n"
        "with lock(pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    dead = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60)
    assert dead.returncode == -9
    assert (tmp_path / ".lock").read_text() not in ("", str(os.getpid()))
    with disk.lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_method_and_optimizer_come_back_in_every_layout(tmp_path):
    """Moments of channels-last parameters must lie as these do: the fused optimizer walks through memory."""
    method, rows = tiny("control.lewm")
    optimizer = optimizer_of(method, Optim(lr=0.1))
    batch = rows.batch(torch.arange(8))
    for p in method.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    path = disk.write(tmp_path, disk.capture(1, method, optimizer, {}))
    other, _ = tiny("control.lewm")
    again = optimizer_of(other, Optim(lr=0.1))
    disk.restore(disk.read(path), other, again, path)
    for p, q in zip(method.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        for kind, value in optimizer.state[p].items():
            assert torch.equal(value, again.state[q][kind])
            assert value.stride() == again.state[q][kind].stride()
    assert any(p.ndim == 4 and not p.is_contiguous() for p in other.parameters())
    assert disk.weights(tmp_path, other) == 1
    assert torch.equal(method.encode(batch).x, other.encode(batch).x)


def test_weights_of_another_shape_are_refused_by_name(tmp_path):
    method, _ = tiny("image.ijepa")
    disk.write(tmp_path, disk.capture(1, method, optimizer_of(method, Optim()), {}))
    other, _ = tiny("image.ijepa", predictor_width=24)
    with pytest.raises(CheckpointError, match=r"does not fit IJEPA.*predictor"):
        disk.weights(tmp_path, other)


def test_tied_parameters_are_saved(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    module[1].weight = module[0].weight
    disk.write(tmp_path, disk.capture(1, module, torch.optim.SGD(module.parameters()), {}))
    other = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    other[1].weight = other[0].weight
    assert disk.weights(tmp_path, other) == 1
    assert torch.equal(other[1].weight, module[0].weight)
