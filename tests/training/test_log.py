"""The log holds each row once, whatever happened to the process that wrote it."""

from __future__ import annotations

import json
import math
import sys

import pytest

from armillary.errors import ConfigError
from armillary.training.log import Log


def steps(path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_rows_after_the_resumed_step_are_cut_and_half_a_line_too(tmp_path):
    log = Log(tmp_path)
    for step in (1, 2, 3, 4):
        log.write({"step": step, "terms": {"prediction": step / 2}})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "ter')
    log = Log(tmp_path, step=2)
    log.write({"step": 3})
    log.close()
    assert steps(tmp_path / "log.jsonl") == [1, 2, 3]
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_last_line_without_its_end_is_not_glued_to_the_next(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2}')
    log = Log(tmp_path, step=2)
    log.write({"step": 3})
    log.close()
    assert steps(tmp_path / "log.jsonl") == [1, 3]


def test_what_is_not_finite_becomes_null(tmp_path):
    log = Log(tmp_path)
    log.write({"step": 1, "energy": math.nan, "terms": {"a": math.inf, "b": 1.0}})
    log.close()
    text = (tmp_path / "log.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"step": 1, "energy": None, "terms": {"a": None, "b": 1.0}}


def test_tensorboard_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(ConfigError, match=r"armillary\[tracking\]"):
        Log(tmp_path, tensorboard=True)


def test_tensorboard_receives_the_numbers(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra 'tracking'")
    log = Log(tmp_path, tensorboard=True)
    log.write({"step": 1, "terms": {"prediction": 0.5}, "verdict": "healthy"})
    log.close()
    written = b"".join(p.read_bytes() for p in (tmp_path / "tensorboard").iterdir())
    assert b"terms/prediction" in written
    assert b"verdict" not in written
