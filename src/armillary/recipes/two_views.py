"""Methods that compare two views of an image: rivals, and two JEPAs.

On CIFAR-10 all share ResNet-18 with 16 base channels, views, steps and batch; AdamW stands for the LARS and SGD of the
papers, but for BYOL and SimSiam. The runs on ImageNet have the papers' heads, views and optimizers, but ResNet-18 where
those have ResNet-50, so their published scores are no anchor; `moco_in1k_vits16` is a published run.
"""

from __future__ import annotations

from dataclasses import replace

from ..methods.image import kerjepa, rectified_lpjepa
from ..methods.rivals import barlow, byol, moco, simclr, simsiam, vicreg
from ..training.loop import Loop
from ..training.optim import Optim
from ..views.pixels import PixelViews
from .images import CIFAR, IMAGENET, SMALL_RESNET
from .run import Run

# SimCLR on CIFAR-10 (appendix B.9): colors at half strength, no blur of 32 pixels. The crop's lower end is SimSiam's.
VIEW = PixelViews(
    crop_scale=(0.2, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, gray=0.2,
    blur=0.0, solarize=0.0,
)  # fmt: skip
FIRST = replace(VIEW, saturation=0.2)  # of BYOL, MoCo v3, VICReg and Barlow Twins
SECOND = replace(FIRST, solarize=0.2)

DESCENT = Optim(kind="sgd", lr=0.03, weight_decay=5e-4, final_weight_decay=5e-4)  # SimSiam's on CIFAR-10, appendix D


def _cifar10(method: object, lr: float = 2e-3) -> Run:
    return Run(
        method=method,
        data=CIFAR,
        optim=Optim(lr=lr, weight_decay=1e-4, final_weight_decay=1e-4),
        loop=Loop(precision="fp32", threads=1),
        steps=4000,
        batch=64,
    )


def simclr_cifar10() -> Run:
    """SimCLR on CIFAR-10 with a small ResNet-18."""
    return _cifar10(simclr.Config(SMALL_RESNET, hidden=256, out=128, temperature=0.5, views=VIEW))


def moco_cifar10() -> Run:
    """MoCo v3 on CIFAR-10 with a small ResNet-18."""
    method = moco.Config(
        SMALL_RESNET, layers=2, hidden=256, out=128, temperature=0.2, momentum=(0.99, 1.0), one=FIRST, two=SECOND
    )
    return _cifar10(method)


def byol_cifar10() -> Run:
    """BYOL on CIFAR-10 with a small ResNet-18; with AdamW its embeddings shrink to one direction within 50 steps."""
    method = byol.Config(SMALL_RESNET, hidden=256, out=128, momentum=(0.99, 1.0), one=FIRST, two=SECOND)
    return replace(_cifar10(method), optim=DESCENT)


def simsiam_cifar10() -> Run:
    """SimSiam on CIFAR-10 with a small ResNet-18; two layers in the projector and SGD, as in the paper's appendix D."""
    method = simsiam.Config(SMALL_RESNET, layers=2, hidden=256, out=256, predictor_hidden=64, views=VIEW)
    return replace(_cifar10(method), optim=DESCENT)


def vicreg_cifar10() -> Run:
    """VICReg on CIFAR-10 with a small ResNet-18."""
    return _cifar10(vicreg.Config(SMALL_RESNET, hidden=512, out=512, one=FIRST, two=SECOND))


def barlow_cifar10() -> Run:
    """Barlow Twins on CIFAR-10 with a small ResNet-18."""
    return _cifar10(barlow.Config(SMALL_RESNET, hidden=512, out=512, one=FIRST, two=SECOND))


def rectified_lpjepa_cifar10() -> Run:
    """Rectified LpJEPA on CIFAR-10 with a small ResNet-18; the weight is that of the authors' CIFAR-100."""
    views = replace(FIRST, solarize=0.1)
    method = rectified_lpjepa.Config(SMALL_RESNET, hidden=512, out=512, directions=512, matching=250.0, views=views)
    return _cifar10(method)


def kerjepa_cifar10() -> Run:
    """KerJEPA on CIFAR-10 with a small ResNet-18."""
    return _cifar10(kerjepa.Config(SMALL_RESNET, hidden=256, out=64, views=replace(FIRST, solarize=0.1)))


def _in1k(method: object, optim: Optim, epochs: int, batch: int) -> Run:
    data = replace(IMAGENET, size=224)
    return Run(method=method, data=data, optim=optim, steps=epochs * (1_281_167 // batch), batch=batch)


def simclr_in1k() -> Run:
    """SimCLR on ImageNet-1k, 800 epochs, with ResNet-18 where the paper has ResNet-50.

    Source: arXiv 2002.05709, section 2.2 and appendix B; learning rate 0.075 sqrt(batch).
    """
    optim = Optim(kind="lars", lr=4.8, warmup=10 / 800, weight_decay=1e-6, final_weight_decay=1e-6)
    return _in1k(simclr.Config(), optim, epochs=800, batch=4096)


def moco_in1k_vits16() -> Run:
    """MoCo v3 on ImageNet-1k, ViT-S/16 with 12 heads, 300 epochs: the published run (32 GPUs; 73.2 linear).

    Departures: probes read the mean of the patches, the release its class token; queries, keys and values begin as one
    Xavier matrix, released as three.
    Source: facebookresearch/moco-v3:CONFIG.md.
    """
    optim = Optim(lr=2.4e-3, warmup=40 / 300, weight_decay=0.1, final_weight_decay=0.1)
    return _in1k(moco.Config(), optim, epochs=300, batch=4096)


def byol_in1k() -> Run:
    """BYOL on ImageNet-1k, 1,000 epochs, with ResNet-18 where the paper has ResNet-50.

    Source: google-deepmind/deepmind-research:byol/configs/byol.py; arXiv 2006.07733, section 3.3.
    """
    optim = Optim(kind="lars", lr=3.2, warmup=10 / 1000, weight_decay=1.5e-6, final_weight_decay=1.5e-6)
    return _in1k(byol.Config(), optim, epochs=1000, batch=4096)


def simsiam_in1k() -> Run:
    """SimSiam on ImageNet-1k, 100 epochs, with ResNet-18 where the paper has ResNet-50.

    Departures: the predictor's learning rate decays with the others; biases and norms are not decayed.
    Source: facebookresearch/simsiam:main_simsiam.py.
    """
    optim = Optim(kind="sgd", lr=0.1, warmup=0.0, weight_decay=1e-4, final_weight_decay=1e-4)
    return _in1k(simsiam.Config(), optim, epochs=100, batch=512)


def vicreg_in1k() -> Run:
    """VICReg on ImageNet-1k, 1,000 epochs, with ResNet-18 where the paper has ResNet-50.

    Source: facebookresearch/vicreg:main_vicreg.py.
    """
    optim = Optim(kind="lars", lr=1.6, final_lr=1.6e-3, warmup=10 / 1000, weight_decay=1e-6, final_weight_decay=1e-6)
    return _in1k(vicreg.Config(), optim, epochs=1000, batch=2048)


def barlow_in1k() -> Run:
    """Barlow Twins on ImageNet-1k, 1,000 epochs, with ResNet-18 where the paper has ResNet-50.

    Departure: biases and norms have the learning rate of weights, 1.6; released 0.0384.
    Source: facebookresearch/barlowtwins:main.py.
    """
    optim = Optim(kind="lars", lr=1.6, final_lr=1.6e-3, warmup=10 / 1000, weight_decay=1e-6, final_weight_decay=1e-6)
    return _in1k(barlow.Config(), optim, epochs=1000, batch=2048)
