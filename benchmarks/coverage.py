"""How often the paired 95 % interval of a comparison holds the truth, by seeds and by how much seeds differ.

    python benchmarks/coverage.py [--draws 1000] [--rows 400]

Two methods answer the same rows. A row has its own chance of a right answer under each; a seed shifts all of them by a
normal number. The truth is the mean difference over many seeds and rows, 0 here. `ratio` is the spread that seeds alone
give the difference, over the spread that rows alone do.
"""

from __future__ import annotations

import argparse

import torch

from armillary.bench.intervals import difference
from armillary.functional.statistics import wilson

RATIOS, SEEDS = (0.5, 1.0, 2.0, 4.0), (2, 3, 5)


def coverage(seeds: int, ratio: float, rows: int, draws: int, generator: torch.Generator) -> tuple[float, float, float]:
    """The share of intervals that hold the truth, which is 0 here, with Wilson's interval."""
    held = 0
    for _ in range(draws):
        ease = 0.25 + 0.5 * torch.rand(rows, generator=generator)
        apart = 0.2 * torch.randn(rows, generator=generator)  # of the methods, on each row: mean 0 over rows
        spread = ratio * 0.2 / rows**0.5  # of a seed's mean difference, over that of the rows'
        shift = spread * torch.randn(seeds, 1, generator=generator)
        chances = (ease + (apart + shift) / 2, ease - (apart + shift) / 2)
        first, second = (torch.rand(seeds, rows, generator=generator) < chance.clamp(0, 1) for chance in chances)
        _, low, high = difference(first, second)
        held += low <= 0 <= high
    low, high = wilson(held, draws)
    return held / draws, low, high


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=400)
    asked = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    print("| seeds | " + " | ".join(f"ratio {ratio:g}" for ratio in RATIOS) + " |")
    print("|---|" + "---|" * len(RATIOS))
    for seeds in SEEDS:
        cells = [coverage(seeds, ratio, asked.rows, asked.draws, generator) for ratio in RATIOS]
        print(
            f"| {seeds} | " + " | ".join(f"{share:.3f} ({low:.3f} to {high:.3f})" for share, low, high in cells) + " |"
        )


if __name__ == "__main__":
    main()
