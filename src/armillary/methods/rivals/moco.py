"""MoCo v3: each view's query finds the other view's key from an averaged network among the batch (arXiv 2104.02057).

q = h(g(f(view))),  k = (g f)_teacher(view)
energy   c(q1, k2) + c(q2, k1),  where c(q, k) =
         2 t * mean over i of  -log( exp(cos(q_i, k_i) / t) / sum over j of exp(cos(q_i, k_j) / t) )
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import require
from ...functional.contrast import info_nce
from ...functional.schedule import half_cosine
from ...nn.encoder import Encoder, VisionTransformer, ViT, encoder
from ...nn.heads import mlp
from ...nn.teacher import EMA
from ...randomness import Random
from ...types import Batch, Forecast, Range, Terms, Tokens
from ...views.pixels import FIRST, SECOND, PixelViews, example, pixel_view


@dataclass(frozen=True)
class Config:
    """Defaults: ViT-S/16 on ImageNet, facebookresearch/moco-v3:CONFIG.md."""

    encoder: Encoder = ViT(heads=12, class_token=True, init="xavier")
    """sizes of the encoder"""
    layers: int = 3
    """linear maps of the projector: 3 behind a ViT, 2 behind a ResNet"""
    hidden: int = 4096
    """width inside projector and predictor"""
    out: int = 256
    """width of queries and keys"""
    temperature: float = 0.2
    """by which cosines are divided; 1 with a ResNet"""
    momentum: Range = (0.99, 1.0)
    """of the teacher at the first step and at the end of the schedule"""
    frozen_patches: bool = True
    """whether the patch projection of a ViT stays random, which steadies the training (section 4.2)"""
    one: PixelViews = FIRST
    """transforms of which the first view is drawn"""
    two: PixelViews = SECOND
    """transforms of which the second view is drawn"""

    def __post_init__(self) -> None:
        require(1, math.inf, layers=self.layers, hidden=self.hidden, out=self.out)
        require(1e-3, math.inf, temperature=self.temperature)
        require(0, 1, momentum=self.momentum)


class Branch(nn.Module):
    """Encoder and projector: what the teacher is an average of."""

    def __init__(self, config: Config):
        super().__init__()
        self.encoder = encoder(config.encoder)
        inner = (config.hidden,) * (config.layers - 1)
        self.projector = mlp((self.encoder.out_width, *inner, config.out), last="plain norm")
        if config.frozen_patches and isinstance(self.encoder, VisionTransformer):
            self.encoder.tokenizer.requires_grad_(False)

    def forward(self, view: Float[Tensor, "B C s s"]) -> Float[Tensor, "B D"]:
        """The embedding of a view."""
        return self.projector(self.encoder.vector(view))


class MoCo(Method):
    """Online branch with a predictor, and its average with batch statistics of its own; no queue of old keys.

    The released code moves the teacher within a step, after the queries and before the keys; here it moves after the
    step before, as everywhere in this library. Queries meet the same keys; only the momentum of an update is the one
    that its schedule has one step earlier. The predictor ends in a norm behind a ViT, in its linear map behind others.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.online = Branch(config)
        last = "plain norm" if isinstance(config.encoder, ViT) else "linear"
        self.predictor = mlp((config.out, config.hidden, config.out), last, bias=False)
        self.teacher = EMA(self.online, training=True)

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"contrast": 1.0}

    def views(self, batch: Batch, random: Random) -> tuple[Float[Tensor, "B C s s"], Float[Tensor, "B C s s"]]:
        """Two views of each image, each of its own kind."""
        return pixel_view(batch, random, self.config.one, "one"), pixel_view(batch, random, self.config.two, "two")

    def between(self, one: Float[Tensor, "B C s s"], two: Float[Tensor, "B C s s"]) -> Terms:
        """The loss of two views; each passes alone, so batch norms see one view at a time."""
        there = info_nce(self.predictor(self.online(one)), self.teacher(two), self.config.temperature)
        back = info_nce(self.predictor(self.online(two)), self.teacher(one), self.config.temperature)
        return {"contrast": there + back}

    def loss(self, batch: Batch, random: Random) -> Terms:
        """The sum of both directions, over the keys of all ranks (equation 1 and algorithm 1)."""
        return self.between(*self.views(batch, random))

    def after_step(self, progress: float) -> None:
        """The teacher follows; its momentum rises along half a cosine."""
        self.teacher.update(self.online, half_cosine(self.config.momentum, progress))

    def encode(self, batch: Batch) -> Tokens:
        """Tokens of the online encoder before the projector."""
        return self.online.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """The unit key of the second view, predicted and true."""
        one, two = self.views(batch, random)
        predicted, target = self.predictor(self.online(one)).float(), self.teacher(two).float()
        return Forecast(F.normalize(predicted, dim=-1), F.normalize(target, dim=-1))


def tiny() -> tuple[MoCo, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(ViT(image=32, patch=8, width=32, depth=2, heads=2), hidden=16, out=8, momentum=(0.9, 1.0))
    return MoCo(config), example()
