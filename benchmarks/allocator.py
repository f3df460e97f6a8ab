"""What `training.allocator.keep_memory` gains: CPU time of I-JEPA steps in pairs of fresh processes, with and without.

python benchmarks/allocator.py [--pairs 3]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

STEPS = """
import sys, time, torch
from armillary.contracts import build
from armillary.methods.image import ijepa
from armillary.nn.encoder import ViT
from armillary.randomness import Random, numbered
from armillary.training.allocator import keep_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    keep_memory()
method = build(ijepa.Config(ViT(image=32, patch=4, width=96, depth=4, heads=3), predictor_width=48, predictor_depth=2,
                            predictor_heads=2))
batch = {"index": torch.arange(64), "image": numbered(64).normal("image", 3, 32, 32)}
times = []
for step in range(1, 13):
    begun = time.process_time()
    method.energy(method.loss(batch, Random(0, 1, batch["index"]))).backward()
    method.zero_grad(set_to_none=True)
    times.append(time.process_time() - begun)
print(sorted(times[2:])[5])
"""


def seconds(mode: str) -> float:
    """CPU seconds of a step in a fresh process; the median of ten."""
    return float(subprocess.run([sys.executable, "-c", STEPS, mode], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print the ratio of each pair and the median."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    ratios = [seconds("as_is") / seconds("keep") for _ in range(parser.parse_args().pairs)]
    print(f"speedup of a step {statistics.median(ratios):.3f}   pairs: {', '.join(f'{r:.3f}' for r in ratios)}")


if __name__ == "__main__":
    main()
