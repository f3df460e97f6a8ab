"""JEPAs of images beside I-JEPA: on CIFAR-10, and at the published sizes where these are known."""

from __future__ import annotations

from dataclasses import replace

from ..methods.image import cjepa, dseq_jepa, iwm, lejepa, salt
from ..training.loop import Loop
from ..training.optim import Optim
from .images import CIFAR, IMAGENET, SMALL, SMALL_RESNET, ijepa_cifar10
from .run import Run


def lejepa_cifar10() -> Run:
    """LeJEPA on CIFAR-10 with the ViT of ijepa_cifar10: 2 views of 32 pixels and 2 of 16."""
    color = replace(lejepa.GLOBAL, blur=0.0, size=0)
    return Run(
        method=lejepa.Config(
            SMALL, hidden=256, out=16, locals=2, directions=256, sigreg_weight=0.02, global_view=color,
            local_view=replace(color, crop_scale=(0.05, 0.3), size=16),
        ),
        data=CIFAR,
        optim=Optim(lr=2e-3, final_lr=2e-6, weight_decay=0.05, final_weight_decay=0.05),
        loop=Loop(precision="fp32", threads=1),
        steps=6000,
        batch=64,
    )  # fmt: skip


def lejepa_resnet_cifar10() -> Run:
    """LeJEPA on CIFAR-10 with the small residual network, and the weight decay that is published for such."""
    base = lejepa_cifar10()
    optim = replace(base.optim, weight_decay=5e-4, final_weight_decay=5e-4)
    return replace(base, method=replace(base.method, encoder=SMALL_RESNET), optim=optim)


def lejepa_in1k_vitl14() -> Run:
    """LeJEPA on ImageNet-1k, ViT-L/14 at 224 pixels, 100 epochs; not reproduced.

    Published: views, optimizer, rate, decay and schedule (rbalestr-lab/lejepa:README.md). Not published there: the
    batch (512 here), the warm-up (a tenth) and the projector (that of MINIMAL.md, which is for Imagenette).
    """
    return Run(
        method=lejepa.Config(),
        data=replace(IMAGENET, size=256),
        optim=Optim(lr=5e-4, final_lr=5e-7, warmup=0.1, weight_decay=0.05, final_weight_decay=0.05),
        steps=100 * 2502,
        batch=512,
    )


def cjepa_cifar10() -> Run:
    """C-JEPA on CIFAR-10, at the settings of ijepa_cifar10."""
    base = ijepa_cifar10()
    method = cjepa.Config(SMALL, predictor_width=48, predictor_depth=2, predictor_heads=2, momentum=(0.99, 1.0))
    return replace(base, method=method)


def cjepa_in1k_vitb16() -> Run:
    """C-JEPA on ImageNet-1k, ViT-B/16, 600 epochs; published 73.7 linear (I-JEPA 72.9), not reproduced.

    Source: arXiv 2410.19560, section 4.1, as quoted by others: batch 2048, rate 1e-4 to 1e-3 in 15 epochs, then to
    1e-6; decay 0.04 to 0.4; momentum 0.996 to 1.
    """
    return Run(
        method=cjepa.Config(),
        data=replace(IMAGENET, size=224),
        optim=Optim(
            lr=1e-3, start_lr=1e-4, final_lr=1e-6, warmup=15 / 600, weight_decay=0.04, final_weight_decay=0.4,
            decay_mask_token=True,
        ),
        steps=600 * 625,
        batch=2048,
    )  # fmt: skip


def iwm_cifar10() -> Run:
    """IWM on CIFAR-10, at the settings of ijepa_cifar10, without blur and with a deeper predictor."""
    base = ijepa_cifar10()
    method = iwm.Config(
        SMALL, predictor_width=48, predictor_depth=4, predictor_heads=2, momentum=(0.99, 1.0),
        source=replace(iwm.SOURCE, blur=0.0),
    )  # fmt: skip
    return replace(base, method=method)


def iwm_in1k_vitb16() -> Run:
    """IWM on ImageNet-1k, ViT-B/16 and the predictor of 18 blocks, 300 epochs; not reproduced.

    Source: arXiv 2403.00504, section 4 (sizes, epochs). Optimizer and schedules are I-JEPA's, on which it builds.
    """
    return Run(
        method=iwm.Config(),
        data=replace(IMAGENET, size=256),
        optim=Optim(
            lr=1e-3, start_lr=2e-4, final_lr=1e-6, warmup=40 / 300, weight_decay=0.04, final_weight_decay=0.4,
            decay_mask_token=True,
        ),
        steps=300 * 625,
        batch=2048,
    )  # fmt: skip


def dseq_jepa_cifar10() -> Run:
    """DSeq-JEPA on CIFAR-10, at the settings of ijepa_cifar10; saliency is what all patches attend to in block 2."""
    base = ijepa_cifar10()
    method = dseq_jepa.Config(
        SMALL, predictor_width=48, predictor_depth=2, predictor_heads=2, saliency_block=2, momentum=(0.99, 1.0)
    )
    return replace(base, method=method)


def dseq_jepa_in1k_vitb16() -> Run:
    """DSeq-JEPA on ImageNet-1k, ViT-B/16, 600 epochs; not reproduced.

    Source: SkyShunsuke/DSeq-JEPA:configs/dseqjepa/vitb16_in1k.yaml, 256 images per GPU; eight GPUs are assumed here.
    """
    return Run(
        method=dseq_jepa.Config(),
        data=replace(IMAGENET, size=224),
        optim=Optim(
            lr=8e-4, start_lr=2e-4, final_lr=1e-4, warmup=15 / 600, weight_decay=0.04, final_weight_decay=0.4,
            decay_mask_token=True,
        ),
        steps=600 * 625,
        batch=2048,
    )  # fmt: skip


def salt_cifar10() -> Run:
    """SALT on CIFAR-10: pixels for three tenths of the steps, then the latents of the encoder that this gave."""
    base = ijepa_cifar10()
    return replace(base, method=salt.Config(SMALL, predictor_width=48, predictor_depth=2, predictor_heads=2))
