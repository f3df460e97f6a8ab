"""Numbers read as a reader would write them, and summaries say what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from armillary.report import scores, words
from armillary.report.record import Record

from . import example


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.9978, "r2", "0.998"),
        (0.999912, "r2", "0.999912"),
        (-0.25, "r2", "−0.250"),
        (1.0, "r2", "1.000"),
        (0.94, "share", "94 %"),
        (0.486, "share", "48.6 %"),
        (-0.01, "share", "−1 %"),
        (0.00042, "error", "0.00042"),
        (None, "share", "–"),
        (1e30, "error", "1.00e30"),
    ],
)
def test_figures(value: float | None, unit: str, shown: str):
    assert words.figure(value, unit) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.253, "0.25 s"),
        (42.0, "42 s"),
        (59.7, "1 min 00 s"),
        (452.0, "7 min 32 s"),
        (3599.9, "1 h 00 min"),
        (11100.0, "3 h 05 min"),
    ],
)
def test_durations(seconds: float, shown: str):
    assert words.duration(seconds) == shown


@pytest.mark.parametrize(
    ("verdict", "tone"),
    [
        ("healthy", "healthy"),
        ("dimensional collapse: 3 of 128 directions used", "collapse"),
        ("prediction no better than copying the last latent", "warning"),
        ("", "unknown"),
    ],
)
def test_verdicts_have_tones(verdict: str, tone: str):
    assert scores.tone(verdict) == tone


def test_a_summary_is_composed_from_numbers_where_the_report_has_none():
    report = {name: part for name, part in example.WORLD.items() if name != "summary"}
    said = scores.summary(Record(Path("run"), report=report))
    assert said == (
        "After 4,200 steps of training a probe of its representation scores 0.998 (untrained encoder 0.713) and "
        "planning with it reaches 99 % of goals (same room) and 94 % of goals (through the door)."
    )
    assert scores.summary(Record(Path("run"))) == "This run has not been trained yet."


def test_rollout_figures_stand_beside_copying_and_shuffled_actions_at_their_horizon():
    nmse, ratio = scores.rollouts(example.WORLD)
    rows = example.WORLD["rollout"]["by_horizon"]  # type: ignore[index]
    assert [reference.value for reference in nmse.references] == [rows[3]["copy_nmse"], rows[3]["shuffled_nmse"]]
    assert "after 4 macro-steps" in nmse.note and ratio.references == ()
