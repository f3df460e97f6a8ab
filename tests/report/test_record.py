"""Reading trusts nothing: any JSON makes a page, and films are what the planner's own code writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.planning.control import Outcome
from armillary.report import page
from armillary.report.record import Record, read

from . import example

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(
    ["r2", "score", "interval", "success", "nmse", "by_horizon", "horizon", "untrained", "spectrum", "x"]
)
TREES = st.recursive(LEAVES, lambda t: st.lists(t, max_size=3) | st.dictionaries(KEYS, t, max_size=4), max_leaves=12)
PARTS = [
    "recipe",
    "verdict",
    "training",
    "diagnostics",
    "probe",
    "rollout",
    "plan",
    "seconds",
    "machine",
    "seed",
    "values",
]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(PARTS), TREES))
def test_any_json_makes_a_page(tree: dict[str, object]):
    assert page.render(Record(Path("run"), run=tree, report=tree)).startswith("<!doctype html>")


def test_curves_are_found_nested_or_flat(tmp_path: Path):
    rows = [
        {"step": 1, "lr": 0.1, "terms": {"a": 3}},
        {"step": 2, "diagnostics": {"r2": 0.5}, "energy": None},
        {"lr": 9},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = read(tmp_path)
    assert [list(part) for part in record.series("learning_rate", "lr")] == [[1], [0.1]]
    assert [list(part) for part in record.series("r2")] == [[2], [0.5]]
    assert record.under("terms") == ["a"] and len(record.series("energy")[0]) == 0


def test_a_run_that_ended_early_has_the_verdict_of_its_last_examination(tmp_path: Path):
    rows = [{"step": 1, "verdict": "healthy"}, {"step": 2, "verdict": "complete collapse: all alike"}, {"step": 3}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "report.json").write_text(json.dumps({"verdict": "healthy"}))  # of a training before it was resumed
    assert 'badge collapse">' in page.render(read(tmp_path)) and "Complete collapse: all alike" in page.render(
        read(tmp_path)
    )
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    assert 'badge healthy">' in page.render(read(tmp_path))


def test_films_are_read_as_the_planner_writes_them(tmp_path: Path):
    arrays = example.film(np.random.default_rng(1))
    yes = torch.from_numpy(arrays["success"])
    outcome = Outcome(
        at_start=~yes,
        reached=yes,
        at_end=yes,
        first=torch.from_numpy(arrays["first"]),
        states=torch.from_numpy(arrays["positions"]),
        frames=torch.from_numpy(arrays["frames"]),
        filmed=tuple(range(example.EPISODES)),
        seconds=1.0,
        plans=1,
    )
    goals = torch.from_numpy(arrays["goals"])
    np.savez(tmp_path / "episodes.npz", **outcome.film(torch.from_numpy(arrays["goal"]).movedim(-1, 1), goals))
    (tmp_path / "run.json").write_text("{}")
    record = read(tmp_path)
    assert record.notes == () and record.film is not None
    assert record.film.path is not None and np.allclose(record.film.path, arrays["positions"])
    assert np.array_equal(record.film.frames, arrays["frames"])
    assert record.film.success is not None and list(record.film.success) == list(yes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frames", np.zeros((2, 5, 8, 8, 3), np.float32)),
        ("frames", np.zeros((2, 5, 8, 8, 4), np.uint8)),
        ("frames", np.zeros((0, 5, 8, 8, 3), np.uint8)),
        ("success", np.zeros(3, bool)),
        ("positions", np.zeros((2, 4, 2), np.float32)),
        ("goal", np.zeros((2, 4, 8, 3), np.uint8)),
        ("task", np.array([{}, {}], dtype=object)),
    ],
)
def test_a_film_of_another_shape_is_named_not_shown(tmp_path: Path, name: str, value: np.ndarray):
    good = {"frames": np.zeros((2, 5, 8, 8, 3), np.uint8), "goals": np.zeros((2, 2), np.float32)}
    np.savez(tmp_path / "episodes.npz", **{**good, name: value})
    (tmp_path / "run.json").write_text("{}")
    record = read(tmp_path)
    assert record.film is None and "episodes.npz could not be read" in record.notes[0]
