"""I-JEPA: predict the representations of image blocks from one context block (arXiv 2301.08243).

context  z = f(patches in the context)           target  y = LN(f_teacher(all patches)) at each target block
energy   smooth-L1(g(z, where), y)               collapse prevention: the teacher is an average without gradient
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import ascending, require
from ...functional.distance import layer_normalized, smooth_l1
from ...functional.schedule import line
from ...nn.encoder import VisionTransformer, ViT
from ...nn.predictor import MaskPredictor
from ...nn.teacher import EMA
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Masks, Range, Terms, Tokens, gather
from ...views.blocks import blocks, check_size, released_blocks
from ...views.crops import resized_crop


@dataclass(frozen=True)
class Config:
    """Defaults: ViT-H/14 on ImageNet, facebookresearch/ijepa:configs/in1k_vith14_ep300.yaml."""

    encoder: ViT = ViT(image=224, patch=14, width=1280, depth=32, heads=16)
    """sizes of context and target encoder"""
    predictor_width: int = 384
    """width inside the predictor"""
    predictor_depth: int = 12
    """blocks of the predictor"""
    predictor_heads: int = 16
    """attention heads of the predictor; the released code takes the encoder's number"""
    predictor: Literal["per block", "shared"] = "per block"
    """each target block is predicted in a sequence alone, as released, or all in one that they share, as in V-JEPA"""
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
    masks: Literal["unbiased", "released"] = "unbiased"
    """sampler of the blocks: ours, or the released collator with its quirks (see views/blocks.py)"""
    crop_scale: Range = (0.3, 1.0)
    """share of the image's area that the random resized crop keeps"""
    flip: float = 0.0
    """probability of mirroring; the released code does not"""
    momentum: Range = (0.996, 1.0)
    """EMA momentum of the teacher at the first step and at the end of the schedule"""

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("predictor_width", "predictor_depth", "predictor_heads")}
        require(1, math.inf, targets=self.targets, **sizes)
        scales = {name: getattr(self, name) for name in ("target_scale", "context_scale", "crop_scale")}
        require(0, 1, flip=self.flip, min_context=self.min_context, momentum=self.momentum, **scales)
        require(0.01, 100, target_aspect=self.target_aspect)
        ascending(target_aspect=self.target_aspect, **scales)


class IJEPA(Method):
    """Image JEPA: context encoder, teacher and mask predictor on image patches."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        self.teacher = EMA(self.encoder)
        self.predictor = MaskPredictor(
            config.encoder.width, config.predictor_width, config.predictor_depth, config.predictor_heads,
            init=config.encoder.init, shared=config.predictor == "shared",
        )  # fmt: skip

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"prediction": 1.0}

    def masks(self, batch: Batch, random: Random) -> Masks:
        """Context and target blocks of each image."""
        c, side = self.config, self.config.encoder.side
        check_size(batch["image"], c.encoder.image)
        if c.masks == "unbiased":
            return blocks(
                side, side, random, c.targets, c.target_scale, c.target_aspect, c.context_scale, c.min_context
            )
        places = random.child(int(batch["index"][0])).shared("released_blocks")  # other ones on every rank, as released
        masks = released_blocks(
            side, side, len(batch["index"]), random.step, places, c.targets, c.target_scale, c.target_aspect,
            c.context_scale,
        )  # fmt: skip
        device = batch["image"].device
        return Masks(masks.context.to(device), masks.targets.to(device))

    def predict(
        self, image: Float[Tensor, "B C h w"], masks: Masks
    ) -> tuple[Float[Tensor, "B M K D"], Float[Tensor, "B M K D"]]:
        """Predicted and true embeddings at the targets."""
        context = self.encoder(image, masks.context)  # [B, N, D]
        full = self.teacher(image)  # [B, all, D], no gradient
        target = gather(layer_normalized(full.x), masks.targets)  # [B, M, K, D]
        return self.predictor(context, gather(full.pos, masks.targets)), target

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Smooth-L1 between predicted and normalized target embeddings; the paper writes squared L2, the code this."""
        image = resized_crop(batch["image"], random, self.config.crop_scale, flip=self.config.flip)
        predicted, target = self.predict(image, self.masks(batch, random))
        return {"prediction": smooth_l1(predicted, target)}

    def after_step(self, progress: float) -> None:
        """The teacher follows the encoder; momentum is linear in progress."""
        self.teacher.update(self.encoder, line(self.config.momentum, progress))

    def encode(self, batch: Batch) -> Tokens:
        """Patch tokens of the target encoder, which the paper evaluates."""
        return self.teacher(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Predictions at the targets of one draw of masks, beside the mean of what the teacher makes of the context."""
        masks = self.masks(batch, random)
        predicted, target = self.predict(batch["image"], masks)
        context = gather(layer_normalized(self.teacher(batch["image"]).x), masks.context)
        seen = context.mean(1)[:, None, None].expand_as(target)
        return Forecast(
            predicted.flatten(0, 2), target.flatten(0, 2), seen=seen.flatten(0, 2), place=masks.targets.flatten()
        )


def tiny() -> tuple[IJEPA, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(
        ViT(image=32, patch=8, width=32, depth=2, heads=2), predictor_width=16, predictor_depth=1, predictor_heads=2,
        momentum=(0.9, 1.0),
    )  # fmt: skip
    random = numbered(8)
    return IJEPA(config), {"index": torch.arange(8), "image": random.normal("image", 3, 32, 32)}
