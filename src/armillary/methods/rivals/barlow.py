"""Barlow Twins: the cross-correlation of two views' embeddings becomes the identity (arXiv 2103.03230).

z = g(f(view)),  C_ij = correlation over the batch of dimension i of one view with dimension j of the other
energy   sum over i of (C_ii - 1)^2  +  0.0051 sum over i != j of C_ij^2
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import require
from ...functional.decorrelate import barlow_twins, cross_correlation
from ...nn.encoder import Encoder, encoder
from ...nn.heads import mlp
from ...nn.resnet import ResNet
from ...randomness import Random
from ...types import Batch, Forecast, Terms, Tokens
from ...views.pixels import FIRST, SECOND, PixelViews, example, pixel_view


@dataclass(frozen=True)
class Config:
    """Defaults: ImageNet as released (facebookresearch/barlowtwins:main.py), but ResNet-18 for ResNet-50."""

    encoder: Encoder = ResNet(image=224, stem="large")
    """sizes of the encoder"""
    hidden: int = 8192
    """width inside the projector, which has three linear maps"""
    out: int = 8192
    """width of the embeddings"""
    redundancy: float = 0.0051
    """weight of the correlations beside the diagonal, the paper's lambda"""
    one: PixelViews = FIRST
    """transforms of which the first view is drawn"""
    two: PixelViews = SECOND
    """transforms of which the second view is drawn"""

    def __post_init__(self) -> None:
        require(1, math.inf, hidden=self.hidden, out=self.out)
        require(0, math.inf, redundancy=self.redundancy)


class BarlowTwins(Method):
    """Encoder and projector; the gradient reaches both views."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = encoder(config.encoder)
        self.projector = mlp((self.encoder.out_width, config.hidden, config.hidden, config.out), bias=False)

    @property
    def weights(self) -> dict[str, float]:
        """One term; the weight within it is `redundancy`."""
        return {"correlation": 1.0}

    def views(self, batch: Batch, random: Random) -> tuple[Float[Tensor, "B C s s"], Float[Tensor, "B C s s"]]:
        """Two views of each image, each of its own kind."""
        return pixel_view(batch, random, self.config.one, "one"), pixel_view(batch, random, self.config.two, "two")

    def embed(self, view: Float[Tensor, "B C s s"]) -> Float[Tensor, "B D"]:
        """z of a view."""
        return self.projector(self.encoder.vector(view))

    def between(self, one: Float[Tensor, "B C s s"], two: Float[Tensor, "B C s s"]) -> Terms:
        """The loss of two views; each passes alone, so batch norms see one view at a time."""
        correlation = cross_correlation(self.embed(one), self.embed(two))
        return {"correlation": barlow_twins(correlation, self.config.redundancy)}

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Distance of the cross-correlation from the identity (equation 1), over the batch of all ranks."""
        return self.between(*self.views(batch, random))

    def encode(self, batch: Batch) -> Tokens:
        """Tokens before the projector, which the paper evaluates."""
        return self.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Embeddings of one view and of the other."""
        one, two = self.views(batch, random)
        return Forecast(self.embed(one), self.embed(two))


def tiny() -> tuple[BarlowTwins, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(ResNet(image=32, base=4, blocks=(1, 1)), hidden=16, out=8)
    return BarlowTwins(config), example()
