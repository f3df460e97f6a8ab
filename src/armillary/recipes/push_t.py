"""World models of Push-T at the published size."""

from __future__ import annotations

from ..data.episodes import Episodes
from ..methods.control import lewm
from ..training.optim import Optim
from .run import Run


def lewm_push_t() -> Run:
    """LeWM on expert episodes of Push-T at 224 pixels, the published 15 million parameters; not reproduced.

    Published: 96 % of goals 25 steps ahead, on 18,500 episodes that are not at hand here; ten passes over about 2.3
    million windows. bfloat16 and a GPU are expected.
    Source: galilai-group/stable-worldmodel:scripts/train/config/lewm.yaml; arXiv 2603.19312, table 1.
    """
    return Run(
        method=lewm.Config(),
        data=Episodes(path="data/push_t", window=4, frame_skip=5),
        optim=Optim(lr=5e-5, warmup=0.01, weight_decay=1e-3, final_weight_decay=1e-3, clip=1.0),
        steps=180_000,
        batch=128,
    )
