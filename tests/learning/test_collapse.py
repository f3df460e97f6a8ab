"""The tutorial of docs/guide/collapse.md: what it makes collapse does so, is seen in time, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from armillary.cli import main
from armillary.diagnostics.score import score
from armillary.training.log import readings

pytestmark = pytest.mark.slow


def test_without_its_regularizer_a_world_model_collapses_and_the_run_stops(tmp_path: Path):
    rooms, good, bad = tmp_path / "rooms", tmp_path / "good", tmp_path / "bad"
    every = ["--data.path", str(rooms), "--steps", "300", "--loop.diagnose-every", "25"]
    assert main(["collect", "lewm_two_rooms", "--episodes", "100", "--data.path", str(rooms)]) == 0
    assert main(["train", "lewm_two_rooms", "--out", str(good), *every]) == 0
    wrong = ["--method.sigreg-weight", "0", "--loop.on-alarm", "stop"]
    assert main(["train", "lewm_two_rooms", "--out", str(bad), *every, *wrong]) != 0

    healthy, collapsed = readings(good), readings(bad)
    rows = {name: [json.loads(row) for row in (tmp_path / name / "log.jsonl").read_text().splitlines()]
            for name in ("good", "bad")}  # fmt: skip
    alarms = {name: [alarm for row in held for alarm in row.get("alarms", [])] for name, held in rows.items()}
    assert alarms["good"] == [] and [alarm["kind"] for alarm in alarms["bad"]] == ["full"]
    assert "Complete collapse" in (bad / "report.html").read_text(), "its report says so"
    assert collapsed[-1].step <= 150, "it is stopped early"
    assert rows["bad"][-1]["energy"] < rows["good"][-1]["energy"] / 50, "the energy says the opposite"
    assert collapsed[-1].numbers["effective_rank"] > collapsed[0].numbers["effective_rank"], "so does the rank"
    assert (score(healthy[-1]) or 0) > max(score(reading) or 0 for reading in collapsed)
