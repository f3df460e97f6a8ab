"""IWM, an image world model: predict how a transformed view looks in latent space (arXiv 2403.00504).

views    one crop and mirror; source x with strong and destructive changes of color, target y with mild ones;
         a = parameters of y less those of x
context  z = f(patches of x in the context)      target  t = LN(f_teacher(all patches of y)) at each target block
energy   mean (g(z, where, a) - t)^2; mask tokens of g are an MLP of (mask token + position, a)
Collapse prevention: the teacher is an average without gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import ConfigError, ascending, require
from ...functional.distance import layer_normalized, squared
from ...functional.schedule import line
from ...nn.encoder import VisionTransformer, ViT
from ...nn.predictor import MaskPredictor
from ...nn.teacher import EMA
from ...randomness import Random
from ...types import Batch, Forecast, Masks, Range, Terms, Tokens, gather
from ...views.blocks import blocks
from ...views.pixels import PixelViews, Transform, apply, draw, example

COLOR = 7  # numbers of a transformation beside crop and mirror: brightness .. hue, gray, blur, solarize
TARGET = PixelViews(crop_scale=(0.3, 1.0), saturation=0.2, gray=0.0, blur=0.0)
SOURCE = PixelViews(crop_scale=(0.3, 1.0), saturation=0.2, gray=0.2, blur=0.5, solarize=0.2)


@dataclass(frozen=True)
class Config:
    """Defaults: ViT-B/16 on ImageNet with the deep predictor, arXiv 2403.00504, section 4."""

    encoder: ViT = ViT(image=224, patch=16, width=768, depth=12, heads=12)
    """sizes of context and target encoder"""
    predictor_width: int = 384
    """width inside the predictor"""
    predictor_depth: int = 18
    """blocks of the predictor; with 12 and weak colors the model becomes invariant"""
    predictor_heads: int = 12
    """attention heads of the predictor"""
    source: PixelViews = SOURCE
    """colors of the view that is seen; its crop and mirror are the target's"""
    target: PixelViews = TARGET
    """crop, mirror and colors of the view that is predicted"""
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
    momentum: Range = (0.996, 1.0)
    """EMA momentum of the teacher at the first step and at the end of the schedule"""

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("predictor_width", "predictor_depth", "predictor_heads")}
        require(1, math.inf, targets=self.targets, **sizes)
        scales = {name: getattr(self, name) for name in ("target_scale", "context_scale")}
        require(0, 1, min_context=self.min_context, momentum=self.momentum, **scales)
        require(0.01, 100, target_aspect=self.target_aspect)
        ascending(target_aspect=self.target_aspect, **scales)
        if self.source.size or self.target.size:
            raise ConfigError(
                f"source.size is {self.source.size}, target.size {self.target.size}: both views have the encoder's "
                "size; leave these at 0"
            )


class IWM(Method):
    """I-JEPA's parts; the predictor is told the transformation."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        self.teacher = EMA(self.encoder)
        self.predictor = MaskPredictor(
            config.encoder.width, config.predictor_width, config.predictor_depth, config.predictor_heads,
            init=config.encoder.init, condition=COLOR,
        )  # fmt: skip

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"prediction": 1.0}

    def views(self, random: Random) -> tuple[Transform, Transform]:
        """Source and target transformation; crop and mirror are the same."""
        target = draw(random, self.config.target, "target")
        return replace(draw(random, self.config.source, "source"), box=target.box, flip=target.flip), target

    def seen(self, batch: Batch, transform: Transform) -> Float[Tensor, "B C s s"]:
        """The view that a transformation gives, of the encoder's size."""
        return apply(batch["image"], batch.get("normalization"), transform, self.config.encoder.image)

    def masks(self, random: Random) -> Masks:
        """I-JEPA's masks, of both views."""
        c, side = self.config, self.config.encoder.side
        return blocks(side, side, random, c.targets, c.target_scale, c.target_aspect, c.context_scale, c.min_context)

    def predict(
        self, source: Float[Tensor, "B C h w"], target: Float[Tensor, "B C h w"], action: Float[Tensor, "B A"],
        masks: Masks,
    ) -> tuple[Float[Tensor, "B M K D"], Float[Tensor, "B M K D"]]:  # fmt: skip
        """Predicted and true embeddings of the target view at the targets."""
        context = self.encoder(source, masks.context)
        full = self.teacher(target)  # no gradient
        predicted = self.predictor(context, gather(full.pos, masks.targets), action)
        return predicted, gather(layer_normalized(full.x), masks.targets)

    def drawn(self, batch: Batch, random: Random) -> tuple[Float[Tensor, "B M K D"], Float[Tensor, "B M K D"]]:
        """Prediction and target for one draw of views and masks."""
        source, target = self.views(random)
        return self.predict(
            self.seen(batch, source), self.seen(batch, target), action(source, target), self.masks(random)
        )

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Squared distance to the target view's embeddings."""
        return {"prediction": squared(*self.drawn(batch, random))}

    def after_step(self, progress: float) -> None:
        """The teacher follows the encoder; momentum is linear in progress."""
        self.teacher.update(self.encoder, line(self.config.momentum, progress))

    def encode(self, batch: Batch) -> Tokens:
        """Patch tokens of the target encoder."""
        return self.teacher(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Predictions at the targets of one draw."""
        predicted, target = self.drawn(batch, random)
        place = self.masks(random).targets.flatten()  # those of `drawn`
        return Forecast(predicted.flatten(0, 2), target.flatten(0, 2), place=place)

    @torch.no_grad()
    def copies(
        self, batch: Batch, random: Random, count: int = 256
    ) -> tuple[Float[Tensor, "B S D"], Float[Tensor, "B S D"]]:
        """Whole views predicted for `count` transformed copies of each image, and what the teacher makes of them.

        One source view per image, all its patches seen; all copies have its crop and mirror. D is the embeddings of all
        patches in a row. Feed both to `diagnostics.equivariance.reciprocal_rank`.
        Source: arXiv 2403.00504, section 4 (256 copies).
        """
        side, rows = self.config.encoder.side, len(batch["index"])
        everything = torch.arange(side * side, device=batch["index"].device).expand(rows, -1)
        masks = Masks(everything, everything[:, None])
        source, _ = self.views(random)
        image, found, wanted = self.seen(batch, source), [], []
        for copy in range(count):
            target = draw(random.child(copy), self.config.target, "target")
            target = replace(target, box=source.box, flip=source.flip)
            pair = self.predict(image, self.seen(batch, target), action(source, target), masks)
            found.append(pair[0].flatten(1))
            wanted.append(pair[1].flatten(1))
        return torch.stack(found, 1), torch.stack(wanted, 1)


def action(source: Transform, target: Transform) -> Float[Tensor, "B A"]:
    """What leads from source to target: the difference of their parameters of color, blur and solarization."""
    return target.vector()[:, -COLOR:] - source.vector()[:, -COLOR:]


def tiny() -> tuple[IWM, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(
        ViT(image=32, patch=8, width=32, depth=2, heads=2), predictor_width=16, predictor_depth=1, predictor_heads=2,
        momentum=(0.9, 1.0),
    )  # fmt: skip
    return IWM(config), example()
