"""VICReg: embeddings of two views agree, keep their variance and lose their covariance (arXiv 2105.04906).

z = g(f(view)),  C = covariance of z over the batch, for each view
energy   25 mean (z1 - z2)^2 + 25 mean over views and dimensions of max(0, 1 - sqrt(C_ii)) + sum over views of
         (1 / D) sum over i != j of C_ij^2
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import require
from ...functional.decorrelate import variance_covariance
from ...functional.distance import squared
from ...nn.encoder import Encoder, encoder
from ...nn.heads import mlp
from ...nn.resnet import ResNet
from ...randomness import Random
from ...types import Batch, Forecast, Terms, Tokens
from ...views.pixels import FIRST, SECOND, PixelViews, example, pixel_view


@dataclass(frozen=True)
class Config:
    """Defaults: ImageNet as released (facebookresearch/vicreg:main_vicreg.py), but ResNet-18 for ResNet-50."""

    encoder: Encoder = ResNet(image=224, stem="large")
    """sizes of the encoder"""
    hidden: int = 8192
    """width inside the projector, which has three linear maps"""
    out: int = 8192
    """width of the embeddings"""
    invariance: float = 25.0
    """weight of the distance between the views"""
    variance: float = 25.0
    """weight of the hinge on the standard deviations"""
    covariance: float = 1.0
    """weight of the squared covariances"""
    one: PixelViews = FIRST
    """transforms of which the first view is drawn"""
    two: PixelViews = SECOND
    """transforms of which the second view is drawn"""

    def __post_init__(self) -> None:
        require(1, math.inf, hidden=self.hidden, out=self.out)
        require(0, math.inf, invariance=self.invariance, variance=self.variance, covariance=self.covariance)


class VICReg(Method):
    """Encoder and projector; the gradient reaches both views.

    Scales are those of the released code: the distance is a mean over dimensions and the hinge a mean over views, where
    the paper's equations 5 and 6 have sums.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = encoder(config.encoder)
        self.projector = mlp((self.encoder.out_width, config.hidden, config.hidden, config.out), bias=False)

    @property
    def weights(self) -> dict[str, float]:
        """Three terms."""
        c = self.config
        return {"invariance": c.invariance, "variance": c.variance, "covariance": c.covariance}

    def views(self, batch: Batch, random: Random) -> tuple[Float[Tensor, "B C s s"], Float[Tensor, "B C s s"]]:
        """Two views of each image, each of its own kind."""
        return pixel_view(batch, random, self.config.one, "one"), pixel_view(batch, random, self.config.two, "two")

    def embed(self, view: Float[Tensor, "B C s s"]) -> Float[Tensor, "B D"]:
        """z of a view."""
        return self.projector(self.encoder.vector(view))

    def between(self, one: Float[Tensor, "B C s s"], two: Float[Tensor, "B C s s"]) -> Terms:
        """The terms of two views; each passes alone, so batch norms see one view at a time."""
        z1, z2 = self.embed(one), self.embed(two)
        (hinge1, covariance1), (hinge2, covariance2) = variance_covariance(z1), variance_covariance(z2)
        return {
            "invariance": squared(z1, z2),
            "variance": (hinge1 + hinge2) / 2,
            "covariance": covariance1 + covariance2,
        }

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Invariance, variance and covariance (equations 1 to 6), statistics over the batch of all ranks."""
        return self.between(*self.views(batch, random))

    def encode(self, batch: Batch) -> Tokens:
        """Tokens before the projector, which the paper evaluates."""
        return self.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Embeddings of one view and of the other."""
        one, two = self.views(batch, random)
        return Forecast(self.embed(one), self.embed(two))


def tiny() -> tuple[VICReg, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(ResNet(image=32, base=4, blocks=(1, 1)), hidden=16, out=8)
    return VICReg(config), example()
