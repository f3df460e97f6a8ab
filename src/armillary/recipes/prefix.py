"""World models of Two Rooms beside `lewm_two_rooms`: from prefixes of actions, and with straightened trajectories."""

from __future__ import annotations

from dataclasses import replace

from ..methods.control import fast_lewm
from .run import Run
from .two_rooms import lewm_two_rooms


def fast_lewm_two_rooms() -> Run:
    """Fast-LeWM on Two Rooms, small, prefixes of eight macro-steps; not measured yet.

    Data, encoder, width, SIGReg, planner, schedule and steps are those of `lewm_two_rooms`, which unrolls eight steps
    in training. Plans have eight macro-steps, one fewer, so that all of a plan is one prefix of those that are trained.
    """
    base = lewm_two_rooms()
    world = base.method
    method = fast_lewm.Config(
        world.encoder, width=world.width, action=world.action, horizon=world.rollout, prefix_depth=2, prefix_heads=2,
        depth=2, inner=world.heads * world.head_width, hidden=world.hidden, dropout=world.dropout,
        sigreg_weight=world.sigreg_weight, directions=world.directions,
    )  # fmt: skip
    planning = replace(base.planning, planner=replace(base.planning.planner, horizon=world.rollout))
    return replace(base, method=method, planning=planning)


def lewm_two_rooms_straight() -> Run:
    """LeWM on Two Rooms whose latents shall move straight on; not measured yet.

    Weight 0.1, as in both releases of the term; nothing else differs from `lewm_two_rooms`.
    """
    base = lewm_two_rooms()
    return replace(base, method=replace(base.method, straighten_weight=0.1))
