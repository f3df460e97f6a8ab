"""Windows per second from a store of episodes, beside the bar.

    python benchmarks/store.py FOLDER [--window 16] [--seconds 3]

FOLDER is what `armillary collect` or `convert` wrote. Batches of 64 windows at random places are read as training reads
them, raw and then normalized, by one process.
"""

from __future__ import annotations

import argparse
import time

import torch

from armillary.data.dataset import open_data
from armillary.data.episodes import Episodes
from armillary.randomness import numbered

BATCH, BAR = 64, 2000


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = open_data(Episodes(asked.folder, window=asked.window))
    order = numbered(1).order("store", len(data))[0]
    for name, prepared in (("raw", False), ("normalized", True)):
        begun, rows = time.perf_counter(), 0
        while time.perf_counter() - begun < asked.seconds:
            batch = data.batch(order[(rows + torch.arange(BATCH)) % len(order)])
            if prepared:
                data.prepare(batch)
            rows += BATCH
        rate, shape = rows / (time.perf_counter() - begun), tuple(batch["image"].shape[1:])
        print(f"{name:12} {rate:10,.0f} windows of {shape} a second   {f'>= {BAR:,}' if not prepared else ''}")


if __name__ == "__main__":
    main()
