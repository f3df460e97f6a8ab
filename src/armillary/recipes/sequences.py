"""Sequences of views of one image, with what leads from view to view."""

from __future__ import annotations

from dataclasses import replace

from ..data.formats.images import Images
from ..methods.image import seq_jepa
from ..nn.resnet import ResNet
from ..training.loop import Loop
from ..training.optim import Optim
from .images import CIFAR, SMALL_RESNET
from .run import Run

CIFAR100 = Images(path="data/cifar100", size=32, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
STL = Images(path="data/stl10", size=96, mean=(0.4467, 0.4398, 0.4066), std=(0.2241, 0.2215, 0.2239))
EPOCHS = 2000


def seq_jepa_cifar10() -> Run:
    """seq-JEPA on CIFAR-10 with a small ResNet-18, at the settings of the two-view methods and without blur."""
    method = seq_jepa.Config(
        SMALL_RESNET, action_width=32, hidden=256, momentum=(0.99, 1.0), seen=replace(seq_jepa.SEEN, blur=0.0),
        following=replace(seq_jepa.FOLLOWING, blur=0.0),
    )  # fmt: skip
    return Run(
        method=method,
        data=CIFAR,
        optim=Optim(lr=2e-3, weight_decay=1e-4, final_weight_decay=1e-4),
        loop=Loop(precision="fp32", threads=1),
        steps=4000,
        batch=64,
    )


def seq_jepa_cifar100() -> Run:
    """seq-JEPA on CIFAR-100, 2,000 epochs, with three seen views of changed crop and color; not reproduced.

    Source: hafezgh/seq-jepa:README.md and seq-jepa/src/main_transformed_views.py: Adam, whose rate rises for 20 epochs
    and then stays.
    """
    return Run(method=seq_jepa.Config(), data=CIFAR100, optim=_steady(0.0), steps=EPOCHS * (50_000 // 256), batch=256)


def seq_jepa_saccades_stl10() -> Run:
    """seq-JEPA on the unlabeled part of STL-10, as `train`, 2,000 epochs: four foveae of 32 pixels, then a fifth.

    Not reproduced. Foveae are drawn by their contrast, in the release by maps of where people would look.
    Source: hafezgh/seq-jepa:seq-jepa/scripts/script_pls.sh and src/main_pls.py.
    """
    method = seq_jepa.Config(ResNet(image=96), sequence="saccades", views=4)
    return Run(method=method, data=STL, optim=_steady(1e-3), steps=EPOCHS * (100_000 // 512), batch=512)


def _steady(decay: float) -> Optim:
    """A cosine is asked for there, but every epoch sets the full rate again before it begins."""
    return Optim(
        lr=4e-4, start_lr=1e-5, final_lr=4e-4, warmup=20 / EPOCHS, weight_decay=decay, final_weight_decay=decay
    )
