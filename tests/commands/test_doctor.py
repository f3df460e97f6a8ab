"""The doctor finds what is broken without falling over it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from armillary.cli import main
from armillary.commands import doctor


def test_a_package_built_for_another_torch_is_found_and_mended_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    (package / "version.py").write_text("__version__ = '9.9.9+cu999'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = doctor._package("torchvision")
    assert found.version == "9.9.9+cu999"
    assert "built for cu999" in found.state and "nms does not exist" in found.state
    assert "pip uninstall torchvision" in found.advice


def test_a_package_that_ends_the_interpreter_does_not_end_the_doctor():
    worked, reason = doctor._run("import os; os.abort()")
    assert not worked and "ends the interpreter" in reason


def test_an_absent_package_is_not_broken():
    assert doctor._package("torchcodec").state == "absent"


def test_everything_that_is_asked_is_told(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "OPTIONAL", {"pyarrow": ("pyarrow", "data")})
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["torch"] and found["machine"]["threads"] >= 1 and "bf16_cpu" in found["machine"]
    assert found["packages"][0]["state"] == "ok" and found["disk"]["free"] > 0 and "MUJOCO_GL" in found["rendering"]
    assert found["problems"] == []
