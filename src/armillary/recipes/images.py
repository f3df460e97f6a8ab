"""Image JEPAs and their ceiling."""

from __future__ import annotations

from dataclasses import replace

from ..data.formats.images import Images
from ..methods.image import ijepa
from ..methods.rivals import supervised
from ..nn.encoder import ViT
from ..nn.resnet import ResNet
from ..training.loop import Loop
from ..training.optim import Optim
from .run import Run

CIFAR = Images(path="data/cifar10", size=32, mean=(0.491, 0.482, 0.447), std=(0.247, 0.243, 0.262))
IMAGENET = Images(path="data/imagenet", size=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SMALL = ViT(image=32, patch=4, width=96, depth=4, heads=3, init="xavier")
SMALL_RESNET = ResNet(image=32, base=16)


def ijepa_cifar10() -> Run:
    """I-JEPA on CIFAR-10 with a ViT of 0.5 million parameters: half an hour on one core."""
    return Run(
        method=ijepa.Config(SMALL, predictor_width=48, predictor_depth=2, predictor_heads=2, momentum=(0.99, 1.0)),
        data=CIFAR,
        optim=Optim(lr=1.5e-3, final_lr=1e-5, weight_decay=0.05, final_weight_decay=0.05),
        loop=Loop(precision="fp32", threads=1),
        steps=6000,
        batch=64,
    )


def ijepa_in1k_vith14() -> Run:
    """I-JEPA on ImageNet-1k, ViT-H/14 at 224 pixels, 300 epochs: the published run (16 A100, 72 hours; 79.3 linear).

    Released schedules and mask-token decay; masks are ours unless `--method.masks released`.
    Source: facebookresearch/ijepa:configs/in1k_vith14_ep300.yaml.
    """
    return Run(
        method=ijepa.Config(),
        data=replace(IMAGENET, size=224),
        optim=Optim(
            lr=1e-3, start_lr=2e-4, final_lr=1e-6, warmup=40 / 300, weight_decay=0.04, final_weight_decay=0.4,
            decay_mask_token=True,
        ),
        steps=300 * 625,
        batch=2048,
    )  # fmt: skip


def ijepa_in1k_vith16_448() -> Run:
    """I-JEPA on ImageNet-1k, ViT-H/16 at 448 pixels, 300 epochs (published: 81.1 linear)."""
    base = ijepa_in1k_vith14()
    method = replace(base.method, encoder=ViT(image=448, patch=16, width=1280, depth=32, heads=16))
    return replace(base, method=method, data=replace(IMAGENET, size=448))


def supervised_cifar10() -> Run:
    """Supervised training of the same ViT on CIFAR-10: the ceiling beside ijepa_cifar10."""
    base = ijepa_cifar10()
    return replace(base, method=supervised.Config(SMALL, classes=10))
