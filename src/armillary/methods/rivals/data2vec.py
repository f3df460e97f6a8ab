"""data2vec: predict what an average of the network makes of the whole image, from a masked one (arXiv 2202.03555).

y = LN(mean over the last K blocks of LN(f_teacher(image)))        p = W f(image with mask tokens)
energy   smooth-L1(p, y) at the masked patches        collapse prevention: an averaged teacher, normalized targets
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ConfigError, require
from ...functional.distance import layer_normalized, smooth_l1
from ...nn.attention import initialize
from ...nn.encoder import VisionTransformer, ViT
from ...nn.teacher import EMA
from ...randomness import Random
from ...types import Batch, Forecast, Range, Terms, Tokens, gather
from ...views.blockwise import blockwise
from ...views.pixels import PixelViews, example, pixel_view

VIEW = PixelViews(
    crop_scale=(0.08, 1.0), flip=0.5, jitter=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0, gray=0.0,
    blur=0.0,
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Defaults: ViT-B/16 on ImageNet, 800 epochs, facebookresearch/data2vec_vision:beit/README.md."""

    encoder: ViT = ViT(width=768, depth=12, heads=12, class_token=True)
    """sizes of student and teacher"""
    layers: int = 6
    """last blocks of the teacher whose outputs are averaged to the target (the paper's K)"""
    mask: float = 120 / 196
    """share of the patches that is hidden"""
    smallest: float = 16 / 196
    """share of the patches that a hidden rectangle covers at least"""
    beta: float = 2.0
    """distance at which the loss goes from quadratic to linear"""
    momentum: Range = (0.9998, 0.9998)
    """EMA momentum of the teacher at the first step and after the warm-up"""
    momentum_warmup: float = 0.0
    """share of the schedule over which the momentum moves in a line from the first value to the second"""
    view: PixelViews = VIEW
    """transforms of which the one view that student and teacher share is drawn"""

    def __post_init__(self) -> None:
        require(
            0, 1, mask=self.mask, smallest=self.smallest, momentum=self.momentum, momentum_warmup=self.momentum_warmup
        )
        require(1, self.encoder.depth, layers=self.layers)
        require(0, math.inf, beta=self.beta)
        patches = self.encoder.side**2
        if not 1 <= self.hidden(patches) < patches:
            raise ConfigError(
                f"mask {self.mask} hides {self.hidden(patches)} of {patches} patches; hide at least 1, and not all"
            )

    def hidden(self, patches: int) -> int:
        """How many of so many patches are hidden."""
        return round(self.mask * patches)


class Data2Vec(Method):
    """Student with mask tokens and a linear head, and its average as the teacher."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        self.teacher = EMA(self.encoder)
        self.mask_token = nn.Parameter(torch.randn(config.encoder.width) * 0.02)
        self.head = nn.Linear(config.encoder.width, config.encoder.width)
        initialize(self.head, config.encoder.init)

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"prediction": 1.0}

    def mask(self, image: Float[Tensor, "B C h w"], random: Random) -> Bool[Tensor, "B N"]:
        """Blockwise masks of one size: True where a patch is hidden."""
        rows, columns = (side // self.config.encoder.patch for side in image.shape[-2:])
        count = torch.full_like(random.sample, self.config.hidden(rows * columns))
        return blockwise(rows, columns, random, count, self.config.smallest)

    @torch.no_grad()
    def target(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B N D"]:
        """What the teacher makes of each patch (section 3.3)."""
        outputs = cast(VisionTransformer, self.teacher.module).layers(image, self.config.layers)
        return layer_normalized(torch.stack([layer_normalized(x) for x in outputs]).mean(0))

    def predict(
        self, image: Float[Tensor, "B C h w"], mask: Bool[Tensor, "B N"]
    ) -> tuple[Float[Tensor, "B M D"], Float[Tensor, "B M D"]]:
        """Predicted and true embeddings of the hidden patches."""
        index = (~mask).int().argsort(dim=1, stable=True)[:, : self.config.hidden(mask.shape[1])]
        student = self.encoder.both(self.encoder.embed(image, mask, self.mask_token))[1]
        return self.head(gather(student.x, index)), gather(self.target(image), index)

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Smooth-L1 at the hidden patches."""
        image = pixel_view(batch, random, self.config.view, "view")
        return {"prediction": smooth_l1(*self.predict(image, self.mask(image, random)), self.config.beta)}

    def after_step(self, progress: float) -> None:
        """The teacher follows the encoder; its momentum is linear in progress, then constant."""
        first, last = self.config.momentum
        share = min(1.0, progress / self.config.momentum_warmup) if self.config.momentum_warmup else 1.0
        self.teacher.update(self.encoder, first + (last - first) * share)

    def encode(self, batch: Batch) -> Tokens:
        """Patch tokens of the student, which the paper fine-tunes."""
        return self.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Hidden patches of one draw of masks, predicted and true."""
        mask = self.mask(batch["image"], random)
        predicted, target = self.predict(batch["image"], mask)
        return Forecast(predicted.flatten(0, 1), target.flatten(0, 1), place=mask.nonzero()[:, 1])


def tiny() -> tuple[Data2Vec, Batch]:
    """A small instance and a batch for the contract tests."""
    vit = ViT(image=32, patch=8, width=32, depth=2, heads=2, class_token=True, init="xavier")
    return Data2Vec(Config(vit, layers=2, momentum=(0.9, 0.9))), example()
