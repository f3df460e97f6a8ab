"""World models of generated physics, to be surprised."""

from __future__ import annotations

from ..data.physics import Physics
from ..methods.control import lewm
from ..nn.encoder import ConvNet
from ..training.loop import Loop
from ..training.optim import Optim
from .run import Run


def lewm_physics() -> Run:
    """LeWM on possible clips of one ball, without actions, with a memory that outlasts a screen: minutes on two cores.

    `armillary diagnose` then measures its surprise at impossible twins.
    """
    return Run(
        method=lewm.Config(
            ConvNet(image=32, widths=(32, 32, 32), stem=2), width=64, action=1, history=12, rollout=3, depth=2, heads=4,
            head_width=32, hidden=256, dropout=0.0, sigreg_weight=0.05, directions=256,
        ),
        data=Physics(size=32, key="image", action=1),
        optim=Optim(lr=1e-3, warmup=0.05, weight_decay=1e-3, final_weight_decay=1e-3, final_lr=2e-5, clip=1.0),
        loop=Loop(precision="fp32", threads=1),
        steps=2000,
        batch=32,
    )  # fmt: skip
