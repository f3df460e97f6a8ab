"""Two processes give the loss of one at the same global batch, for every method; only the first writes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .rows import METHODS
from .shared_run import STEPS, everything


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[dict[str, list[float]], dict[str, list[float]], Path]:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = str(Path(__file__).with_name("shared_run.py"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (two / "stderr").open("w") as errors:
        launched = subprocess.Popen([*launch, script, str(two)], stderr=errors, env=environment)
        alone = everything(one)
        assert launched.wait(300) == 0, (two / "stderr").read_text()[-4000:]
    told = json.loads((two / "rank-0.json").read_text())
    assert told["ranks"] == 2
    return alone, {k: [float(v) for v in values] for k, values in told["energies"].items()}, two


@pytest.mark.parametrize("name", [*METHODS, "micro-batches"])
def test_two_processes_give_the_loss_of_one(both, name):
    alone, shared, _ = both
    assert len(alone[name]) == 2 * STEPS
    gap = [abs(a - b) / max(1.0, abs(a)) for a, b in zip(alone[name], shared[name], strict=True)]
    assert max(gap) <= 1e-5


def test_a_nan_on_one_process_is_skipped_by_all(both):
    alone, shared, _ = both
    finite = [math.isfinite(v) for v in shared["poisoned"]]
    assert not all(finite)
    assert finite == [math.isfinite(v) for v in alone["poisoned"]]


def test_only_the_first_process_logs_and_writes(both):
    _, _, folder = both
    told = json.loads((folder / "rank-1.json").read_text())
    assert all(values == [] for values in told["energies"].values())
    for name in METHODS:
        rows = [json.loads(line)["step"] for line in (folder / name / "log.jsonl").read_text().splitlines()]
        assert rows == list(range(1, STEPS + 1))
        kept = sorted(p.name for p in (folder / name / "checkpoints").iterdir())
        assert kept == ["step-00000010", "step-00000020"]
