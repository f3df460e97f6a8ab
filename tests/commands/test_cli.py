"""The command line is instant where it can be, and its mistakes are explained."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from armillary import catalogue
from armillary.cli import main


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["--version"], ["lisst"]])
def test_light_commands_do_not_import_torch(arguments: list[str]):
    code = "import sys\nfrom armillary.cli import main\nmain(sys.argv[1:])\nsys.exit('torch' in sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True).returncode == 0
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 0.5  # CPU seconds, as walls are shared


def test_help_names_every_verb_and_what_it_does(capsys: pytest.CaptureFixture):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown and catalogue.verb_summary(verb)[:20] in shown for verb in catalogue.VERBS)


def test_a_mistyped_verb_is_corrected(capsys: pytest.CaptureFixture):
    assert main(["tran"]) == 2
    assert "did you mean train?" in capsys.readouterr().err


def test_a_mistyped_flag_is_corrected(capsys: pytest.CaptureFixture, recipe: str):
    with pytest.raises(SystemExit) as stopped:
        main(["train", recipe, "--method.sigreg-weigth", "1"])
    assert stopped.value.code == 2
    assert "--method.sigreg-weight" in capsys.readouterr().err


def test_a_value_of_the_wrong_type_is_refused(capsys: pytest.CaptureFixture, recipe: str):
    with pytest.raises(SystemExit) as stopped:
        main(["train", recipe, "--steps", "many"])
    assert stopped.value.code == 2
    assert "--steps" in capsys.readouterr().err


def test_an_error_is_one_message_without_a_traceback(capsys: pytest.CaptureFixture, tmp_path: Path):
    assert main(["probe", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert "run.json" in shown and "Traceback" not in shown


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_a_traceback_is_shown_when_it_is_asked_for(
    by: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ARMILLARY_TRACEBACK", "1" if by == "variable" else "0")
    assert main(["probe", str(tmp_path), *(["--traceback"] if by == "flag" else [])]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_named(
    capsys: pytest.CaptureFixture, recipe: str, flags: list[str], tmp_path: Path
):
    (tmp_path / "file").touch()
    assert main(["train", recipe, "--out", str(tmp_path / "file" / "run"), *flags]) == 2
    assert "file" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error():
    ends, begins = os.pipe()
    os.close(ends)
    command = [sys.executable, "-m", "armillary", "list", "--json"]
    done = subprocess.run(command, stdout=begins, stderr=subprocess.PIPE, text=True)
    os.close(begins)
    assert done.returncode == 141 and done.stderr == ""


def test_list_is_json_for_programs(capsys: pytest.CaptureFixture):
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"methods", "recipes"}
    assert all(m.keys() == {"name", "family", "paper", "file"} and Path(m["file"]).is_file() for m in found["methods"])
    assert all(r.keys() == {"name", "method", "summary"} for r in found["recipes"])
    assert {m["name"] for m in found["methods"]} >= {"ijepa", "lewm", "point_jepa", "supervised"}


def test_the_table_in_the_readme_is_that_of_the_catalogue(capsys: pytest.CaptureFixture):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert main(["list", "--markdown"]) == 0
    table = readme.partition("<!-- methods -->\n")[2].partition("\n<!-- end of methods -->")[0]
    assert table == capsys.readouterr().out.strip(), "paste the output of `armillary list --markdown` into README.md"


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_command_with_its_status(name: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture):
    file = tmp_path / "mine.py"
    lines = [
        "import os, signal",
        "def recipe() -> 'Run':",
        f"    os.kill(os.getpid(), signal.{name})",
        "    while True: pass",
    ]
    file.write_text("\n".join(lines))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["show", f"{file}:recipe"]) == status
    assert "Traceback" not in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
