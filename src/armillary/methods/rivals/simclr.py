"""SimCLR: two views of an image find each other among all other views of the batch (arXiv 2002.05709).

z = g(f(view))   for two views of each of N images; g is a projector that only the loss sees
energy   mean over the 2 N views of  -log( exp(cos(z, partner) / t) / sum over all others exp(cos(z, other) / t) )
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import require
from ...functional.contrast import nt_xent
from ...nn.encoder import Encoder, encoder
from ...nn.heads import mlp
from ...nn.resnet import ResNet
from ...randomness import Random
from ...types import Batch, Forecast, Terms, Tokens
from ...views.pixels import PixelViews, example, pixel_view


@dataclass(frozen=True)
class Config:
    """Defaults: ImageNet as in the paper (appendix A; google-research/simclr), but ResNet-18 for ResNet-50."""

    encoder: Encoder = ResNet(image=224, stem="large")
    """sizes of the encoder"""
    hidden: int = 2048
    """width inside the projector"""
    out: int = 128
    """width of the embeddings that are compared"""
    temperature: float = 0.1
    """by which cosines are divided"""
    views: PixelViews = PixelViews(
        crop_scale=(0.08, 1.0), flip=0.5, jitter=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, gray=0.2,
        blur=0.5, blur_sigma=(0.1, 2.0), solarize=0.0,
    )  # fmt: skip
    """transforms of which both views are drawn"""

    def __post_init__(self) -> None:
        require(1, math.inf, hidden=self.hidden, out=self.out)
        require(1e-3, math.inf, temperature=self.temperature)


class SimCLR(Method):
    """Encoder and projector; every other view in the batch is a negative.

    The projector ends in a batch norm with a scale and no shift, as released; the paper writes no norm there.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = encoder(config.encoder)
        self.projector = mlp((self.encoder.out_width, config.hidden, config.out), last="norm")
        self.projector[-1].bias.requires_grad_(False)

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"contrast": 1.0}

    def views(self, batch: Batch, random: Random) -> tuple[Float[Tensor, "B C s s"], Float[Tensor, "B C s s"]]:
        """Two views of each image, drawn alike."""
        config = self.config.views
        return pixel_view(batch, random, config, "one"), pixel_view(batch, random, config, "two")

    def embed(self, view: Float[Tensor, "N C s s"]) -> Float[Tensor, "N D"]:
        """What is compared."""
        return self.projector(self.encoder.vector(view))

    def between(self, one: Float[Tensor, "B C s s"], two: Float[Tensor, "B C s s"]) -> Terms:
        """The loss of two views; both pass together, as released, so batch norms see all of them."""
        z1, z2 = self.embed(torch.cat([one, two])).chunk(2)
        return {"contrast": nt_xent(z1, z2, self.config.temperature)}

    def loss(self, batch: Batch, random: Random) -> Terms:
        """NT-Xent over the views of all ranks (equation 1)."""
        return self.between(*self.views(batch, random))

    def encode(self, batch: Batch) -> Tokens:
        """Tokens before the projector, which the paper evaluates."""
        return self.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Unit embeddings of one view and of the other."""
        one, two = (F.normalize(self.embed(view).float(), dim=-1) for view in self.views(batch, random))
        return Forecast(one, two)


def tiny() -> tuple[SimCLR, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(ResNet(image=32, base=4, blocks=(1, 1)), hidden=16, out=8, temperature=0.5)
    return SimCLR(config), example()
