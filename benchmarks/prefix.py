"""Cost of rollouts from prefixes of actions (Fast-LeWM) beside those of repeated steps (LeWM), plain and folded.

    python benchmarks/prefix.py [--pairs 5] [--json FILE]

The published predictors, both 192 wide, 6 blocks, MLP 2048, LeWM with a history of 3 frames: 300 candidates x 5 steps
from one state, one thread, float32, CPU time. Weights are random; what they are changes no cost. The ways alternate and
ratios are medians over pairs, as machines are shared. Last: the fifth latent alone, by steps, of which Fast-LeWM's only
lengthen the prefix. The paper's bar is its own: LeWM's time over Fast-LeWM's with the last latent alone, on a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from armillary.contracts import build
from armillary.methods.control import fast_lewm, lewm
from armillary.nn.encoder import ConvNet
from armillary.planning.rollout import rollout
from armillary.randomness import numbered
from armillary.training.allocator import keep_memory

SAMPLES, STEPS, WIDTH, ACTION = 300, 5, 192, 10
IMAGES = ConvNet(image=16, widths=(8, 8))  # an encoder that no rollout runs
BARS = {"plain / last": "3.9, in the paper"}


def ways() -> dict[str, Callable[[], Tensor]]:
    """What is timed, by name."""
    slow, fast = build(lewm.Config(IMAGES)).eval(), build(fast_lewm.Config(IMAGES)).eval()
    assert isinstance(slow, lewm.LeWM) and isinstance(fast, fast_lewm.FastLeWM)
    random = numbered(1)
    z, past = random.normal("z", 3, WIDTH), random.normal("past", 2, ACTION)
    actions, folded = random.normal("actions", SAMPLES, STEPS, ACTION), slow.folded()
    many = (z.expand(SAMPLES, -1, -1), past.expand(SAMPLES, -1, -1))

    def last() -> Tensor:
        state = (z[:, -1].expand(SAMPLES, -1), past[:, :0].expand(SAMPLES, -1, -1))
        for action in actions[0].unbind(1):
            state = fast.step(state, action)
        return fast.latent(state)

    return {
        "plain": lambda: rollout(slow, many, actions[0]),
        "folded": lambda: folded.rollouts((z, past), actions),
        "prefixes": lambda: fast.rollouts((z[:, -1], past[:, :0]), actions),
        "last": last,
    }


@torch.no_grad()
def measured(pairs: int) -> dict[str, float]:
    """Milliseconds of each way, and medians of ratios."""
    timed = ways()
    times: dict[str, list[float]] = {name: [] for name in timed}
    for pair in range(pairs + 1):  # the first one warms up
        for name, call in timed.items():
            begun = time.process_time()
            call()
            if pair:
                times[name].append(1e3 * (time.process_time() - begun))
    ratios = [("plain", "prefixes"), ("folded", "prefixes"), ("plain", "last"), ("folded", "last")]
    return {f"{name} ms": statistics.median(each) for name, each in times.items()} | {
        f"{one} / {two}": statistics.median(a / b for a, b in zip(times[one], times[two], strict=True))
        for one, two in ratios
    }


def main() -> None:
    """Print the figures beside the paper's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    found = measured(asked.pairs)
    for name, value in found.items():
        print(f"{name:20} {value:8.3g}   {BARS.get(name, '')}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
