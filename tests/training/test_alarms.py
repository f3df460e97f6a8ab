"""An alarm while training warns, stops, or takes the run back to where it was healthy."""

from __future__ import annotations

import json
import logging
import os
import signal
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from armillary.contracts import Method
from armillary.errors import CheckpointError, CollapseError, ConfigError
from armillary.training import checkpoint as disk
from armillary.training.loop import Loop, train
from armillary.training.optim import Optim
from armillary.types import Tokens

LOOP = Loop(precision="fp32", log_every=1, save_every=10, diagnose_every=5, monitor=32, keep=3)
OPTIM = Optim(lr=0.1, kind="sgd", momentum=0.0, warmup=0.0, final_lr=0.1, weight_decay=0.0, final_weight_decay=0.0)


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


class Growing(Method):
    """Its embeddings are their inputs times a factor that each step raises by the learning rate, from 1 on."""

    weights = {"growth": 1.0}  # noqa: RUF012

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.factor = config, nn.Parameter(torch.ones(()))

    def loss(self, batch, random):
        return {"growth": -self.factor}

    def encode(self, batch):
        return Tokens(self.factor * batch["x"][:, None], torch.zeros(len(batch["x"]), 1, 1))


class Numbers:
    """Rows of random numbers."""

    def __len__(self):
        return 64

    def batch(self, index):
        return {"index": index, "x": torch.randn(64, 8, generator=torch.Generator().manual_seed(0))[index]}

    def prepare(self, batch):
        return batch


def run(folder, loop=LOOP, steps=170, resume=False, optim=OPTIM):
    method = Growing(Config())
    return method, train(method, Numbers(), steps, 8, optim, loop, folder=folder, resume=resume)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_an_alarm_is_warned_of_once_and_kept_in_the_log(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "armillary.training"):
        _, outcome = run(tmp_path)
    alarms = [(row["step"], alarm["kind"]) for row in rows_of(tmp_path) for alarm in row.get("alarms", [])]
    assert [kind for _, kind in alarms] == ["norm"] and 150 <= alarms[0][0] <= 165
    assert sum("norm drift since step" in record.message for record in caplog.records) == 1
    assert outcome.health.verdict.startswith("norm drift") and outcome.steps == 170


def test_stop_saves_and_can_be_continued(tmp_path):
    with pytest.raises(CollapseError, match=r"step \d+: norm drift since step .* \(stopped, with a checkpoint\)"):
        run(tmp_path, replace(LOOP, on_alarm="stop"))
    stopped = disk.step_of(disk.checkpoints(tmp_path)[-1])
    assert 150 <= stopped <= 165
    _, outcome = run(tmp_path, LOOP, resume=True)
    assert outcome.resumed == stopped and outcome.health.verdict.startswith("norm drift")


def test_rolling_back_goes_on_from_before_with_a_lower_rate(tmp_path):
    method, outcome = run(tmp_path, replace(LOOP, on_alarm="roll_back", roll_back_lr=0.1))
    assert outcome.health.verdict == "healthy" and outcome.steps == 170
    back = outcome.resumed
    assert 140 <= back < 160 and method.factor.item() == pytest.approx(1 + 0.1 * back + 0.01 * (170 - back), rel=1e-4)
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, 171)), "one row a step: those that were withdrawn are gone"
    assert {round(row["learning_rate"], 6) for row in rows[back:]} == {0.01}
    assert list((tmp_path / "checkpoints").glob("unhealthy-*")) or back == 150


def test_the_lower_rate_survives_an_interruption(tmp_path):
    run(tmp_path, replace(LOOP, on_alarm="roll_back", roll_back_lr=0.1))
    _, outcome = run(tmp_path, LOOP, steps=180, resume=True)
    assert outcome.resumed == 170 and rows_of(tmp_path)[-1]["learning_rate"] == pytest.approx(0.01)


def test_a_run_that_fails_again_and_again_ends(tmp_path):
    with pytest.raises(CollapseError, match=r"norm drift .*\(after 1 roll-backs\)"):
        run(tmp_path, replace(LOOP, on_alarm="roll_back", roll_back_lr=0.9, roll_backs=1), steps=400)


def test_each_roll_back_lowers_the_rate_also_where_the_checkpoint_is_from_before_the_last_one(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "armillary.training"), pytest.raises(CollapseError):
        run(tmp_path, replace(LOOP, on_alarm="roll_back", save_every=100, roll_back_lr=0.9), steps=400)
    told = [record.message for record in caplog.records if "back to step" in record.message]
    assert [line.rpartition("back to step ")[2] for line in told] == [
        "100, at 0.9 of the learning rate", "100, at 0.81 of the learning rate",
    ]  # fmt: skip


def test_ctrl_c_at_the_step_of_an_alarm_ends_the_run(tmp_path):
    def interrupt(row):
        if row.get("alarms"):
            os.kill(os.getpid(), signal.SIGINT)

    loop = replace(LOOP, on_alarm="roll_back")
    outcome = train(Growing(Config()), Numbers(), 170, 8, OPTIM, loop, folder=tmp_path, on_log=interrupt)
    assert outcome.stopped == "SIGINT" and outcome.steps < 170


def test_without_an_older_checkpoint_there_is_nothing_to_go_back_to(tmp_path, monkeypatch):
    monkeypatch.setattr("armillary.training.record.score", lambda reading: None)  # so that no best one is kept
    loop = replace(LOOP, on_alarm="roll_back", save_every=1, keep=2)
    with pytest.raises(CheckpointError, match=r"no checkpoint from before step .*: save more often"):
        run(tmp_path, loop)
    with pytest.raises(ConfigError, match="needs a run folder"):
        run(None, loop)


def test_the_best_checkpoint_is_kept_beside_the_newest(tmp_path, monkeypatch):
    """Best of the healthy readings, whatever came later; it is loaded by name, also after the run was resumed."""
    monkeypatch.setattr("armillary.training.record.score", lambda reading: -abs(reading.step - 60))
    run(tmp_path, replace(LOOP, keep=2), steps=120)
    assert [disk.step_of(path) for path in disk.checkpoints(tmp_path)] == [60, 110, 120]
    assert disk.best_step(tmp_path) == 60
    method = Growing(Config())
    assert disk.weights(tmp_path, method, "best-by-radar") == 60
    assert float(method.factor.detach()) == pytest.approx(1 + 0.1 * 60, rel=1e-4)
    assert disk.weights(tmp_path, method, "110") == 110 and disk.weights(tmp_path, method) == 120


def test_a_run_that_goes_on_remembers_its_best_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("armillary.training.record.score", lambda reading: -abs(reading.step - 60))
    with pytest.raises(CollapseError):
        run(tmp_path, replace(LOOP, keep=2, on_alarm="stop"))
    assert disk.best_step(tmp_path) == 60
    run(tmp_path, replace(LOOP, keep=2), resume=True)
    assert 60 in [disk.step_of(path) for path in disk.checkpoints(tmp_path)] and disk.best_step(tmp_path) == 60


def test_a_checkpoint_that_is_not_there_is_named_with_those_that_are(tmp_path, monkeypatch):
    monkeypatch.setattr("armillary.training.record.score", lambda reading: None)
    run(tmp_path, steps=20)
    for at in ("best-by-radar", "15", "latest"):
        with pytest.raises(CheckpointError, match="choose among newest, 0, 10, 20"):
            disk.weights(tmp_path, Growing(Config()), at)
