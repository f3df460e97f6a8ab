"""`armillary bench images` from the command line: wrong input is told in words, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from armillary.cli import main
from armillary.commands import flags
from armillary.commands.bench import Bench


@pytest.mark.parametrize(
    ("more", "methods", "words"),
    [
        (["--budget", "1e3"], ("ijepa",), "does not pay one step"),
        ([], ("ijep",), "did you mean ijepa"),
        ([], ("ijepa[method.maks=released]",), "maks"),
        ([], ("ijepa[batch]",), "sets nothing"),
        (["--probe.neighbors", "500"], ("ijepa",), "fewer than the 500 neighbors"),
        (["--seeds", "0"], ("ijepa",), "seeds is 0"),
        (["--budget", "inf"], ("ijepa",), "budget is inf"),
        (["--processes", "0"], ("ijepa",), "processes is 0"),
        (["--tuning-share", "0"], ("ijepa",), "tuning_share is 0"),
        (["--probe.kinds", "segmentation"], ("ijepa",), "segmentation needs masks"),
        (["--probe.kinds", "low_shot", "--probe.shots", "40"], ("ijepa",), "40 labeled images of each class"),
        ([], ("ijepa[seed=3]",), "the same for all"),
        ([], ("ijepa[method.encoder.width=25]",), "multiple of 3 heads"),
        ([], ("supervised", "supervised"), "more than once"),
        (["--data.path", "/nowhere"], ("ijepa",), "there is no folder"),
    ],
)
def test_wrong_input_is_told_before_anything_is_trained(
    more: list[str], methods: tuple[str, ...], words: str, pictures: Path, tmp_path: Path, capsys
):
    call = ["bench", "images", "--data.path", str(pictures), "--out", str(tmp_path / "out"), *more]
    assert main([*call, "--methods", *methods]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "rows.jsonl").exists()


def test_report_without_rows_is_told(tmp_path: Path, capsys):
    assert main(["bench", "images", "--report-only", "--out", str(tmp_path)]) == 2
    assert "holds no finished run" in capsys.readouterr().err
    assert main(["bench", "sounds"]) == 2
    assert "no comparison of 'sounds'" in capsys.readouterr().err


def test_fields_of_the_data_take_values_as_elsewhere():
    asked = flags.parse(Bench, ["--data.foreground", "True", "--report-only"], "bench images", "")
    assert asked.data.foreground and asked.report_only
