"""What the radar costs at its default cadence, as a share of the training time.

    python benchmarks/radar_cost.py --images FOLDER [--episodes FOLDER] [--pairs 5]

One thread, CPU time; examinations and training steps alternate, medians over pairs. Target: at most 1 %.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from armillary.commands.workspace import find
from armillary.contracts import build
from armillary.data.dataset import open_data
from armillary.randomness import Random
from armillary.training.allocator import keep_memory
from armillary.training.examiner import Examiner
from armillary.training.loop import EVERY, EXAMINED, FEWEST, MOST
from armillary.training.optim import optimizer_of

RECIPES = ("ijepa_cifar10", "vicreg_cifar10", "lejepa_cifar10", "byol_cifar10", "lewm_two_rooms")
STEPS = 5  # training steps of a pair


def cpu(call: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    begun = time.process_time()
    call()
    return time.process_time() - begun


def share(recipe: str, path: str, pairs: int) -> str:
    """One line: rows, steps between examinations, milliseconds of both, and their share."""
    run = find(recipe).run
    dataset = open_data(replace(run.data, path=path))
    method = build(run.method).train()
    optimizer = optimizer_of(method, run.optim)
    rows = min(MOST, max(FEWEST, run.batch * EVERY // EXAMINED))
    examiner = Examiner(dataset, rows, run.batch, 0)
    every = math.ceil(EXAMINED * examiner.rows / run.batch)

    def train() -> None:
        for step in range(STEPS):
            batch = dataset.prepare(
                dataset.batch(torch.arange(step * run.batch, (step + 1) * run.batch) % len(dataset))
            )
            method.energy(method.loss(batch, Random(0, step, batch["index"]))).backward()
            optimizer.step()
            method.after_step(0.0)
            optimizer.zero_grad(set_to_none=True)

    found = [(cpu(train) / STEPS, cpu(lambda: examiner.reading(method, "fp32", 0))) for _ in range(pairs + 1)][1:]
    cost = statistics.median(read / (every * step) for step, read in found)
    step, read = (statistics.median(column) * 1e3 for column in zip(*found, strict=True))
    return f"{recipe}: {examiner.rows} rows every {every} steps; step {step:.0f} ms, reading {read:.0f} ms: {cost:.2%}"


def main() -> None:
    """Print one line per recipe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True)
    parser.add_argument("--episodes", default="")
    parser.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    for recipe in RECIPES:
        path = asked.episodes if recipe.startswith("lewm") else asked.images
        if path:
            print(share(recipe, path, asked.pairs), flush=True)


if __name__ == "__main__":
    main()
