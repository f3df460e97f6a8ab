"""Rectified LpJEPA: views agree, embeddings are those of a rectified generalized Gaussian: sparse (arXiv 2602.01456).

z = max(g(f(view)), 0)
energy   25 mean (z1 - z2)^2  +  125 mean over views of SW(z, max(mu + sigma W, 0)),   density of W ~ exp(-|w|^p / p)
SW: squared sliced 2-Wasserstein distance of the batch to as many samples. No teacher, predictor or stopped gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import require
from ...functional.distance import squared
from ...functional.rectified import rdmreg, rectified_samples, rectified_sigma, unit_sigma
from ...functional.regularize import unit_directions
from ...nn.encoder import Encoder, encoder
from ...nn.heads import mlp
from ...nn.resnet import ResNet
from ...randomness import Random
from ...types import Batch, Forecast, Terms, Tokens
from ...views.pixels import PixelViews, example, pixel_view


@dataclass(frozen=True)
class Config:
    """Defaults: ImageNet-100 as released (YilunKuang/rectified-lp-jepa:scripts), but ResNet-18 for ResNet-50."""

    encoder: Encoder = ResNet(image=224, stem="large")
    """sizes of the encoder"""
    hidden: int = 2048
    """width inside the projector, which has three linear maps"""
    out: int = 2048
    """width of the embeddings"""
    p: float = 1.0
    """shape of the target before it is rectified: 1 Laplace, 2 normal; lower is sparser"""
    mu: float = 0.0
    """mean of the target before it is rectified; lower leaves fewer dimensions above 0"""
    unit_after: bool = False
    """whether the target has variance 1 after it is rectified, instead of before"""
    invariance: float = 25.0
    """weight of the distance between the views"""
    matching: float = 125.0
    """weight of the distance to the target; 250 on CIFAR-100"""
    directions: int = 8192
    """random directions per step; the authors' MINIMAL.md says that 512 work too"""
    views: PixelViews = PixelViews(
        crop_scale=(0.2, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, gray=0.2,
        blur=0.5, blur_sigma=(0.1, 2.0), solarize=0.1,
    )  # fmt: skip
    """transforms of which both views are drawn"""

    def __post_init__(self) -> None:
        require(1, math.inf, hidden=self.hidden, out=self.out, directions=self.directions)
        require(0.05, 100, p=self.p)
        require(-100, 100, mu=self.mu)
        require(0, math.inf, invariance=self.invariance, matching=self.matching)


class RectifiedLpJEPA(Method):
    """Encoder and a projector that ends in a ReLU, both trained through both views."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = encoder(config.encoder)
        head = mlp((self.encoder.out_width, config.hidden, config.hidden, config.out))
        self.projector = nn.Sequential(*head, nn.ReLU())
        self.sigma = rectified_sigma(config.p, config.mu) if config.unit_after else unit_sigma(config.p)

    @property
    def weights(self) -> dict[str, float]:
        """Two terms."""
        return {"invariance": self.config.invariance, "matching": self.config.matching}

    def views(self, batch: Batch, random: Random) -> tuple[Float[Tensor, "B C s s"], Float[Tensor, "B C s s"]]:
        """Two views of each image, drawn alike."""
        config = self.config.views
        return pixel_view(batch, random, config, "one"), pixel_view(batch, random, config, "two")

    def embed(self, view: Float[Tensor, "B C s s"]) -> Float[Tensor, "B D"]:
        """z of a view, at least 0."""
        return self.projector(self.encoder.vector(view))

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Invariance, and the mean over views of the distance to samples of the target.

        Departure: both views meet the same directions, drawn once a step; the release draws them for each view.
        Source: arXiv 2602.01456; YilunKuang/rectified-lp-jepa:MINIMAL.md.
        """
        c = self.config
        wanted = [rectified_samples(random, c.out, c.p, c.mu, self.sigma, stream=f"target/{v}") for v in range(2)]
        directions = unit_directions(c.out, c.directions, random.shared("directions"))
        return self.between(*self.views(batch, random), wanted, directions)

    def between(
        self,
        one: Float[Tensor, "B C s s"],
        two: Float[Tensor, "B C s s"],
        wanted: Sequence[Float[Tensor, "B D"]],
        directions: Float[Tensor, "D S"],
    ) -> Terms:
        """The terms of two given views; wanted: samples of the target for each of them."""
        z = [self.embed(view) for view in (one, two)]
        apart = [rdmreg(own, samples, directions) for own, samples in zip(z, wanted, strict=True)]
        return {"invariance": squared(*z), "matching": torch.stack(apart).mean()}

    def encode(self, batch: Batch) -> Tokens:
        """Tokens before the projector."""
        return self.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Embeddings of one view and of the other."""
        one, two = self.views(batch, random)
        return Forecast(self.embed(one), self.embed(two))


def tiny() -> tuple[RectifiedLpJEPA, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(ResNet(image=32, base=4, blocks=(1, 1)), hidden=16, out=8, directions=32)
    return RectifiedLpJEPA(config), example()
