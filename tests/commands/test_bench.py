"""`armillary bench images` from the command line: wrong input is told in words, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from armillary.cli import main


@pytest.mark.parametrize(
    ("more", "methods", "words"),
    [
        (["--budget", "1e3"], ("ijepa",), "does not pay one step"),
        ([], ("ijep",), "did you mean ijepa"),
        ([], ("ijepa[method.maks=released]",), "maks"),
        ([], ("ijepa[batch]",), "sets nothing"),
        (["--probe.neighbors", "500"], ("ijepa",), "fewer than the 500 neighbors"),
        (["--seeds", "0"], ("ijepa",), "seeds is 0"),
    ],
)
def test_wrong_input_is_told_before_anything_is_trained(
    more: list[str], methods: tuple[str, ...], words: str, pictures: Path, tmp_path: Path, capsys
):
    call = ["bench", "images", "--data.path", str(pictures), "--out", str(tmp_path / "out"), *more]
    assert main([*call, "--methods", *methods]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "rows.jsonl").exists()
