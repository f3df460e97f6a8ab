"""Var-JEPA: one evidence bound of context and target; the predictor is a conditional prior (arXiv 2603.20111).

model      s_x, z ~ N(0, 1)   s_y ~ p(s_y | s_x, z)   x ~ p(x | s_x)   y ~ p(y | s_y)
posterior  q(s_x | x)   q(z | s_x)   q(s_y | s_x, z, y)      x: patches in the context, y: patches of a target block
energy     -log p(x | s_x) - log p(y | s_y) + KL(s_x) + KL(z) + KL(q(s_y | s_x, z, y) || p(s_y | s_x, z))
Collapse prevention: pixels have to be rebuilt from the latents. No teacher and no stop-gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ascending, require
from ...functional.gaussian import Gaussian, bounded, kl, log_density, sample, split, standard
from ...functional.pixels import patch_normalized, patchify
from ...nn.encoder import VisionTransformer, ViT
from ...nn.predictor import MaskPredictor
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Masks, Range, Terms, Tokens, gather
from ...views.blocks import blocks, check_size
from ...views.crops import resized_crop


@dataclass(frozen=True)
class Config:
    """Defaults are ours, for ViT-S/16: the paper trains on tables and sketches images only; masks are I-JEPA's."""

    encoder: ViT = ViT()
    """sizes of the context encoder and of the target encoder, which share no weights"""
    latent: int = 384
    """width of the latents of a patch, s_x and s_y"""
    auxiliary: int = 64
    """width of the auxiliary latent z, one for an image"""
    predictor_width: int = 192
    """width inside the predictor"""
    predictor_depth: int = 6
    """blocks of the predictor"""
    predictor_heads: int = 6
    """attention heads of the predictor"""
    hidden: int = 384
    """hidden width of the decoders and of the posteriors of z and s_y"""
    likelihood_weight: float = 1.0
    """weight of both reconstructions; 1 beside a kl_weight of 1 is the evidence bound"""
    kl_weight: float = 1.0
    """weight of the three divergences"""
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

    def __post_init__(self) -> None:
        names = ("latent", "auxiliary", "predictor_width", "predictor_depth", "predictor_heads", "hidden", "targets")
        require(1, math.inf, **{name: getattr(self, name) for name in names})
        require(0, math.inf, likelihood_weight=self.likelihood_weight, kl_weight=self.kl_weight)
        require(0.01, 100, target_aspect=self.target_aspect)
        scales = {name: getattr(self, name) for name in ("target_scale", "context_scale", "crop_scale")}
        require(0, 1, flip=self.flip, min_context=self.min_context, **scales)
        ascending(target_aspect=self.target_aspect, **scales)


@dataclass(frozen=True)
class Beliefs:
    """Posteriors of all latents, the prior that the predictor gives, and the values at which it was asked.

    context: q(s_x | x) [B, K, L]; auxiliary: q(z | s_x) [B, Z]; target: q(s_y | s_x, z, y) and prior: p(s_y | s_x, z)
    [B, M, Kt, L]; s_x, s_y: values of these latents.
    """

    context: Gaussian
    auxiliary: Gaussian
    target: Gaussian
    prior: Gaussian
    s_x: Float[Tensor, "B K L"]
    s_y: Float[Tensor, "B M Kt L"]


class VarJEPA(Method):
    """A coupled latent-variable model of context and target patches, trained by one evidence bound."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, vit = config, config.encoder
        width, latent, z, pixels = vit.width, config.latent, config.auxiliary, vit.channels * vit.patch**2
        self.encoder, self.target_encoder = VisionTransformer(vit), VisionTransformer(vit)
        self.context_posterior = nn.Linear(width, 2 * latent)
        self.auxiliary_posterior = _mlp(latent, config.hidden, 2 * z)
        self.target_posterior = _mlp(width + latent + z, config.hidden, 2 * latent)
        self.predictor = MaskPredictor(
            latent, config.predictor_width, config.predictor_depth, config.predictor_heads,
            init=vit.init, condition=z, out=2 * latent,
        )  # fmt: skip
        self.context_decoder = _mlp(latent, config.hidden, pixels)
        self.target_decoder = _mlp(latent, config.hidden, pixels)
        self.noise = nn.Parameter(torch.zeros(2))  # log-variances of the pixels around what is decoded

    @property
    def weights(self) -> dict[str, float]:
        """The five terms of the bound."""
        likelihood, divergence = self.config.likelihood_weight, self.config.kl_weight
        kls = dict.fromkeys(("kl_context", "kl_auxiliary", "kl_target"), divergence)
        return {"reconstruction": likelihood, "generation": likelihood, **kls}

    def masks(self, batch: Batch, random: Random) -> Masks:
        """Context and target blocks of each image: I-JEPA's, from the unbiased sampler."""
        c, side = self.config, self.config.encoder.side
        check_size(batch["image"], c.encoder.image)
        return blocks(side, side, random, c.targets, c.target_scale, c.target_aspect, c.context_scale, c.min_context)

    def infer(self, image: Float[Tensor, "B C h w"], masks: Masks, random: Random | None) -> Beliefs:
        """All distributions over latents, one draw of each, or with `random` None their means instead of draws."""

        def drawn(q: Gaussian, stream: str) -> Tensor:
            return q.mean if random is None else sample(q, random, stream)

        seen = self.encoder(image, masks.context)
        context = split(self.context_posterior(seen.x))
        s_x = drawn(context, "s_x")
        auxiliary = split(self.auxiliary_posterior(s_x.mean(1)))
        z = drawn(auxiliary, "z")
        everywhere = self.target_encoder.embed(image)
        where = gather(everywhere.pos, masks.targets)  # [B, M, Kt, P]
        blocks = Tokens(gather(everywhere.x, masks.targets).flatten(0, 1), where.flatten(0, 1))
        y = self.target_encoder.both(blocks)[1].x.view(*where.shape[:3], -1)  # each block alone
        known = torch.cat([s_x.mean(1), z], -1)[:, None, None].expand(-1, *where.shape[1:3], -1)
        target = split(self.target_posterior(torch.cat([y, known.to(y.dtype)], -1)))
        prior = split(self.predictor(Tokens(s_x, seen.pos), where, z))
        return Beliefs(context, auxiliary, target, prior, s_x, drawn(target, "s_y"))

    def loss(self, batch: Batch, random: Random) -> Terms:
        """The terms of -ELBO of a context and one block, mean over the blocks, in nats per pixel value of the two."""
        image = resized_crop(batch["image"], random, self.config.crop_scale, flip=self.config.flip)
        masks = self.masks(batch, random)
        now = self.infer(image, masks, random)
        patches = patch_normalized(patchify(image, self.config.encoder.patch))
        x, y = gather(patches, masks.context), gather(patches, masks.targets)
        terms = {
            "reconstruction": -log_density(self._pixels(self.context_decoder(now.s_x), 0), x).sum((1, 2)),
            "generation": -log_density(self._pixels(self.target_decoder(now.s_y), 1), y).sum((2, 3)),
            "kl_context": kl(now.context, standard(now.context.mean)).sum((1, 2)),
            "kl_auxiliary": kl(now.auxiliary, standard(now.auxiliary.mean)).sum(1),
            "kl_target": kl(now.target, now.prior).sum((2, 3)),
        }
        observed = x[0].numel() + y[0, 0].numel()
        return {name: nats.mean() / observed for name, nats in terms.items()}

    def _pixels(self, mean: Float[Tensor, "*B P"], which: int) -> Gaussian:
        """Normalized pixels around what is decoded, with one learned variance of the contexts and one of targets."""
        return Gaussian(mean, bounded(self.noise[which]).expand_as(mean))

    def encode(self, batch: Batch) -> Tokens:
        """Posterior means of s_x of all patches: what the paper hands to downstream tasks."""
        full = self.encoder(batch["image"])
        return Tokens(split(self.context_posterior(full.x)).mean, full.pos)

    def distribution(
        self, batch: Batch, random: Random
    ) -> tuple[Float[Tensor, "n L"], Float[Tensor, "n L"], Float[Tensor, "n L"]]:
        """Mean and standard deviation of p(s_y | s_x, z), and a draw of q(s_y | s_x, z, y), for calibration.

        s_x and z are draws too, as in the bound: given them the prediction is Gaussian, without them it is a mixture.
        """
        now = self.infer(batch["image"], self.masks(batch, random), random)
        return now.prior.mean.flatten(0, 2), now.prior.std.flatten(0, 2), now.s_y.flatten(0, 2)

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Means of the prior and of the posterior at the targets of one draw of masks; no latent is drawn.

        A target has no place of its own: its posterior depends on the rest of its block and on the context too.
        """
        now = self.infer(batch["image"], self.masks(batch, random), None)
        return Forecast(now.prior.mean.flatten(0, 2), now.s_y.flatten(0, 2))


def _mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    """Two linear maps with GELU between; no batch norm, as a row must not depend on the others."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))


def tiny() -> tuple[VarJEPA, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(
        ViT(image=32, patch=8, width=32, depth=2, heads=2), latent=16, auxiliary=4, predictor_width=16,
        predictor_depth=1, predictor_heads=2, hidden=32,
    )  # fmt: skip
    return VarJEPA(config), {"index": torch.arange(8), "image": numbered(8).normal("image", 3, 32, 32)}
