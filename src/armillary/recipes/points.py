"""Point-cloud JEPAs."""

from __future__ import annotations

from dataclasses import replace

from ..data.formats.points import Points
from ..methods.points import point_jepa
from ..training.loop import Loop
from ..training.optim import Optim
from .run import Run


def point_jepa_ldraw() -> Run:
    """Point-JEPA on 769 shapes of building bricks, 0.4 million parameters: ten minutes on one core.

    Fixed positions and large groups: with learned positions the targets become a function of the place alone and the
    linear probe does not rise (docs/log.md).
    """
    return Run(
        method=point_jepa.Config(
            groups=32, group_size=64, tokenizer=(32, 64, 128), width=96, depth=4, heads=3, predictor_width=48,
            predictor_depth=2, init="xavier", position="sincos", rotate=False, momentum=(0.998, 1.0),
        ),
        data=Points(path="data/ldraw_shapes"),
        optim=Optim(lr=1e-3, final_lr=1e-6, weight_decay=0.05, final_weight_decay=0.05),
        loop=Loop(precision="fp32", threads=1),
        steps=1500,
        batch=32,
    )  # fmt: skip


def point_jepa_shapenet() -> Run:
    """Point-JEPA on ShapeNet-55, ViT-S on 64 groups, 500 epochs: the published run (93.7 linear SVM on ModelNet40).

    The released code also decays biases and norms, and drops paths (0.25), activations (0.1) and attention (0.05).
    Source: Ayumu-J-S/Point-JEPA:configs.
    """
    base = point_jepa_ldraw()
    return replace(
        base,
        method=point_jepa.Config(),
        data=replace(base.data, path="data/shapenet55"),
        optim=Optim(lr=1e-3, start_lr=1e-5, final_lr=1e-6, warmup=30 / 500, weight_decay=0.05, final_weight_decay=0.05),
        loop=Loop(),
        steps=500 * 82,
        batch=512,
    )
