"""SALT on images: predict the latents of a frozen teacher that learned from pixels (arXiv 2509.24317).

context  z = f(patches in the context)           p = g(z, coordinates of a target block)
stage 1  energy   mean (W p - pixels of the block, normalized per patch)^2
stage 2  energy   mean |p - LN(teacher(all patches)) at the block|; the teacher is f at the end of stage 1, frozen
No average, no regularizer: pixels cannot collapse, nor can a target that does not move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ConfigError, ascending, require
from ...functional.distance import layer_normalized, smooth_l1
from ...functional.pixels import masked_pixel_loss, patchify
from ...functional.position import grid
from ...nn.attention import initialize
from ...nn.encoder import VisionTransformer, ViT
from ...nn.predictor import MaskPredictor
from ...nn.teacher import EMA
from ...nn.weights import fill
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Masks, Range, Terms, Tokens, gather
from ...views.blocks import blocks, check_size
from ...views.crops import resized_crop


@dataclass(frozen=True)
class Config:
    """Defaults: I-JEPA's ViT-B/16 and masks; the paper trains on video, so no published run has these."""

    encoder: ViT = ViT(image=224, patch=16, width=768, depth=12, heads=12)
    """sizes of the encoder that is trained"""
    teacher_share: float = 0.3
    """share of the training that stage 1 takes; 0 keeps a random teacher, as a control"""
    teacher_file: str = ""
    """model.safetensors in a checkpoint of another run: take the teacher from there and skip stage 1"""
    teacher_part: str = "encoder"
    """part of that file that is the teacher; `teacher.module` is the average of another JEPA"""
    teacher: ViT = ViT(image=224, patch=16, width=768, depth=12, heads=12)
    """sizes of the teacher in that file, same image and patch; otherwise the teacher has those of the encoder"""
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

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("predictor_width", "predictor_depth", "predictor_heads")}
        require(1, math.inf, targets=self.targets, **sizes)
        scales = {name: getattr(self, name) for name in ("target_scale", "context_scale", "crop_scale")}
        require(0, 1, min_context=self.min_context, teacher_share=self.teacher_share, **scales)
        require(0.01, 100, target_aspect=self.target_aspect)
        ascending(target_aspect=self.target_aspect, **scales)
        given, own = (self.teacher.image, self.teacher.patch), (self.encoder.image, self.encoder.patch)
        if self.teacher_file and given != own:
            raise ConfigError(
                f"the teacher has image and patch {given}, the encoder {own}: both must have the same patches"
            )


class SALT(Method):
    """Encoder, mask predictor, a linear map to pixels, and the teacher."""

    reconstructs: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        teacher = self.encoder
        if config.teacher_file:
            teacher = VisionTransformer(config.teacher)
            fill(teacher, config.teacher_file, config.teacher_part)
        self.teacher = EMA(teacher)  # used as a frozen copy
        width = teacher.config.width
        self.predictor = MaskPredictor(
            config.encoder.width, config.predictor_width, config.predictor_depth, config.predictor_heads,
            init=config.encoder.init, out=width,
        )  # fmt: skip
        self.pixels = nn.Linear(width, config.encoder.patch**2 * config.encoder.channels)
        initialize(self.pixels, config.encoder.init)
        self.register_buffer("reconstructs", torch.tensor(not config.teacher_file and config.teacher_share > 0))

    @property
    def weights(self) -> dict[str, float]:
        """One term for each stage; the other one is 0."""
        return {"pixels": 1.0, "prediction": 1.0}

    def masks(self, batch: Batch, random: Random) -> Masks:
        """I-JEPA's masks, in both stages; the paper takes V-JEPA's."""
        c, side = self.config, self.config.encoder.side
        check_size(batch["image"], c.encoder.image)
        return blocks(side, side, random, c.targets, c.target_scale, c.target_aspect, c.context_scale, c.min_context)

    def predict(self, image: Float[Tensor, "B C h w"], masks: Masks) -> Float[Tensor, "B M K D"]:
        """Latents at the targets."""
        context, side = self.encoder(image, masks.context), self.config.encoder.side
        place = grid(side, side, image.device).expand(len(image), -1, -1)
        return self.predictor(context, gather(place, masks.targets))

    def latents(self, image: Float[Tensor, "B C h w"], masks: Masks) -> Float[Tensor, "B M K D"]:
        """The teacher's normalized latents at the targets, of the whole image, without gradient."""
        return gather(layer_normalized(self.teacher(image).x), masks.targets)

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Squared distance of pixels, then L1 of latents as in V-JEPA, at the targets only."""
        image = resized_crop(batch["image"], random, self.config.crop_scale)
        masks = self.masks(batch, random)
        predicted = self.predict(image, masks)
        if self.reconstructs:
            wanted = gather(patchify(image, self.config.encoder.patch), masks.targets).flatten(1, 2)
            term = masked_pixel_loss(self.pixels(predicted).flatten(1, 2), wanted)
            return {"pixels": term, "prediction": torch.zeros_like(term)}
        idle = torch.stack([p.sum() for p in self.pixels.parameters()]).sum() * 0  # all ranks wait for its gradient
        return {"pixels": idle, "prediction": smooth_l1(predicted, self.latents(image, masks), beta=0.0)}

    def after_step(self, progress: float) -> None:
        """The teacher becomes the encoder once, at the end of stage 1."""
        if progress >= self.config.teacher_share and self.reconstructs:
            self.teacher.update(self.encoder, 0.0)
            self.reconstructs.fill_(False)

    def encode(self, batch: Batch) -> Tokens:
        """Patch tokens of the encoder that is trained: of the student, in the end."""
        return self.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast | None:
        """Predictions at the targets of one draw of masks; none in stage 1, which predicts pixels."""
        if self.reconstructs:
            return None
        masks = self.masks(batch, random)
        predicted, wanted = self.predict(batch["image"], masks), self.latents(batch["image"], masks)
        return Forecast(predicted.flatten(0, 2), wanted.flatten(0, 2), place=masks.targets.flatten())


def tiny() -> tuple[SALT, Batch]:
    """A small instance, in stage 1, and a batch for the contract tests."""
    config = Config(
        ViT(image=32, patch=8, width=32, depth=2, heads=2), predictor_width=16, predictor_depth=1, predictor_heads=2
    )
    return SALT(config), {"index": torch.arange(8), "image": numbered(8).normal("image", 3, 32, 32)}
