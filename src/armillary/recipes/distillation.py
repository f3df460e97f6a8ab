"""Self-distillation, masked reconstruction and supervision on images.

Small ones train on CIFAR-10 in minutes; the published ones (`*_in1k_*`) are not reproduced here.
"""

from __future__ import annotations

from dataclasses import replace

from ..methods.rivals import data2vec, dino, mae, supervised
from ..nn.encoder import ViT
from ..training.loop import Loop
from ..training.optim import Optim
from .images import CIFAR, IMAGENET, SMALL, SMALL_RESNET
from .run import Run

VIT_B = ViT(width=768, depth=12, heads=12, class_token=True)
LOOP = Loop(precision="fp32", threads=1)


def dino_cifar10() -> Run:
    """DINO on CIFAR-10 with two global views of 32 and two local ones of 16 pixels, 256 prototypes.

    Half the published temperatures and a narrow bottleneck: with the published ones the teacher's assignments stay
    within 1 % of uniform for the first hundreds of steps. No freezing, no rise of the weight decay, as runs are short.
    """
    view = replace(dino.GLOBAL, blur=0.0, size=32)
    return Run(
        method=dino.Config(
            SMALL, prototypes=256, hidden=256, bottleneck=32, teacher_temperature=(0.02, 0.04), momentum=(0.98, 1.0),
            frozen=0.0, locals=2, one=view, two=replace(view, solarize=0.2),
            local=replace(view, crop_scale=(0.05, 0.4), size=16),
        ),
        data=CIFAR,
        optim=Optim(lr=2e-3, final_lr=1e-5, weight_decay=0.04, final_weight_decay=0.04, clip=3.0),
        loop=LOOP,
        steps=3000,
        batch=64,
    )  # fmt: skip


def ibot_cifar10() -> Run:
    """iBOT on CIFAR-10: `dino_cifar10` with the loss at masked patches."""
    base = dino_cifar10()
    return replace(base, method=replace(base.method, patch_loss=1.0))


def mae_cifar10() -> Run:
    """MAE on CIFAR-10: a decoder of two blocks, 64 wide."""
    return Run(
        method=mae.Config(SMALL, decoder_width=64, decoder_depth=2, decoder_heads=2),
        data=CIFAR,
        optim=Optim(lr=1e-3, final_lr=1e-5, betas=(0.9, 0.95)),
        loop=LOOP,
        steps=8000,
        batch=128,
    )


def data2vec_cifar10() -> Run:
    """data2vec on CIFAR-10: targets from all four blocks, large crops, no color changes."""
    view = replace(data2vec.VIEW, crop_scale=(0.3, 1.0), jitter=0.0)
    return Run(
        method=data2vec.Config(SMALL, layers=4, mask=0.6, momentum=(0.99, 0.99), view=view),
        data=CIFAR,
        optim=Optim(lr=5e-4, final_lr=1e-5, clip=3.0),
        loop=LOOP,
        steps=4000,
        batch=64,
    )


def supervised_resnet_cifar10() -> Run:
    """Supervised training of the small ResNet on CIFAR-10: the ceiling of methods that compare whole images."""
    return Run(
        method=supervised.Config(SMALL_RESNET, classes=10),
        data=CIFAR,
        optim=Optim(lr=2e-3, final_lr=1e-5),
        loop=LOOP,
        steps=3000,
        batch=64,
    )


def dino_in1k_vits16() -> Run:
    """DINO on ImageNet-1k, ViT-S/16, 100 epochs: the released vanilla run (8 GPUs, 1.75 days; 69.3 kNN, 74.0 linear).

    Source: facebookresearch/dino:README.md and the defaults of main_dino.py. Not here: drop path 0.1, clipping of each
    tensor by itself.
    """
    return Run(
        method=dino.Config(teacher_temperature=(0.04, 0.04)),
        data=IMAGENET,
        optim=Optim(lr=1e-3, final_lr=1e-6, warmup=10 / 100, weight_decay=0.04, final_weight_decay=0.4, clip=3.0),
        steps=100 * 2502,
        batch=512,
    )


def ibot_in1k_vits16() -> Run:
    """iBOT on ImageNet-1k, ViT-S/16, 800 epochs (published: 75.2 kNN, 77.9 linear).

    Source: bytedance/ibot:README.md. Not here: drop path 0.1, learned lengths of the prototypes.
    """
    base = dino.Config()
    wide = {name: replace(getattr(base, name), crop_scale=(0.25, 1.0)) for name in ("one", "two")}
    method = replace(
        base, prototypes=8192, temperature_warmup=30 / 800, frozen=1 / 800, patch_loss=1.0, locals=10,
        local=replace(base.local, crop_scale=(0.05, 0.25)), **wide,
    )  # fmt: skip
    optim = Optim(lr=2e-3, final_lr=1e-6, warmup=10 / 800, weight_decay=0.04, final_weight_decay=0.4, clip=3.0)
    return Run(method=method, data=IMAGENET, optim=optim, steps=800 * 1251, batch=1024)


def mae_in1k_vitb16() -> Run:
    """MAE on ImageNet-1k, ViT-B/16, 1600 epochs (published: 68.0 linear, 83.6 fine-tuned).

    Source: arXiv 2111.06377, tables 3 and 8; facebookresearch/mae:PRETRAIN.md.
    """
    return Run(
        method=mae.Config(replace(VIT_B, init="xavier")),
        data=replace(IMAGENET, size=224),
        optim=Optim(lr=2.4e-3, warmup=40 / 1600, betas=(0.9, 0.95), decay_mask_token=True),
        steps=1600 * 312,
        batch=4096,
    )


def data2vec_in1k_vitb16() -> Run:
    """data2vec on ImageNet-1k, ViT-B/16, 800 epochs (published: 84.2 fine-tuned).

    Source: facebookresearch/data2vec_vision:beit/README.md. Not here: relative positions, layer scale, drop path 0.25,
    attention dropout 0.05.
    """
    return Run(
        method=data2vec.Config(VIT_B, view=replace(data2vec.VIEW, size=224)),
        data=IMAGENET,
        optim=Optim(lr=2e-3, start_lr=1e-6, final_lr=1e-5, warmup=10 / 800, clip=3.0, decay_mask_token=True),
        steps=800 * 625,
        batch=2048,
    )
