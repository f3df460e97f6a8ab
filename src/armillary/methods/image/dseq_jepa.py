"""DSeq-JEPA: predict the regions of an image one after the other, the most salient first (arXiv 2511.17354).

regions  R_1 .. R_n of the image, ranked by the attention that they receive inside the teacher; R_n is what remains
context  z_k = f(patches in R_1 .. R_k)          target  y_k = LN(f_teacher(all patches)) at R_{k+1}
energy   mean over k of smooth-L1(g(z_k, where R_{k+1} is), y_k), for k = 1 .. n - 1
With a probability that falls over training, a step is one of I-JEPA instead, with random blocks.
Collapse prevention: the teacher is an average without gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import ConfigError, ascending, require
from ...functional.distance import layer_normalized, smooth_l1
from ...functional.schedule import line
from ...nn.encoder import VisionTransformer, ViT
from ...nn.predictor import MaskPredictor
from ...nn.saliency import attended
from ...nn.teacher import EMA
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Masks, Range, Terms, Tokens, gather
from ...views.blocks import blocks, check_size
from ...views.crops import resized_crop
from ...views.salient import salient_regions

Pair = tuple[Float[Tensor, "B M K D"], Float[Tensor, "B M K D"]]


@dataclass(frozen=True)
class Config:
    """Defaults: ViT-B/16 on ImageNet, SkyShunsuke/DSeq-JEPA:configs/dseqjepa/vitb16_in1k.yaml."""

    encoder: ViT = ViT(image=224, patch=16, width=768, depth=12, heads=12, class_token=True)
    """sizes of context and target encoder; a class token is what saliency is read from, where there is one"""
    predictor_width: int = 384
    """width inside the predictor"""
    predictor_depth: int = 6
    """blocks of the predictor"""
    predictor_heads: int = 12
    """attention heads of the predictor"""
    regions: int = 5
    """regions per image, the last one being what the others leave"""
    region_scale: float = 0.15
    """share of the image that each region but the last covers; the smallest share that the released code keeps"""
    saliency_block: int = 10
    """block of the teacher, counted from 0, whose attention tells what is salient"""
    sequence_share: Range = (0.0, 1.0)
    """probability that a step predicts regions in order and not random blocks, at the start and the end of training"""
    targets: int = 4
    """target blocks per image, in steps with random blocks"""
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

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("predictor_width", "predictor_depth", "predictor_heads")}
        require(1, math.inf, targets=self.targets, **sizes)
        require(2, math.inf, regions=self.regions)
        require(0, self.encoder.depth - 1, saliency_block=self.saliency_block)
        scales = {name: getattr(self, name) for name in ("target_scale", "context_scale", "crop_scale")}
        rest = {name: getattr(self, name) for name in ("min_context", "momentum", "region_scale", "sequence_share")}
        require(0, 1, **scales, **rest)
        require(0.01, 100, target_aspect=self.target_aspect)
        ascending(target_aspect=self.target_aspect, **scales)
        taken, patches = (self.regions - 1) * self.size, self.encoder.side**2
        if taken >= patches:  # otherwise found in the first step with regions, which may come late
            raise ConfigError(
                f"{self.regions} regions of region_scale {self.region_scale}: all but the last take {taken} of "
                f"{patches} patches and leave it none; use fewer or smaller ones, or smaller patches"
            )

    @property
    def size(self) -> int:
        """Patches of each region but the last."""
        return max(1, round(self.region_scale * self.encoder.side**2))


class DSeqJEPA(Method):
    """I-JEPA's parts, and the share of steps that predict regions in order."""

    share: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        self.teacher = EMA(self.encoder)
        self.predictor = MaskPredictor(
            config.encoder.width, config.predictor_width, config.predictor_depth, config.predictor_heads,
            init=config.encoder.init,
        )  # fmt: skip
        self.register_buffer("share", torch.tensor(config.sequence_share[0]))

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"prediction": 1.0}

    def order(self, saliency: Float[Tensor, "B N"]) -> list[Masks]:
        """The masks of each k: the first k regions are seen, the next one is the target; its size is static."""
        c, side = self.config, self.config.encoder.side
        patches = salient_regions(saliency, side, side, c.regions, c.size)
        ends = [c.size * (k + 1) for k in range(c.regions - 1)] + [side * side]
        return [Masks(patches[:, : ends[k]], patches[:, None, ends[k] : ends[k + 1]]) for k in range(c.regions - 1)]

    def blocks(self, random: Random) -> Masks:
        """I-JEPA's masks."""
        c, side = self.config, self.config.encoder.side
        return blocks(side, side, random, c.targets, c.target_scale, c.target_aspect, c.context_scale, c.min_context)

    def watch(self, image: Float[Tensor, "B C h w"]) -> tuple[Tokens, Float[Tensor, "B N"]]:
        """Targets for all patches, layer-normalized and without gradient, and the saliency of each patch."""
        c = self.config
        check_size(image, c.encoder.image)
        teacher = self.teacher.module
        assert isinstance(teacher, VisionTransformer)
        with torch.no_grad():
            full, saliency = attended(teacher, image, c.saliency_block)
            return Tokens(layer_normalized(full.x), full.pos), saliency

    def predict(self, image: Float[Tensor, "B C h w"], full: Tokens, masks: Masks) -> Pair:
        """Predicted and true embeddings at the targets of one context."""
        context = self.encoder(image, masks.context)
        return self.predictor(context, gather(full.pos, masks.targets)), gather(full.x, masks.targets)

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Smooth-L1 of regions in order, each k counting the same, or of random blocks.

        All ranks toss the same coin; the released code tosses one on each.
        """
        image = resized_crop(batch["image"], random, self.config.crop_scale)
        full, saliency = self.watch(image)
        coin = torch.rand((), generator=random.shared("regions or blocks"))
        found = self.order(saliency) if coin < self.share else [self.blocks(random)]
        return {"prediction": torch.stack([smooth_l1(*self.predict(image, full, masks)) for masks in found]).mean()}

    def after_step(self, progress: float) -> None:
        """The teacher follows the encoder; its momentum and the share of steps with regions are linear in progress."""
        self.teacher.update(self.encoder, line(self.config.momentum, progress))
        self.share.fill_(line(self.config.sequence_share, progress))

    def encode(self, batch: Batch) -> Tokens:
        """Patch tokens of the target encoder."""
        return self.teacher(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Predictions of all regions but the first."""
        full, saliency = self.watch(batch["image"])
        order = self.order(saliency)
        pairs = [self.predict(batch["image"], full, masks) for masks in order]
        predicted, target = (torch.cat([part.flatten(0, 2) for part in side]) for side in zip(*pairs, strict=True))
        return Forecast(predicted, target, place=torch.cat([masks.targets.flatten() for masks in order]))


def tiny() -> tuple[DSeqJEPA, Batch]:
    """A small instance and a batch for the contract tests; its steps predict regions."""
    config = Config(
        ViT(image=32, patch=8, width=32, depth=2, heads=2, class_token=True), predictor_width=16, predictor_depth=1,
        predictor_heads=2, saliency_block=1, sequence_share=(1.0, 1.0), momentum=(0.9, 1.0),
    )  # fmt: skip
    return DSeqJEPA(config), {"index": torch.arange(8), "image": numbered(8).normal("image", 3, 32, 32)}
