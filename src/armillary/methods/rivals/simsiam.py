"""SimSiam: each view predicts the embedding of the other, which gets no gradient (arXiv 2011.10566).

z = g(f(view)),  p = h(z)       one network for both views, no negatives, no average of weights
energy   (-cos(p1, stop(z2)) - cos(p2, stop(z1))) / 2         collapse prevention: the stop-gradient with the predictor
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import require
from ...functional.contrast import negative_cosine
from ...nn.encoder import Encoder, encoder
from ...nn.heads import mlp
from ...nn.resnet import ResNet
from ...randomness import Random
from ...types import Batch, Forecast, Terms, Tokens
from ...views.pixels import PixelViews, example, pixel_view


@dataclass(frozen=True)
class Config:
    """Defaults: ImageNet as released (facebookresearch/simsiam:main_simsiam.py), but ResNet-18 for ResNet-50."""

    encoder: Encoder = ResNet(image=224, stem="large")
    """sizes of the encoder"""
    layers: int = 3
    """linear maps of the projector; 2 on CIFAR-10 (the paper's appendix D)"""
    hidden: int = 2048
    """width inside the projector"""
    out: int = 2048
    """width of the embeddings"""
    predictor_hidden: int = 512
    """width inside the predictor: a bottleneck, a quarter of `out`"""
    views: PixelViews = PixelViews(
        crop_scale=(0.2, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, gray=0.2,
        blur=0.5, blur_sigma=(0.1, 2.0), solarize=0.0,
    )  # fmt: skip
    """transforms of which both views are drawn"""

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("layers", "hidden", "out", "predictor_hidden")}
        require(1, math.inf, **sizes)


class SimSiam(Method):
    """Encoder, projector that ends in a plain batch norm, predictor with a bottleneck."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = encoder(config.encoder)
        inner = (config.hidden,) * (config.layers - 1)
        self.projector = mlp((self.encoder.out_width, *inner, config.out), last="plain norm")
        self.predictor = mlp((config.out, config.predictor_hidden, config.out))

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"prediction": 1.0}

    def views(self, batch: Batch, random: Random) -> tuple[Float[Tensor, "B C s s"], Float[Tensor, "B C s s"]]:
        """Two views of each image, drawn alike."""
        config = self.config.views
        return pixel_view(batch, random, config, "one"), pixel_view(batch, random, config, "two")

    def embed(self, view: Float[Tensor, "B C s s"]) -> Float[Tensor, "B D"]:
        """z of a view."""
        return self.projector(self.encoder.vector(view))

    def between(self, one: Float[Tensor, "B C s s"], two: Float[Tensor, "B C s s"]) -> Terms:
        """The loss of two views; each passes alone, so batch norms see one view at a time."""
        z1, z2 = self.embed(one), self.embed(two)
        there = negative_cosine(self.predictor(z1), z2.detach())
        back = negative_cosine(self.predictor(z2), z1.detach())
        return {"prediction": (there + back) / 2}

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Half the sum of both directions (equations 3 and 4): from 1 down to -1, which collapse reaches too."""
        return self.between(*self.views(batch, random))

    def encode(self, batch: Batch) -> Tokens:
        """Tokens before the projector, which the paper evaluates."""
        return self.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """The other view's unit embedding, predicted and true."""
        one, two = (self.embed(view) for view in self.views(batch, random))
        return Forecast(F.normalize(self.predictor(one).float(), dim=-1), F.normalize(two.float(), dim=-1))


def tiny() -> tuple[SimSiam, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(ResNet(image=32, base=4, blocks=(1, 1)), hidden=16, out=16, predictor_hidden=8)
    return SimSiam(config), example()
