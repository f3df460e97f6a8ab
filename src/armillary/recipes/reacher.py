"""A world model of a world that is not ours: DM Control's reacher, through the adapter to Gymnasium."""

from __future__ import annotations

from ..data.episodes import Episodes
from ..envs.gym import Gym
from ..methods.control import lewm
from ..nn.encoder import ConvNet
from ..planning.cem import CEM
from ..planning.settings import Planning
from ..training.loop import Loop
from ..training.optim import Optim
from .run import Run

SKIP = 3  # raw steps of a macro-step


def lewm_reacher() -> Run:
    """LeWM on DM Control's reacher from pixels: an arm of two links that is to take the pose of a goal image.

    Needs `pip install 'armillary[envs]'` and MUJOCO_GL=egl (or another way to render off-screen). Two frames of history
    show velocities; success is the fingertip within 5 cm of the goal's, at any of 60 steps.
    """
    return Run(
        method=lewm.Config(
            ConvNet(image=64, widths=(32, 32, 32), stem=4), width=48, action=2 * SKIP, history=2, rollout=5, depth=2,
            heads=2, head_width=24, hidden=256, dropout=0.0, sigreg_weight=0.05, directions=256,
        ),
        data=Episodes(path="data/reacher", window=7, frame_skip=SKIP),
        world=Gym("dm_control/reacher-easy", action_repeat=2),
        planning=Planning(
            CEM(horizon=6, samples=200, elites=20, iterations=5, correlation=0.5, keep_elites=5), earlier_weight=0.1,
            budget=60, goals=50,
        ),
        optim=Optim(lr=1e-3, warmup=0.05, weight_decay=1e-3, final_weight_decay=1e-3, final_lr=2e-5, clip=1.0),
        loop=Loop(precision="fp32", threads=1),
        steps=1500,
        batch=64,
    )  # fmt: skip
