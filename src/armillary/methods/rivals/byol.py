"""BYOL: each view predicts what an average of the network says of the other view (arXiv 2006.07733).

z = g(f(view)),  y = (g f)_teacher(view),  p = h(z)
energy   |unit(p1) - unit(y2)|^2 + |unit(p2) - unit(y1)|^2
collapse prevention: the teacher with the predictor; no negatives
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import require
from ...functional.contrast import negative_cosine
from ...functional.schedule import half_cosine
from ...nn.encoder import Encoder, encoder
from ...nn.heads import mlp
from ...nn.resnet import ResNet
from ...nn.teacher import EMA
from ...randomness import Random
from ...types import Batch, Forecast, Range, Terms, Tokens
from ...views.pixels import FIRST, SECOND, PixelViews, example, pixel_view


@dataclass(frozen=True)
class Config:
    """Defaults: ImageNet, 1,000 epochs (google-deepmind/deepmind-research:byol), but ResNet-18 for ResNet-50."""

    encoder: Encoder = ResNet(image=224, stem="large")
    """sizes of the encoder"""
    hidden: int = 4096
    """width inside projector and predictor"""
    out: int = 256
    """width of the embeddings"""
    momentum: Range = (0.996, 1.0)
    """of the teacher at the first step and at the end of the schedule; 0.99 for 300 epochs and fewer"""
    one: PixelViews = FIRST
    """transforms of which the first view is drawn"""
    two: PixelViews = SECOND
    """transforms of which the second view is drawn"""

    def __post_init__(self) -> None:
        require(1, math.inf, hidden=self.hidden, out=self.out)
        require(0, 1, momentum=self.momentum)


class Branch(nn.Module):
    """Encoder and projector: what the teacher is an average of."""

    def __init__(self, config: Config):
        super().__init__()
        self.encoder = encoder(config.encoder)
        self.projector = mlp((self.encoder.out_width, config.hidden, config.out), bias=False)

    def forward(self, view: Float[Tensor, "B C s s"]) -> Float[Tensor, "B D"]:
        """The embedding of a view."""
        return self.projector(self.encoder.vector(view))


class BYOL(Method):
    """Online branch with a predictor, and its average with batch statistics of its own.

    The teacher begins as a copy; the released code draws it anew and saw no significant difference.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.online = Branch(config)
        self.predictor = mlp((config.out, config.hidden, config.out), bias=False)
        self.teacher = EMA(self.online, training=True)

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"prediction": 1.0}

    def views(self, batch: Batch, random: Random) -> tuple[Float[Tensor, "B C s s"], Float[Tensor, "B C s s"]]:
        """Two views of each image, each of its own kind."""
        return pixel_view(batch, random, self.config.one, "one"), pixel_view(batch, random, self.config.two, "two")

    def between(self, one: Float[Tensor, "B C s s"], two: Float[Tensor, "B C s s"]) -> Terms:
        """The loss of two views; each passes alone, so batch norms see one view at a time."""
        there = negative_cosine(self.predictor(self.online(one)), self.teacher(two))
        back = negative_cosine(self.predictor(self.online(two)), self.teacher(one))
        return {"prediction": 4 + 2 * (there + back)}  # |a - b|^2 = 2 - 2 cos(a, b) of unit vectors, twice

    def loss(self, batch: Batch, random: Random) -> Terms:
        """The sum of both directions (equation 2), from 8 down to 0."""
        return self.between(*self.views(batch, random))

    def after_step(self, progress: float) -> None:
        """The teacher follows; its momentum rises along half a cosine (section 3.2)."""
        self.teacher.update(self.online, half_cosine(self.config.momentum, progress))

    def encode(self, batch: Batch) -> Tokens:
        """Tokens of the online encoder before the projector, which the paper evaluates."""
        return self.online.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """The teacher's unit embedding of the second view, predicted and true."""
        one, two = self.views(batch, random)
        predicted, target = self.predictor(self.online(one)).float(), self.teacher(two).float()
        return Forecast(F.normalize(predicted, dim=-1), F.normalize(target, dim=-1))


def tiny() -> tuple[BYOL, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(ResNet(image=32, base=4, blocks=(1, 1)), hidden=16, out=8, momentum=(0.9, 1.0))
    return BYOL(config), example()
