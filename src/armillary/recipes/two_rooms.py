"""World models of Two Rooms."""

from __future__ import annotations

from dataclasses import replace

from ..data.episodes import Episodes
from ..envs.two_rooms import TwoRooms
from ..methods.control import lewm, pldm
from ..nn.encoder import ConvNet, ViT
from ..planning.cem import CEM
from ..planning.settings import Planning
from ..training.loop import Loop
from ..training.optim import Optim
from .run import Run

SKIP = 3  # raw steps of a macro-step


def lewm_two_rooms() -> Run:
    """LeWM on Two Rooms from pixels, fixed wall, convolutional encoder: the demo, minutes on two cores.

    Departs from the published LeWM where the world is smaller: no history (a frame shows the whole state), open-loop
    rollouts of eight macro-steps in training instead of teacher forcing, a convolutional encoder.
    Planning: CEM with noise correlated over time and actions held within a macro-step.
    """
    return Run(
        method=lewm.Config(
            ConvNet(image=64, widths=(32, 32, 32), stem=4), width=48, action=2 * SKIP, history=1, rollout=8, depth=1,
            heads=2, head_width=24, hidden=256, dropout=0.0, sigreg_weight=0.05, directions=256,
        ),
        data=Episodes(path="data/two_rooms", window=9, frame_skip=SKIP),
        world=TwoRooms(door_share=0.3),
        planning=Planning(
            CEM(horizon=9, samples=200, elites=8, iterations=5, correlation=0.7, keep_elites=4),
            earlier_weight=0.03, execute=3,
        ),
        optim=Optim(lr=1e-3, warmup=0.05, weight_decay=1e-3, final_weight_decay=1e-3, final_lr=2e-5, clip=1.0),
        loop=Loop(precision="fp32", monitor=64, diagnose_every=75, threads=1),
        steps=1300,
        batch=64,
    )  # fmt: skip


def lewm_two_rooms_vit() -> Run:
    """LeWM on Two Rooms with a vision transformer and a three-frame history; not measured yet."""
    base = lewm_two_rooms()
    vit = ViT(
        image=64,
        patch=8,
        width=96,
        depth=4,
        heads=3,
        position="learned",
        class_token=True,
        norm_eps=1e-12,
        init="xavier",
    )
    method = replace(base.method, encoder=vit, history=3, rollout=6)
    return replace(base, method=method, data=replace(base.data, path="data/two_rooms"), steps=4000)


def lewm_two_rooms_random() -> Run:
    """LeWM on Two Rooms whose wall and door stand elsewhere in each episode; not measured yet."""
    base = lewm_two_rooms()
    return replace(
        base,
        world=replace(base.world, random_wall=True),
        data=replace(base.data, path="data/two_rooms_random"),
        steps=4000,
    )


def pldm_two_rooms() -> Run:
    """PLDM on Two Rooms from pixels, fixed wall, small: the released terms and weights, beside `lewm_two_rooms`.

    Data, encoder, width, planner and schedule are those of `lewm_two_rooms`; released are an Impala encoder, width 512,
    windows of 16 raw steps and Adam. Not measured yet.
    """
    base = lewm_two_rooms()
    method = pldm.Config(base.method.encoder, width=base.method.width, action=base.method.action, hidden=256)
    return replace(base, method=method)


def pldm_two_rooms_eb_jepa() -> Run:
    """PLDM on Two Rooms with EB-JEPA's weights, variances and covariances of all latents at once; not measured yet."""
    base = pldm_two_rooms()
    return replace(base, method=replace(base.method, weights=pldm.EB_JEPA, samples="all", rollout=8))
