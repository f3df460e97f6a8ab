"""Flags of the smallest world models and plans that the command line can make."""

from __future__ import annotations

PLANNING = [
    "--planning.goals", "3", "--planning.budget", "9", "--planning.planner.samples", "8", "--planning.planner.elites",
    "4", "--planning.planner.keep-elites", "1", "--planning.planner.iterations", "2", "--planning.planner.horizon", "3",
    "--planning.films", "2",
]  # fmt: skip
LEWM = [
    "--method.encoder.widths", "4", "4", "4", "--method.width", "8", "--method.hidden", "16", "--method.depth", "1",
    "--method.heads", "1", "--method.head-width", "8", "--method.directions", "16", "--method.rollout", "2",
    "--data.window", "3", "--steps", "4", "--batch", "8", "--loop.monitor", "16", *PLANNING,
]  # fmt: skip
