"""Policies that imitate episodes, without a search."""

from __future__ import annotations

from ..data.episodes import Episodes
from ..envs.two_rooms import TwoRooms
from ..methods.control import act_jepa
from ..nn.encoder import ConvNet
from ..planning.cem import CEM
from ..planning.settings import Planning
from ..training.loop import Loop
from ..training.optim import Optim
from .run import Run

SKIP = 3  # raw steps of a macro-step


def act_jepa_two_rooms() -> Run:
    """ACT-JEPA on Two Rooms from pixels, told its goal as an image: a policy of chunks of six macro-steps.

    Episodes are those of `lewm_two_rooms`, random motion: what a policy can learn from them is how to get from a frame
    to a later one. Goals in training are up to 16 macro-steps ahead. The planner is that of the true dynamics beside
    it. Not measured yet.
    """
    return Run(
        method=act_jepa.Config(
            ConvNet(image=64, widths=(32, 32, 32), stem=4), action=2 * SKIP, chunk=6, goal=True, width=64, depth=2,
            decoder_depth=2, predictor_depth=2, heads=4, momentum=(0.99, 1.0),
        ),
        data=Episodes(path="data/two_rooms", window=17, frame_skip=SKIP),
        world=TwoRooms(door_share=0.3),
        planning=Planning(
            CEM(horizon=9, samples=200, elites=8, iterations=5, correlation=0.7, keep_elites=4),
            earlier_weight=0.03, execute=3,
        ),
        optim=Optim(lr=1e-3, warmup=0.05, weight_decay=1e-3, final_weight_decay=1e-3, final_lr=2e-5, clip=1.0),
        loop=Loop(precision="fp32", threads=1),
        steps=2000,
        batch=64,
    )  # fmt: skip


def act_jepa_door() -> Run:
    """ACT-JEPA on 25 demonstrations of a hand that opens a door, states without images: validated offline.

    Needs `armillary convert PATH/adroit_door data/adroit_door` first. Not measured yet.
    """
    return Run(
        method=act_jepa.Config(
            None, proprio=39, action=28, chunk=20, width=128, depth=2, decoder_depth=2, predictor_depth=2, heads=4,
            momentum=(0.99, 1.0),
        ),
        data=Episodes(path="data/adroit_door", window=21),
        optim=Optim(lr=5e-4, warmup=0.05, weight_decay=0.01, final_weight_decay=0.01, final_lr=1e-5, clip=1.0),
        loop=Loop(precision="fp32", threads=1),
        steps=3000,
        batch=64,
    )  # fmt: skip
