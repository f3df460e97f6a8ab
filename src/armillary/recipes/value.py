"""World models whose distances tell the way that is left to a goal."""

from __future__ import annotations

from dataclasses import replace

from ..data.episodes import Episodes
from ..envs.point_maze import PointMaze
from ..methods.control import value_guided
from ..nn.encoder import ConvNet
from ..planning.cem import CEM
from ..planning.settings import Planning
from .run import Run
from .two_rooms import SKIP, lewm_two_rooms


def value_guided_two_rooms() -> Run:
    """Value-guided JEPA on Two Rooms, interval quasi-metric, beside `lewm_two_rooms`; not measured yet.

    Data, encoder, width, planner and schedule are those of `lewm_two_rooms`; the distance of plans is the learned one.
    `--method.distance euclidean --method.discount 0.98 --method.expectile 0.8` is the paper's `VF`.
    """
    base = lewm_two_rooms()
    world = base.method
    method = value_guided.Config(world.encoder, width=world.width, action=world.action, hidden=world.hidden)
    return replace(base, method=method, planning=replace(base.planning, distance="learned"))


def value_guided_two_rooms_prediction() -> Run:
    """The same without values, with PLDM's weights of VICReg's terms (`pred_VCReg`); not measured yet.

    Plans go by the squared distance of latents.
    """
    base = value_guided_two_rooms()
    method = replace(
        base.method, value_weight=0.0, separate=False, variance_weight=3.9843, covariance_weight=6.9238, samples="first"
    )
    return replace(base, method=method, planning=replace(base.planning, distance="squared"))


def value_guided_point_maze() -> Run:
    """Value-guided JEPA on Point Maze, interval quasi-metric; not measured yet.

    First `armillary collect value_guided_point_maze --episodes 1000 --length 150`. The predictor sees latents of two
    frames, hence velocities, of which the paper's encoder is told; values are of single frames.
    """
    base = lewm_two_rooms()
    return replace(
        base,
        method=value_guided.Config(
            ConvNet(image=64, widths=(32, 32, 32), stem=4), width=64, action=2 * SKIP, history=2, hidden=384,
        ),
        data=Episodes(path="data/point_maze", window=13, frame_skip=SKIP),
        world=PointMaze(),
        planning=Planning(
            CEM(horizon=12, samples=200, elites=8, iterations=5, correlation=0.7, keep_elites=4),
            earlier_weight=0.03, execute=2, budget=150, distance="learned",
        ),
        steps=2800,
    )  # fmt: skip
