"""World models that plan in two levels: goals beyond the horizon of one search."""

from __future__ import annotations

from dataclasses import replace

from ..data.episodes import Episodes
from ..envs.point_maze import PointMaze
from ..methods.control import hwm
from ..nn.encoder import ConvNet
from ..planning.cem import CEM
from ..planning.settings import Hierarchy, Planning
from .run import Run
from .two_rooms import SKIP, lewm_two_rooms


def hwm_two_rooms() -> Run:
    """HWM on Two Rooms, both levels trained together, beside `lewm_two_rooms`; not measured yet.

    Low level, data, planner and schedule are those of `lewm_two_rooms`, but for windows of 13 frames: three steps of
    the high level of four macro-steps each. `armillary plan RUN --flat` plans with the low level alone.
    """
    base = lewm_two_rooms()
    low = base.method
    method = hwm.Config(
        low.encoder, low.width, low.action, history=1, rollout=8, depth=1, heads=2, head_width=24, hidden=256,
        dropout=0.0, sigreg_weight=low.sigreg_weight, directions=low.directions, stride=4, high_rollout=3,
        high_hidden=256,
    )  # fmt: skip
    levels = Hierarchy(_search(4, 200, std=0.25), _search(4, 120, correlation=0.7))
    return replace(
        base, method=method, data=replace(base.data, window=13), planning=replace(base.planning, hierarchy=levels)
    )


def hwm_point_maze() -> Run:
    """HWM on Point Maze, both levels trained together; not measured yet.

    First `armillary collect hwm_point_maze --episodes 1000 --length 150`. Two frames show the ball's velocity to the
    low level; the high one sees the last frame alone. The flat planner looks 12 macro-steps ahead (90 px at full
    speed), the high level 24, and a plan of both levels together computes fewer steps of a model.
    """
    base = lewm_two_rooms()
    return replace(
        base,
        method=hwm.Config(
            ConvNet(image=64, widths=(32, 32, 32), stem=4), width=64, action=2 * SKIP, history=2, rollout=7, depth=1,
            heads=2, head_width=32, hidden=256, dropout=0.0, sigreg_weight=0.05, directions=256, stride=4,
            high_rollout=3, high_hidden=384,
        ),
        data=Episodes(path="data/point_maze", window=13, frame_skip=SKIP),
        world=PointMaze(),
        planning=Planning(
            _search(12, 200, correlation=0.7), earlier_weight=0.03, execute=2, budget=150,
            hierarchy=Hierarchy(_search(6, 200, std=0.25), _search(4, 180, correlation=0.7)),
        ),
        steps=2800,
    )  # fmt: skip


def _search(horizon: int, samples: int, **settings: float) -> CEM:
    return CEM(horizon, samples, elites=8, iterations=5, keep_elites=4, **settings)  # type: ignore[arg-type]
