"""Progress says what is happening, also where nothing can be redrawn."""

from __future__ import annotations

import logging

import pytest

from armillary.commands import screen
from armillary.commands.progress import Watch


def test_lines_are_printed_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture):
    with Watch("training", 1000, done=100) as watch:
        watch.at(101, "energy 0.5")
        watch.at(102)
        watch.at(1000)
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 2  # the first, and the last
    assert shown[0] == "training: 101 of 1,000, energy 0.5"
    assert shown[1].startswith("training: 1,000 of 1,000, ") and shown[1].endswith("0 s left, energy 0.5")


def test_durations_speeds_and_sizes_are_said_as_a_reader_would():
    assert [screen.duration(s) for s in (0.4, 59.4, 60.0, 3599.0, 11_100.0)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "59 min 59 s",
        "3 h 05 min",
    ]
    assert [screen.rate(r, "step") for r in (12.0, 0.25)] == ["12 steps/s", "4 s/step"]
    assert [screen.size(b) for b in (5e8, 2.5e9)] == ["500 MB", "2.5 GB"]


def test_nothing_in_a_message_is_read_as_markup(capsys: pytest.CaptureFixture):
    screen.error("[bold]a path/[x].png")
    screen.table("", ["[a]", ""], [("[b]", "[/c]")])
    shown = capsys.readouterr()
    assert "error: [bold]a path/[x].png" in shown.err and "[b]" in shown.out and "[/c]" in shown.out


def test_what_libraries_warn_of_is_one_line(capsys: pytest.CaptureFixture):
    handler = screen.Warnings()
    handler.emit(logging.LogRecord("armillary.data", logging.WARNING, "", 0, "%d images", (3,), None))
    assert capsys.readouterr().err == "warning: 3 images\n"
