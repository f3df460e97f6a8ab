"""World models of Point Maze, Push Block, Bouncing Balls, and of Two Rooms whose wall moves from episode to episode."""

from __future__ import annotations

from dataclasses import replace

from ..data.episodes import Episodes
from ..envs.bouncing_balls import BouncingBalls
from ..envs.point_maze import PointMaze
from ..envs.push_block import PushBlock
from ..planning.cem import CEM
from ..planning.settings import Planning
from .run import Run
from .two_rooms import SKIP, lewm_two_rooms, pldm_two_rooms


def lewm_point_maze() -> Run:
    """LeWM on Point Maze, 20 layouts, small; not measured yet.

    First `armillary collect lewm_point_maze --episodes 1000 --length 150`. Two frames show the ball's velocity. The
    low level of `hwm_point_maze` has the same sizes and objective.
    """
    base = lewm_two_rooms()
    method = replace(base.method, width=64, history=2, rollout=7, head_width=32)
    planner = CEM(horizon=12, samples=200, elites=8, iterations=5, correlation=0.7, keep_elites=4)
    return replace(
        base,
        method=method,
        data=Episodes(path="data/point_maze", window=9, frame_skip=SKIP),
        world=PointMaze(),
        planning=Planning(planner, earlier_weight=0.03, execute=2, budget=150),
        steps=3000,
    )


def lewm_push_block() -> Run:
    """LeWM on Push Block, small; not measured yet.

    First `armillary collect lewm_push_block --episodes 1000 --length 100`. A frame shows the whole state, as the block
    has no momentum.
    """
    base = lewm_two_rooms()
    planner = CEM(horizon=8, samples=300, elites=12, iterations=5, correlation=0.7, keep_elites=6)
    return replace(
        base,
        method=replace(base.method, width=64, head_width=32),
        data=Episodes(path="data/push_block", window=9, frame_skip=SKIP),
        world=PushBlock(),
        planning=Planning(planner, earlier_weight=0.05, execute=2, budget=120),
        steps=3000,
    )


def lewm_bouncing_balls() -> Run:
    """LeWM on Bouncing Balls, which nobody moves: a model of what happens by itself; not measured yet.

    First `armillary collect lewm_bouncing_balls`. There is nothing to reach: `armillary plan RUN --offline` tells how
    well its rollouts hold.
    """
    base = lewm_two_rooms()
    return replace(
        base,
        method=replace(base.method, width=64, history=2, rollout=6, head_width=32),
        data=Episodes(path="data/bouncing_balls", window=9, frame_skip=SKIP),
        world=BouncingBalls(),
        steps=2000,
    )


def pldm_two_rooms_random() -> Run:
    """PLDM on Two Rooms whose wall and door stand elsewhere in each episode; not measured yet.

    First `armillary collect pldm_two_rooms_random --episodes 1000`. `--method.weights.inverse-dynamics 0`, or variance
    and covariance 0, are the ablations under which the papers see it fail.
    """
    base = pldm_two_rooms()
    return replace(
        base,
        world=replace(base.world, random_wall=True),
        data=replace(base.data, path="data/two_rooms_random"),
        steps=4000,
    )
