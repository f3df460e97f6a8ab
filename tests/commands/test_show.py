"""Settings and state are shown, and what differs from the recipe stands out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from armillary.cli import main
from armillary.commands.show import _lines


def test_a_recipe_is_shown_with_all_its_fields(recipe: str, capsys: pytest.CaptureFixture):
    assert main(["show", recipe]) == 0
    shown = capsys.readouterr().out
    assert "method.sigreg_weight" in shown and "optim.lr" in shown and "data.path" in shown


def test_a_run_is_shown_without_running_the_users_file(trained: Path, capsys: pytest.CaptureFixture):
    assert main(["show", str(trained)]) == 0
    shown = capsys.readouterr().out
    assert "method.width" in shown and "step-00000006" in shown and "nothing yet" in shown


def test_what_differs_from_the_recipe_is_shown_beside_it(trained: Path, recipe: str, capsys: pytest.CaptureFixture):
    assert main(["show", str(trained), "--recipe", recipe]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert lines["steps"] == ["steps", "6", "2000"]
    assert lines["optim.lr"] == ["optim.lr", "0.001"]


def test_a_field_that_the_recipe_has_no_more_is_called_absent():
    assert [line[2] for line in _lines({"a": 1, "b": 2}, {"a": "1"})] == ["", "absent"]


def test_a_run_is_json_for_programs(trained: Path, capsys: pytest.CaptureFixture):
    assert main(["show", str(trained), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["values"]["steps"] == 6 and found["state"]["last step"] == "6"


def test_what_is_neither_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["show", "nothing_like_this"]) == 2
    assert "armillary list" in capsys.readouterr().err
    assert main(["show", str(tmp_path)]) == 2
    assert "no run.json" in capsys.readouterr().err


def test_half_a_line_in_the_log_does_no_harm(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "ener')
    assert main(["show", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"]["last step"] == "6"
