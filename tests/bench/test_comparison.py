"""A comparison end to end, on generated images: what is done, kept, done again, and told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from armillary.bench import rows
from armillary.cli import main

from .conftest import IJEPA, SUPERVISED, draw

BUDGET = 1.5e9
FLAGS = ["--data.size", "16", "--budget", str(BUDGET), "--seeds", "2", "--tries", "2", "--tuning-share", "0.3",
         "--probe.neighbors", "5"]  # fmt: skip


def command(data: Path, out: Path, *more: str, methods: tuple[str, ...] = (IJEPA, SUPERVISED)) -> list[str]:
    return ["bench", "images", "--data.path", str(data), "--out", str(out), *FLAGS, *more, "--methods", *methods]


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory, colored: Path) -> Path:
    """A finished comparison; copy it before changing it."""
    out = tmp_path_factory.mktemp("bench") / "out"
    assert main(command(colored, out)) == 0
    return out


def test_comparison_trains_everyone_and_writes_rows_and_pages(compared: Path):
    held = rows.read(compared / "rows.jsonl")
    kinds = sorted((row["kind"], row["contender"], row["seed"]) for row in held)
    runs = [("run", name, seed) for name in (IJEPA, SUPERVISED) for seed in (0, 1)]
    tries = [("try", name, 0) for name in (IJEPA, SUPERVISED) for _ in range(2)]
    assert kinds == sorted([*runs, *tries, ("pixels", "pixels", 0)])
    for row in held:
        assert len(json.dumps(row)) < 8000
        assert row["commit"] and row["data"]["name"] == "colored" and str(compared.parent) not in json.dumps(row)
    for row in (row for row in held if row["kind"] == "run"):
        assert 0.5 * BUDGET < row["flops"] <= BUDGET
        assert row["flops"] == pytest.approx(row["steps"] * row["flops_per_step"], rel=1e-4)
        assert [flops for flops, _ in row["curve"]][-1] == pytest.approx(row["flops"], rel=1e-4)
        best = max((other for other in held if other["kind"] == "try" and other["contender"] == row["contender"]),
                   key=lambda other: (other["validation"], other["factor"]))  # of equals the recipe's  # fmt: skip
        assert row["lr"] == best["lr"]
    text = (compared / "comparison.md").read_text()
    assert all(name in text for name in ("ijepa", "supervised", "untrained vit24x1/2", "raw pixels"))
    page = (compared / "comparison.html").read_text()
    assert "<script" not in page and "http" not in page.replace("http-equiv", "") and "data:image/png" in page
    assert not (compared / ".work").exists()


def test_second_call_trains_nothing_and_writes_the_same(compared: Path, tmp_path: Path, colored: Path, capsys):
    out = tmp_path / "out"
    shutil.copytree(compared, out)
    before = {name: (out / name).read_bytes() for name in ("rows.jsonl", "comparison.md", "comparison.html")}
    begun = time.monotonic()
    assert main(command(colored, out)) == 0
    assert {name: (out / name).read_bytes() for name in before} == before
    assert time.monotonic() - begun < 60
    assert main(["bench", "images", "--report-only", "--out", str(out), "--json"]) == 0
    assert "lines" in capsys.readouterr().out


def test_markdown_comes_from_rows_alone(compared: Path, tmp_path: Path):
    page = tmp_path / "images.md"
    call = ["bench", "images", "--rows", str(compared / "rows.jsonl"), "--markdown", str(page), "--out", str(tmp_path)]
    assert main(call) == 0
    assert page.read_text() == (compared / "comparison.md").read_text()


@pytest.mark.slow  # starts many processes, each of which imports torch
def test_killed_comparison_goes_on_where_it_was(compared: Path, tmp_path: Path, colored: Path):
    out = tmp_path / "out"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "armillary", *command(colored, out)], env=environment)
    while not (out / "rows.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = (out / "rows.jsonl").read_bytes()
    assert kept.endswith(b"\n") and kept.count(b"\n") < 9
    (out / "rows.jsonl").write_bytes(kept + b'{"key": "cut o')
    assert main(command(colored, out)) == 0
    assert (out / "rows.jsonl").read_bytes().startswith(kept)
    scores = [
        {(r["contender"], r["seed"]): (r["scores"]["linear"]["rows"], r["curve"]) for r in held if r["kind"] == "run"}
        for held in (rows.read(out / "rows.jsonl"), rows.read(compared / "rows.jsonl"))
    ]
    assert scores[0] == scores[1]


@pytest.mark.slow  # starts many processes, each of which imports torch
def test_terminated_comparison_leaves_no_process_and_exits_143(tmp_path: Path, colored: Path):
    out = tmp_path / "out"
    call = [sys.executable, "-m", "armillary", *command(colored, out)]
    process = subprocess.Popen(call, stderr=subprocess.PIPE)
    while not list((out / ".work").glob("*.said")) and process.poll() is None:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 143
    marker = str(out).encode()
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists() and marker in path.read_bytes()]
    assert not left


def test_failed_run_is_told_and_the_others_go_on(compared: Path, tmp_path: Path, colored: Path, capsys):
    out = tmp_path / "out"
    shutil.copytree(compared, out)
    broken = IJEPA.replace("batch=8", "batch=8,optim.lr=1e9,loop.skip_limit=1")
    assert main(command(colored, out, "--tries", "1", methods=(broken, SUPERVISED))) == 1
    said = capsys.readouterr()
    assert "not finite" in said.err and "supervised" in said.out
    pages = (out / "comparison.md").read_text() + (out / "comparison.html").read_text()
    assert "not finite" in pages and str(tmp_path) not in pages and str(colored) not in pages


@pytest.mark.slow  # starts many processes, each of which imports torch
def test_unlabeled_images_are_compared_without_accuracy(tmp_path: Path, capsys):
    draw(tmp_path / "plain", 30, classes=("",))
    assert main(command(tmp_path / "plain", tmp_path / "out", "--seeds", "1", methods=(IJEPA, "supervised"))) == 0
    said = capsys.readouterr()
    assert "supervised needs labels and is left out" in said.out and "accuracy stays unknown" in said.out
    held = rows.read(tmp_path / "out" / "rows.jsonl")
    assert sorted(row["kind"] for row in held) == ["pixels", "run"]
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "accuracy is unknown" in text and "RankMe" in text
