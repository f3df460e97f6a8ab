"""VJEPA, variational JEPA (not the video model): predict a Gaussian over each target embedding (arXiv 2601.14354).

context    z = f(patches in the context)         predictor  p = N(m(z, where), s(z, where)^2) at each target
target     q = N(LN(f_teacher(all patches)), r^2)           energy  E_q[-log p] + beta KL(q || N(0, 1))
BJEPA adds gamma KL(p || expert) of a Gaussian that knows nothing of the image, and predicts by the product of both.
Collapse prevention: the means of q come from an average without gradient and are layer-normalized; no pixel is rebuilt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ascending, require
from ...functional.distance import layer_normalized
from ...functional.gaussian import Gaussian, bounded, cross_entropy, kl, product, sample, split, standard, unbounded
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
    """Defaults: objective and momentum of the paper's table 6; sizes, masks and crops are I-JEPA's at ViT-S/16."""

    encoder: ViT = ViT()
    """sizes of context and target encoder"""
    predictor_width: int = 192
    """width inside the predictor"""
    predictor_depth: int = 6
    """blocks of the predictor"""
    predictor_heads: int = 6
    """attention heads of the predictor"""
    beta: float = 0.01
    """weight of the divergence of the target's distribution from a standard normal; it keeps its variance above 0"""
    target_std: float = 0.1
    """standard deviation of the target's distribution at the start; it is learned, one per feature"""
    gamma: float = 0.0
    """weight of the divergence from the prior expert; above 0 the method is BJEPA, which takes 0.1"""
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
    flip: float = 0.0
    """probability of mirroring"""
    momentum: Range = (0.99, 0.99)
    """EMA momentum of the teacher at the first step and at the end of the schedule"""

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("predictor_width", "predictor_depth", "predictor_heads")}
        require(1, math.inf, targets=self.targets, **sizes)
        require(0, math.inf, beta=self.beta, gamma=self.gamma)
        require(0.01, 100, target_aspect=self.target_aspect, target_std=self.target_std)
        scales = {name: getattr(self, name) for name in ("target_scale", "context_scale", "crop_scale")}
        require(0, 1, flip=self.flip, min_context=self.min_context, momentum=self.momentum, **scales)
        ascending(target_aspect=self.target_aspect, **scales)


class VariationalJEPA(Method):
    """I-JEPA whose predictor says how sure it is of each number; with `gamma`, BJEPA."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, width = config, config.encoder.width
        self.encoder = VisionTransformer(config.encoder)
        self.teacher = EMA(self.encoder)
        self.predictor = MaskPredictor(
            width, config.predictor_width, config.predictor_depth, config.predictor_heads,
            init=config.encoder.init, out=2 * width,
        )  # fmt: skip
        self.target_log_variance = nn.Parameter(torch.full((width,), unbounded(2 * math.log(config.target_std))))
        if config.gamma:
            self.expert_mean = nn.Parameter(torch.zeros(width))
            self.expert_log_variance = nn.Parameter(torch.zeros(width))

    @property
    def weights(self) -> dict[str, float]:
        """Equation 11, and the third term of equation 33 with a prior expert."""
        expert = {"kl_expert": self.config.gamma} if self.config.gamma else {}
        return {"prediction": 1.0, "kl_prior": self.config.beta, **expert}

    @property
    def expert(self) -> Gaussian:
        """BJEPA's static prior expert [D], learned where `gamma` is above 0."""
        return Gaussian(self.expert_mean, bounded(self.expert_log_variance))

    def masks(self, batch: Batch, random: Random) -> Masks:
        """Context and target blocks of each image: I-JEPA's, from the unbiased sampler."""
        c, side = self.config, self.config.encoder.side
        check_size(batch["image"], c.encoder.image)
        return blocks(side, side, random, c.targets, c.target_scale, c.target_aspect, c.context_scale, c.min_context)

    def predict(self, image: Float[Tensor, "B C h w"], masks: Masks) -> tuple[Gaussian, Gaussian]:
        """Predicted and true distribution [B, M, K, D] of the embeddings at the targets, equations 7 and 10."""
        context = self.encoder(image, masks.context)  # [B, N, D]
        full = self.teacher(image)  # [B, all, D], no gradient
        mean = gather(layer_normalized(full.x), masks.targets)  # [B, M, K, D]
        predicted = split(self.predictor(context, gather(full.pos, masks.targets)))
        return predicted, Gaussian(mean, bounded(self.target_log_variance).expand_as(mean))

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Equation 11 (and 33) in nats per feature, the expectation over q in closed form instead of by one draw."""
        image = resized_crop(batch["image"], random, self.config.crop_scale, flip=self.config.flip)
        predicted, target = self.predict(image, self.masks(batch, random))
        terms = {
            "prediction": cross_entropy(target, predicted).mean(),
            "kl_prior": kl(target, standard(target.mean)).mean(),
        }
        return {**terms, "kl_expert": kl(predicted, self.expert).mean()} if self.config.gamma else terms

    def after_step(self, progress: float) -> None:
        """The teacher follows the encoder; momentum is linear in progress."""
        self.teacher.update(self.encoder, line(self.config.momentum, progress))

    def encode(self, batch: Batch) -> Tokens:
        """Patch tokens of the teacher, which makes the targets."""
        return self.teacher(batch["image"])

    def believed(self, predicted: Gaussian) -> Gaussian:
        """What a prediction [*B, D] becomes beside the prior expert: BJEPA's product; itself where there is none."""
        return product(predicted, self.expert) if self.config.gamma else predicted

    def distribution(
        self, batch: Batch, random: Random
    ) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D"], Float[Tensor, "n D"]]:
        """Mean and standard deviation of what was predicted at the targets, and a draw of what came, for calibration.

        The draw is of q, as training scores it; its mean is the teacher's embedding.
        """
        predicted, target = self.predict(batch["image"], self.masks(batch, random))
        believed, drawn = self.believed(predicted), sample(target, random, "target")
        return believed.mean.flatten(0, 2), believed.std.flatten(0, 2), drawn.flatten(0, 2)

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Means of the predicted and of the true distributions at the targets, beside the mean of the context's."""
        masks = self.masks(batch, random)
        predicted, target = self.predict(batch["image"], masks)
        context = gather(layer_normalized(self.teacher(batch["image"]).x), masks.context)
        seen = context.mean(1)[:, None, None].expand_as(target.mean)
        believed = self.believed(predicted).mean
        return Forecast(
            believed.flatten(0, 2), target.mean.flatten(0, 2), seen=seen.flatten(0, 2), place=masks.targets.flatten()
        )


def tiny() -> tuple[VariationalJEPA, Batch]:
    """A small instance, with a prior expert, and a batch for the contract tests."""
    config = Config(
        ViT(image=32, patch=8, width=32, depth=2, heads=2), predictor_width=16, predictor_depth=1, predictor_heads=2,
        gamma=0.1, momentum=(0.9, 1.0),
    )  # fmt: skip
    random = numbered(8)
    return VariationalJEPA(config), {"index": torch.arange(8), "image": random.normal("image", 3, 32, 32)}
