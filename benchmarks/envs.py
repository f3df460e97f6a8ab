"""Frames per second of our own worlds, stepped and drawn at 64 pixels, beside the bar of Two Rooms.

    python benchmarks/envs.py [--worlds 1024] [--seconds 0.5] [--threads 1] [--json FILE]

A frame is one world, moved by one action of `wander` and drawn. Wall time of the median step; as machines are shared,
frames per second of CPU time (of all threads, their waiting included) stand beside it. Each world runs for `seconds`,
after one step that is not counted. The tensors are small: more cores are for more processes rather than threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from armillary.envs.bouncing_balls import BouncingBalls
from armillary.envs.point_maze import PointMaze
from armillary.envs.push_block import PushBlock
from armillary.envs.tasks import World
from armillary.envs.two_rooms import TwoRooms
from armillary.randomness import numbered
from armillary.training.allocator import keep_memory

STEPS = 20  # actions, which are repeated as long as there is time
RULES = {
    "two rooms, fixed wall": TwoRooms(),
    "two rooms, random wall": TwoRooms(random_wall=True),
    "two rooms, two layers": TwoRooms(random_wall=True, layers=True),
    "point maze, named": PointMaze(),
    "point maze, generated": PointMaze(layouts="generated"),
    "push block": PushBlock(),
    "bouncing balls, 3": BouncingBalls(),
}
BARS = {"two rooms, fixed wall": 20_000, "two rooms, random wall": 20_000}


def rates(world: World, seconds: float) -> dict[str, float]:
    """Frames per second: of the median step, of the fastest one, and of CPU time."""
    world.reset(0)
    actions = world.wander(numbered(world.count), STEPS).unbind(1)
    world.step(actions[0])
    wall, cpu, end = [], [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(wall) < 3:
        begun = time.perf_counter(), time.process_time()
        world.step(actions[(1 + len(wall)) % STEPS])
        wall.append(time.perf_counter() - begun[0])
        cpu.append(time.process_time() - begun[1])
    found = {"median": statistics.median(wall), "fastest": min(wall), "cpu": statistics.median(cpu)}
    return {name: world.count / value for name, value in found.items()}


def main() -> None:
    """Print the figures beside the bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    keep_memory()
    torch.set_num_threads(asked.threads)
    found = {}
    print(f"{'world':<24} {'frames/s':>9} {'fastest':>9} {'CPU':>9} {'bar':>7}")
    for name, rules in RULES.items():
        rate = found[name] = rates(rules.open(asked.worlds), asked.seconds)
        bar = BARS.get(name, "")
        print(f"{name:<24} {rate['median']:>9.0f} {rate['fastest']:>9.0f} {rate['cpu']:>9.0f} {bar:>7}")
    if asked.json:
        asked.json.write_text(json.dumps({"worlds": asked.worlds, "threads": asked.threads, "rates": found}, indent=1))


if __name__ == "__main__":
    main()
