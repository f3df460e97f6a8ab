"""The loop learns, stops, resumes and refuses as it says."""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from armillary.contracts import Method
from armillary.errors import CheckpointError, CollapseError, ConfigError
from armillary.training import checkpoint as disk
from armillary.training.loop import Loop, Outcome, train
from armillary.training.optim import Optim

from .rows import Rows, tiny

LOOP = Loop(precision="fp32", log_every=1, save_every=4, monitor=16, diagnose_every=5)
OPTIM = Optim(lr=1e-3, final_weight_decay=0.1, clip=1.0)
TIMES = {"samples_per_second", "seconds"}


def rows_of(folder: Path) -> list[dict]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]


def same(one: Method, other: Method) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def run(name: str, steps: int = 10, batch: int = 8, loop: Loop = LOOP, folder=None, **more) -> tuple[Method, Outcome]:
    changes = {"dropout": 0.2} if name == "control.lewm" else {}
    method, rows = tiny(name, **changes)
    return method, train(method, rows, steps, batch, OPTIM, loop, folder=folder, **more)


def interrupt(at: int, how: int = signal.SIGTERM):
    """An `on_log` that sends this process a signal at a step."""

    def on_log(row: dict) -> None:
        if row["step"] == at:
            os.kill(os.getpid(), how)

    return on_log


@pytest.mark.parametrize("name", ["image.ijepa", "control.lewm"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_within_a_step_and_the_resumed_run_is_the_uninterrupted_one(tmp_path, name, how):
    whole, outcome = run(name, folder=tmp_path / "whole")
    before = signal.getsignal(how)
    _, cut = run(name, folder=tmp_path / "cut", on_log=interrupt(6, how))
    assert cut.stopped == signal.Signals(how).name
    assert cut.steps <= 7
    assert (tmp_path / "cut" / "checkpoints" / f"step-{cut.steps:08d}").is_dir()
    assert signal.getsignal(how) is before
    again, resumed = run(name, folder=tmp_path / "cut", resume=True)
    assert resumed.resumed == cut.steps
    assert resumed.steps == outcome.steps == 10
    assert same(whole, again)
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "cut")


def test_the_outcome_and_the_log_say_what_happened(tmp_path):
    seen: list[dict] = []
    method, outcome = run("control.lewm", folder=tmp_path, on_log=seen.append)
    assert not method.training
    assert (outcome.steps, outcome.samples, outcome.skipped, outcome.stopped) == (10, 80, 0, "")
    assert outcome.parameters == sum(p.numel() for p in method.parameters())
    assert outcome.seconds > 0
    assert outcome.cpu_seconds > 0
    assert outcome.health is not None
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows == seen
    assert [row["step"] for row in rows] == list(range(1, 11))
    for row in rows:
        weighted = sum(method.weights[name] * value for name, value in row["terms"].items())
        assert row["energy"] == pytest.approx(weighted, rel=1e-5)
        assert row["learning_rate"] == OPTIM.rate(row["step"], 10)
        assert row["weight_decay"] == OPTIM.decay(row["step"], 10)
        assert row["gradient_norm"] > 0
        assert row["samples_per_second"] > 0
    assert [row["step"] for row in rows if "diagnostics" in row] == [5, 10]
    assert rows[-1]["verdict"] == outcome.health.verdict


def test_diagnosis_examines_one_row_in_150():
    method, rows = tiny("image.ijepa")
    seen: list[dict] = []
    loop = replace(LOOP, diagnose_every=0, log_every=1000, monitor=2)
    train(method, rows, 15, 48, loop=loop, on_log=seen.append)
    assert [row["step"] for row in seen if "diagnostics" in row] == [7, 14, 15]  # 2 rows in 336


def test_what_is_logged_or_examined_changes_nothing():
    quiet, _ = run("control.lewm", loop=replace(LOOP, log_every=100, diagnose_every=100))
    talkative, _ = run("control.lewm", loop=replace(LOOP, diagnose_every=1))
    assert same(quiet, talkative)


def test_the_seed_decides_and_the_callers_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, _ = run("control.lewm", seed=1)
    assert torch.equal(torch.rand(3), expected)
    two, _ = run("control.lewm", seed=1)
    three, _ = run("control.lewm", seed=2)
    assert same(one, two)
    assert not same(one, three)


@pytest.mark.parametrize("name", ["image.ijepa", "rivals.supervised"])
def test_micro_batches_give_the_gradient_of_the_whole_batch(name):
    """For methods whose energy is a mean over rows; statistics over rows are those of a micro-batch."""
    whole, _ = run(name, steps=3)
    parts, _ = run(name, steps=3, loop=replace(LOOP, accumulate=4))
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


def test_schedules_weight_decay_and_clipping_reach_the_optimizer():
    """Steps at rate 0 change nothing; a large decay shrinks matrices and no norm."""
    frozen, rows = tiny("rivals.supervised")
    start, _ = tiny("rivals.supervised")
    train(frozen, rows, 3, 8, Optim(lr=0.0, weight_decay=0.5), LOOP)
    assert same(frozen, start)
    decayed, rows = tiny("rivals.supervised")
    train(decayed, rows, 3, 8, Optim(lr=1e-3, weight_decay=300.0, final_weight_decay=300.0, warmup=0.0), LOOP)
    before, after = dict(start.named_parameters()), dict(decayed.named_parameters())
    name = "encoder.trunk.blocks.0.attn.qkv.weight"
    assert after[name].norm() < 0.8 * before[name].norm()
    assert torch.allclose(after["encoder.trunk.norm.weight"], before["encoder.trunk.norm.weight"], atol=0.01)


def test_the_teacher_moves_by_the_schedule():
    method, rows = tiny("image.ijepa", momentum=(1.0, 1.0))
    before = [p.clone() for p in method.teacher.parameters()]
    train(method, rows, 3, 8, OPTIM, LOOP)
    assert all(torch.equal(a, b) for a, b in zip(before, method.teacher.parameters(), strict=True))
    method, rows = tiny("image.ijepa", momentum=(0.0, 0.0))
    train(method, rows, 3, 8, OPTIM, LOOP)
    pairs = zip(method.encoder.parameters(), method.teacher.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", ["image.ijepa", "control.lewm"])
def test_rows_with_nan_are_skipped_before_anything_moves(name, caplog, tmp_path):
    bad = frozenset({3})
    method, rows = tiny(name, 48, bad)
    with caplog.at_level(logging.WARNING, logger="armillary.training"):
        outcome = train(method, rows, 12, 8, OPTIM, LOOP, folder=tmp_path)
    assert outcome.skipped == 2  # 12 steps of 8 are two epochs of 48
    assert all(value.isfinite().all() for value in method.state_dict().values() if value.is_floating_point())
    assert "not finite in rows [3]" in caplog.text
    logged = rows_of(tmp_path)
    assert [row["skipped"] for row in logged][-1] == 2
    assert [row["energy"] for row in logged].count(None) == 2


def test_a_skipped_step_changes_neither_weights_nor_statistics_nor_moments(tmp_path):
    method, rows = tiny("control.lewm")
    reads = itertools.count()

    class LastOneBroken(Rows):
        def batch(self, index):
            batch = super().batch(index)
            if next(reads) == 3:  # the monitor reads first, then steps 1, 2, 3
                batch["image"][0] = math.nan
            return batch

    loop = replace(LOOP, monitor=8, save_every=1)
    outcome = train(method, LastOneBroken(rows.like, 48), 3, 8, OPTIM, loop, folder=tmp_path)
    assert outcome.skipped == 1
    first, second = ((tmp_path / "checkpoints" / f"step-0000000{n}") for n in (2, 3))
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert any("running_var" in key for key in method.state_dict())


def test_too_many_bad_steps_stop_the_run_and_name_the_rows(tmp_path):
    method, rows = tiny("image.ijepa", 16, frozenset(range(16)))
    start, _ = tiny("image.ijepa")
    with pytest.raises(CollapseError) as stopped:
        train(method, rows, 50, 8, OPTIM, replace(LOOP, skip_limit=3), folder=tmp_path)
    said = str(stopped.value)
    assert "step 3 " in said
    assert "'prediction': nan" in said
    assert "input that is not finite in rows" in said
    assert same(method, start)
    assert not (tmp_path / "checkpoints" / "step-00000003").exists()


def test_an_existing_run_needs_resume_and_resume_needs_a_run(tmp_path):
    run("image.ijepa", steps=4, folder=tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"--resume.*--fresh"):
        run("image.ijepa", steps=4, folder=tmp_path / "run")
    with pytest.raises(CheckpointError, match="--fresh"):
        run("image.ijepa", steps=4, folder=tmp_path / "other", resume=True)
    with pytest.raises(CheckpointError, match="folder"):
        run("image.ijepa", steps=4, resume=True)


def test_a_finished_run_resumes_to_its_end(tmp_path):
    whole, _ = run("image.ijepa", steps=4, folder=tmp_path)
    rows = rows_of(tmp_path)
    again, outcome = run("image.ijepa", steps=4, folder=tmp_path, resume=True)
    assert same(whole, again)
    assert outcome.steps == outcome.resumed == 4
    assert outcome.health is not None
    assert rows_of(tmp_path) == rows


def test_the_checkpoint_of_another_run_is_refused_with_the_difference(tmp_path):
    run("image.ijepa", steps=4, folder=tmp_path)
    with pytest.raises(CheckpointError, match=r"method was IJEPA, is Supervised"):
        run("rivals.supervised", steps=4, folder=tmp_path, resume=True)
    with pytest.raises(CheckpointError, match=r"batch was 8, is 16"):
        run("image.ijepa", steps=4, batch=16, folder=tmp_path, resume=True)
    method, rows = tiny("image.ijepa", predictor_width=24)
    with pytest.raises(CheckpointError, match=r"predictor_width was 16, is 24"):
        train(method, rows, 4, 8, OPTIM, LOOP, folder=tmp_path, resume=True)


def test_other_settings_are_accepted_aloud(tmp_path, caplog):
    run("image.ijepa", steps=4, folder=tmp_path)
    with caplog.at_level(logging.WARNING, logger="armillary.training"):
        _, outcome = run("image.ijepa", steps=6, folder=tmp_path, resume=True)
    assert outcome.steps == 6
    assert "steps was 4, is 6" in caplog.text


def test_a_setting_that_the_older_code_did_not_know_is_let_pass_aloud(tmp_path, caplog):
    run("image.ijepa", steps=4, folder=tmp_path)
    path = disk.newest(tmp_path)[0]
    old = disk.read(path)
    del old.state["fixed"]["method.flip"]
    disk.write(tmp_path, old)
    with caplog.at_level(logging.WARNING, logger="armillary.training"):
        run("image.ijepa", steps=4, folder=tmp_path, resume=True)
    assert "method.flip was absent, is 0.0" in caplog.text


def test_impossible_settings_say_what_is_allowed():
    with pytest.raises(ConfigError, match="multiple of 3"):
        run("image.ijepa", loop=replace(LOOP, accumulate=3))
    with pytest.raises(ConfigError, match="keep is 1, at least 2"):
        Loop(keep=1)
    with pytest.raises(ConfigError, match="stretch"):
        Optim(stretch=0.5)
    with pytest.raises(ConfigError, match="betas"):
        Optim(betas=(0.9, 1.0))
    method, rows = tiny("image.ijepa")
    with pytest.raises(ConfigError, match="nothing to train"):
        train(method.requires_grad_(False), rows, 1, 8)


def test_threads_are_set_for_the_run_only():
    before = torch.get_num_threads()
    seen = []
    run(
        "image.ijepa",
        steps=1,
        loop=replace(LOOP, threads=before + 1),
        on_log=lambda _: seen.append(torch.get_num_threads()),
    )
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
