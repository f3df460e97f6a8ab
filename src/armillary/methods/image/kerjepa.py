"""KerJEPA: views agree, and a kernel discrepancy draws embeddings to a standard normal (arXiv 2512.19605).

z = g(f(view))
energy   mean (z1 - z2)^2  +  weight * mean over views of KSD^2 or MMD^2 of z to N(0, 1), without random directions
LeJEPA's SIGReg is one member, a sliced MMD with a Gaussian kernel; the heavy-tailed IMQ kernel with KSD did best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import require
from ...functional.discrepancy import Kernel, ksd, mmd, sliced_mmd_limit
from ...functional.distance import squared
from ...nn.encoder import Encoder, encoder
from ...nn.heads import mlp
from ...nn.resnet import ResNet
from ...randomness import Random
from ...types import Batch, Forecast, Terms, Tokens
from ...views.pixels import PixelViews, example, pixel_view


@dataclass(frozen=True)
class Config:
    """Defaults: IMQ and KSD, the paper's best; sizes, views and weight are ours, as nothing was released."""

    encoder: Encoder = ResNet(image=224, stem="large")
    """sizes of the encoder"""
    hidden: int = 2048
    """width inside the projector, which has three linear maps"""
    out: int = 64
    """width of the embeddings"""
    discrepancy: Literal["ksd", "mmd", "sliced mmd"] = "ksd"
    """kernelized Stein discrepancy, maximum mean discrepancy, or SIGReg's in the limit of all directions (Gaussian)"""
    kernel: Kernel = "imq"
    """inverse multiquadric or Gaussian kernel"""
    bandwidth: float = 0.0
    """of the kernel; 0 takes the square root of twice `out`, and 1 for the sliced MMD"""
    weight: float = 10.0
    """of the discrepancy, the distance of the views having 1"""
    views: PixelViews = PixelViews(
        crop_scale=(0.2, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, gray=0.2,
        blur=0.5, blur_sigma=(0.1, 2.0), solarize=0.1,
    )  # fmt: skip
    """transforms of which both views are drawn"""

    def __post_init__(self) -> None:
        require(1, math.inf, hidden=self.hidden, out=self.out)
        require(0, math.inf, bandwidth=self.bandwidth, weight=self.weight)


class KerJEPA(Method):
    """Encoder and projector, both trained through both views."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = encoder(config.encoder)
        self.projector = mlp((self.encoder.out_width, config.hidden, config.hidden, config.out))

    @property
    def weights(self) -> dict[str, float]:
        """Two terms."""
        return {"invariance": 1.0, "discrepancy": self.config.weight}

    def views(self, batch: Batch, random: Random) -> tuple[Float[Tensor, "B C s s"], Float[Tensor, "B C s s"]]:
        """Two views of each image, drawn alike."""
        config = self.config.views
        return pixel_view(batch, random, config, "one"), pixel_view(batch, random, config, "two")

    def embed(self, view: Float[Tensor, "B C s s"]) -> Float[Tensor, "B D"]:
        """z of a view."""
        return self.projector(self.encoder.vector(view))

    def apart(self, z: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
        """The discrepancy of one view to a standard normal, over pairs of different rows of all ranks.

        Pairs of a row with itself are left out: with fewer rows than dimensions they would favor a collapse.
        """
        c = self.config
        if c.discrepancy == "sliced mmd":
            return sliced_mmd_limit(z, c.bandwidth or 1.0, unbiased=True)
        measure = ksd if c.discrepancy == "ksd" else mmd
        return measure(z, c.kernel, c.bandwidth or None, unbiased=True)

    def between(self, one: Float[Tensor, "B C s s"], two: Float[Tensor, "B C s s"]) -> Terms:
        """The terms of two views; each passes alone, so batch norms see one view at a time."""
        z1, z2 = self.embed(one), self.embed(two)
        return {"invariance": squared(z1, z2), "discrepancy": (self.apart(z1) + self.apart(z2)) / 2}

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Invariance and discrepancy (sections 3.2 and 3.3)."""
        return self.between(*self.views(batch, random))

    def encode(self, batch: Batch) -> Tokens:
        """Tokens before the projector."""
        return self.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Embeddings of one view and of the other."""
        one, two = self.views(batch, random)
        return Forecast(self.embed(one), self.embed(two))


def tiny() -> tuple[KerJEPA, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(ResNet(image=32, base=4, blocks=(1, 1)), hidden=16, out=8)
    return KerJEPA(config), example()
