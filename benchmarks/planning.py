"""Cost of a plan with rollouts by repeated steps and in the way that a world model offers, beside the bars.

    python benchmarks/planning.py [--iterations 3] [--pairs 3] [--json FILE]

LeWM: the published predictor (11 M parameters, history 3), CEM of 300 candidates x 30 iterations x 5 steps, one thread,
CPU time. `--iterations` of them are done and the others counted as equal; with 30 it is the whole plan, two minutes for
each of the pairs. Weights are random, with modulations drawn too: as they begin, actions do nothing. The ways alternate
and ratios are medians over pairs, as machines are shared. Agreement: the largest difference between the actions of both
ways' plans. Small: a GRU of width 192, 300 x 10 x 10, wall and CPU time on one thread and on two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from armillary.contracts import Dynamics, Energy, build
from armillary.methods.control import lewm, pldm
from armillary.nn.encoder import ConvNet
from armillary.planning.cem import CEM
from armillary.planning.energies import goal_energy
from armillary.randomness import numbered
from armillary.training.allocator import keep_memory

WIDTH, ACTION, WHOLE = 192, 10, 30
IMAGES = ConvNet(image=16, widths=(8, 8))  # an encoder that no plan runs
BARS = {
    "lewm ratio": ">= 1.3",
    "lewm agreement": "<= 1e-5",
    "lewm bf16 s": "<= 20",
    "small wall ms, 2 threads": "<= 200",
}


def predictor() -> lewm.LeWM:
    """The published predictor, with modulations that make actions matter."""
    method = build(lewm.Config(IMAGES))
    assert isinstance(method, lewm.LeWM)
    draw = torch.Generator().manual_seed(0)
    for block in method.predictor.blocks:
        block.modulation.weight.copy_(torch.randn(block.modulation.weight.shape, generator=draw) * 6 / WIDTH**0.5)  # type: ignore[union-attr]
    return method.eval()


class Steps:
    """Dynamics by their steps alone, whatever faster way they offer."""

    def __init__(self, dynamics: Dynamics[Any]):
        self.start, self.step, self.latent = dynamics.start, dynamics.step, dynamics.latent


def plan(energy: Energy, planner: CEM, seed: int = 0) -> Tensor:
    """The actions found."""
    low = -torch.ones(ACTION)
    return planner(energy, low, -low, numbered(1, seed)).actions


def lewm_plan(iterations: int, pairs: int) -> dict[str, float]:
    """Seconds of the whole plan, by steps, folded and folded in bfloat16; the ratio of the first two; agreement."""
    method, random = predictor(), numbered(1)
    state = (random.normal("z", 3, WIDTH), random.normal("past", 2, ACTION))
    goal, planner = random.normal("goal", WIDTH), CEM(horizon=5, samples=300, iterations=iterations)
    ways = {
        "plain": goal_energy(Steps(method), state, goal),
        "fast": goal_energy(method.folded(), state, goal),
        "bf16": goal_energy(method.folded(torch.bfloat16), state, goal),
    }
    for energy in ways.values():
        energy(torch.zeros(1, 30, 5, ACTION))
    times: dict[str, list[float]] = {name: [] for name in ways}
    gap = 0.0
    for seed in range(pairs):
        found = {}
        for name, energy in ways.items():
            begun = time.process_time()
            found[name] = plan(energy, planner, seed)
            times[name].append(time.process_time() - begun)
        gap = max(gap, float((found["plain"] - found["fast"]).abs().max()))
    share = WHOLE / iterations
    return {
        **{f"lewm {name} s": statistics.median(each) * share for name, each in times.items()},
        "lewm ratio": statistics.median(p / f for p, f in zip(times["plain"], times["fast"], strict=True)),
        "lewm agreement": gap,
    }


def lewm_pieces(repeats: int) -> dict[str, float]:
    """Milliseconds of one iteration, by how many candidates are computed at once."""
    method, random = predictor(), numbered(1)
    state = (random.normal("z", 3, WIDTH), random.normal("past", 2, ACTION))
    actions = random.normal("actions", 300, 5, ACTION)
    ways = {
        f"{name} ms, rows {rows}": replace(method.folded(dtype), rows=rows)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        for rows in (30, 75, 150, 300)
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            begun = time.process_time()
            way.rollouts(state, actions)
            times[name].append(1e3 * (time.process_time() - begun))
    return {name: min(each) for name, each in times.items()}


def small_plan(pairs: int, threads: int) -> dict[str, float]:
    """Milliseconds of wall and CPU time of the small plan."""
    torch.set_num_threads(threads)
    method = build(pldm.Config(IMAGES, width=WIDTH, action=ACTION)).eval()
    assert isinstance(method, pldm.PLDM)
    random, planner = numbered(1), CEM(horizon=10, samples=300, iterations=10)
    state, goal = (method.norm(random.normal("z", WIDTH)),), random.normal("goal", WIDTH)
    energy, wall, spent = goal_energy(method, state, goal), [], []
    for seed in range(pairs + 1):  # the first one warms up
        begun = time.process_time(), time.perf_counter()
        plan(energy, planner, seed)
        wall.append(1e3 * (time.perf_counter() - begun[1]))
        spent.append(1e3 * (time.process_time() - begun[0]))
    medians = {"wall": statistics.median(wall[1:]), "CPU": statistics.median(spent[1:])}
    return {f"small {name} ms, {threads} threads": value for name, value in medians.items()}


@torch.no_grad()
def main() -> None:
    """Print the figures beside the bars."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--iterations", type=int, default=3, help="of the 30 of a LeWM plan")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    found = lewm_plan(asked.iterations, asked.pairs) | lewm_pieces(2)
    found |= small_plan(asked.pairs, 1) | small_plan(asked.pairs, 2)
    for name, value in found.items():
        print(f"{name:34} {value:10.4g}   {BARS.get(name, '')}")
    if asked.json:
        asked.json.write_text(json.dumps({"iterations": asked.iterations, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
