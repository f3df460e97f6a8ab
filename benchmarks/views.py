"""Images per second of batched pixel views: SimCLR's two views of 256 images, decoding excluded, beside the bars.

    python benchmarks/views.py [--rounds 15] [--json FILE]

An image is one of the data set and gives two views: crop 0.08 to 1, mirror, jitter 0.4/0.4/0.4/0.1 with probability
0.8, gray 0.2, and blur 0.5 where it says so. Float32, CPU, wall time of the median round. As machines are shared, the
fastest round and images per second of CPU time (of all threads, their waiting included) stand beside it. The bars are
for two threads; a second thread gains nothing where another program has its core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from armillary.randomness import Random, numbered
from armillary.training.allocator import keep_memory
from armillary.types import Batch
from armillary.views.pixels import PixelViews, pixel_view

BATCH = 256
BARS = {32: 900, 96: 250}


def batch_of(side: int) -> Batch:
    """Normalized noise: what is done to an image does not depend on what it shows."""
    normalization = torch.tensor([[0.5] * 3, [0.25] * 3]).expand(BATCH, 2, 3)
    image = (numbered(BATCH).uniform("image", 3, side, side) - 0.5) / 0.25
    return {"index": torch.arange(BATCH), "image": image, "normalization": normalization}


def rates(batch: Batch, config: PixelViews, rounds: int) -> dict[str, float]:
    """Images per second of both views of the batch, after two rounds that are not counted."""
    wall, cpu = [], []
    for step in range(-2, rounds):
        begun = time.perf_counter(), time.process_time()
        for stream in ("one", "two"):
            pixel_view(batch, Random(0, step, batch["index"]), config, stream)
        wall.append(time.perf_counter() - begun[0])
        cpu.append(time.process_time() - begun[1])
    seconds = {"median": statistics.median(wall[2:]), "fastest": min(wall[2:]), "cpu": statistics.median(cpu[2:])}
    return {name: BATCH / value for name, value in seconds.items()}


def main() -> None:
    """Print the figures beside the bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    keep_memory()
    found = {}
    print(f"{'threads':>7} {'pixels':>6} {'blur':>4} {'images/s':>9} {'bar':>5} {'ratio':>6} {'fastest':>8} {'CPU':>8}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for side, blur in ((32, 0.0), (32, 0.5), (96, 0.0), (96, 0.5)):
            rate = rates(batch_of(side), PixelViews(blur=blur), asked.rounds)
            found[f"{threads} threads, {side} pixels, blur {blur}"] = rate
            wall = rate["median"]
            print(
                f"{threads:7} {side:6} {blur:4} {wall:9.0f} {BARS[side]:5} {wall / BARS[side]:5.1f}x "
                f"{rate['fastest']:8.0f} {rate['cpu']:8.0f}"
            )
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
