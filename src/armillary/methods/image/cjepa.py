"""C-JEPA: I-JEPA whose pooled predictions are kept apart and uncorrelated, as in VICReg (arXiv 2410.19560).

p, y     predicted and target embeddings at each target block, as I-JEPA;  P, Y  their means over the block's patches
C        covariance of P over the batch, for each block
energy   smooth-L1(p, y) + 0.001 [25 mean (P - Y)^2 + 25 * 2 mean max(0, 1 - sqrt(C_ii)) + 2 / D sum of C_ij^2, i != j]
Collapse prevention: the teacher is an average without gradient, and variance and covariance terms on predictions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import ascending, require
from ...functional.decorrelate import covariance, off_diagonal, variance_hinge
from ...functional.distance import layer_normalized, smooth_l1, squared
from ...functional.schedule import line
from ...nn.encoder import VisionTransformer, ViT
from ...nn.predictor import MaskPredictor
from ...nn.teacher import EMA
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Masks, Range, Terms, Tokens, gather
from ...views.blocks import blocks, check_size
from ...views.crops import resized_crop


@dataclass(frozen=True)
class Config:
    """Defaults: ViT-B/16 on ImageNet, the paper's weights; predictor of SkyShunsuke/DSeq-JEPA:configs/cjepa."""

    encoder: ViT = ViT(image=224, patch=16, width=768, depth=12, heads=12)
    """sizes of context and target encoder"""
    predictor_width: int = 384
    """width inside the predictor"""
    predictor_depth: int = 6
    """blocks of the predictor"""
    predictor_heads: int = 12
    """attention heads of the predictor"""
    targets: int = 4
    """target blocks per image"""
    target_scale: Range = (0.15, 0.2)
    """share of the image that a target block covers"""
    target_aspect: Range = (0.75, 1.5)
    """height over width of a target block"""
    context_scale: Range = (0.85, 1.0)
    """share of the image that the context block covers before the targets are cut out"""
    min_context: float = 0.05
    """smallest share of the patches that may remain as context"""
    crop_scale: Range = (0.3, 1.0)
    """share of the image's area that the random resized crop keeps"""
    momentum: Range = (0.996, 1.0)
    """EMA momentum of the teacher at the first step and at the end of the schedule"""
    vicreg_weight: float = 0.001
    """weight of the three terms below, together"""
    invariance: float = 25.0
    """weight, among the three, of the distance of pooled predictions from pooled targets"""
    variance: float = 25.0
    """weight, among the three, of standard deviations that fall short of 1"""
    covariance: float = 1.0
    """weight, among the three, of covariances between dimensions"""

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("predictor_width", "predictor_depth", "predictor_heads")}
        require(1, math.inf, targets=self.targets, **sizes)
        scales = {name: getattr(self, name) for name in ("target_scale", "context_scale", "crop_scale")}
        require(0, 1, min_context=self.min_context, momentum=self.momentum, **scales)
        require(0.01, 100, target_aspect=self.target_aspect)
        ascending(target_aspect=self.target_aspect, **scales)
        factors = {name: getattr(self, name) for name in ("vicreg_weight", "invariance", "variance", "covariance")}
        require(0, math.inf, **factors)


class CJEPA(Method):
    """I-JEPA's parts; the regularizer has no parameters."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        self.teacher = EMA(self.encoder)
        self.predictor = MaskPredictor(
            config.encoder.width, config.predictor_width, config.predictor_depth, config.predictor_heads,
            init=config.encoder.init,
        )  # fmt: skip

    @property
    def weights(self) -> dict[str, float]:
        """Prediction, and the three terms of VICReg under one more factor."""
        c = self.config
        factors = {name: c.vicreg_weight * getattr(c, name) for name in ("invariance", "variance", "covariance")}
        return {"prediction": 1.0, **factors}

    def masks(self, batch: Batch, random: Random) -> Masks:
        """Context and target blocks of each image."""
        c, side = self.config, self.config.encoder.side
        check_size(batch["image"], c.encoder.image)
        return blocks(side, side, random, c.targets, c.target_scale, c.target_aspect, c.context_scale, c.min_context)

    def predict(
        self, image: Float[Tensor, "B C h w"], masks: Masks
    ) -> tuple[Float[Tensor, "B M K D"], Float[Tensor, "B M K D"]]:
        """Predicted and true embeddings at the targets."""
        context = self.encoder(image, masks.context)
        full = self.teacher(image)  # no gradient
        return self.predictor(context, gather(full.pos, masks.targets)), gather(layer_normalized(full.x), masks.targets)

    def regularizers(self, predicted: Float[Tensor, "B M K D"], target: Float[Tensor, "B M K D"]) -> Terms:
        """VICReg's terms on the mean of each block: blocks of an image are its views.

        Each pair of blocks (i, j) contributes the variance and covariance terms of both; over all pairs that is twice
        their mean over blocks. The gradient reaches the predictions only.
        Source: SkyShunsuke/DSeq-JEPA:src/frameworks/cjepa/loss.py, a reading of the paper by others; it also puts a
        projector (3072-3072-3072) before the terms, which the paper's text, as far as seen, does not ask for.
        """
        pooled, wanted = predicted.float().mean(2), target.mean(2)  # [B, M, D]
        each = [covariance(block) for block in pooled.unbind(1)]
        spread = torch.stack([variance_hinge(c) for c in each]).mean()
        linked = torch.stack([off_diagonal(c) for c in each]).mean() / pooled.shape[-1]
        return {"invariance": squared(pooled, wanted), "variance": 2 * spread, "covariance": 2 * linked}

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Smooth-L1 as I-JEPA, and the regularizers."""
        image = resized_crop(batch["image"], random, self.config.crop_scale)
        predicted, target = self.predict(image, self.masks(batch, random))
        return {"prediction": smooth_l1(predicted, target), **self.regularizers(predicted, target)}

    def after_step(self, progress: float) -> None:
        """The teacher follows the encoder; momentum is linear in progress."""
        self.teacher.update(self.encoder, line(self.config.momentum, progress))

    def encode(self, batch: Batch) -> Tokens:
        """Patch tokens of the target encoder."""
        return self.teacher(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Predictions at the targets of one draw of masks."""
        masks = self.masks(batch, random)
        predicted, target = self.predict(batch["image"], masks)
        return Forecast(predicted.flatten(0, 2), target.flatten(0, 2), place=masks.targets.flatten())


def tiny() -> tuple[CJEPA, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(
        ViT(image=32, patch=8, width=32, depth=2, heads=2), predictor_width=16, predictor_depth=1, predictor_heads=2,
        momentum=(0.9, 1.0),
    )  # fmt: skip
    return CJEPA(config), {"index": torch.arange(8), "image": numbered(8).normal("image", 3, 32, 32)}
