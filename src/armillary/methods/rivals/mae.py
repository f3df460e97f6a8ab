"""MAE: reconstruct the pixels of three quarters of the patches from the others (arXiv 2111.06377).

z = f(visible patches),  x' = decoder(z, mask tokens at the hidden places)
energy   |x' - normalized pixels|^2 at the hidden patches        collapse prevention: the target is the input itself
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...contracts import Method
from ...errors import ConfigError, ascending, require
from ...functional.pixels import masked_pixel_loss, patch_normalized, patchify
from ...nn.encoder import VisionTransformer, ViT
from ...nn.predictor import MaskPredictor
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Range, Terms, Tokens, gather
from ...views.crops import resized_crop
from ...views.subsets import random_masks


@dataclass(frozen=True)
class Config:
    """Defaults: ViT-L/16 on ImageNet, facebookresearch/mae:models_mae.py and PRETRAIN.md."""

    encoder: ViT = ViT(width=1024, depth=24, heads=16, class_token=True, init="xavier")
    """sizes of the encoder; its class token, where there is one, goes through the decoder too"""
    decoder_width: int = 512
    """width inside the decoder"""
    decoder_depth: int = 8
    """blocks of the decoder"""
    decoder_heads: int = 16
    """attention heads of the decoder"""
    mask: float = 0.75
    """share of the patches that is hidden"""
    normalize: bool = True
    """reconstruct each patch with mean 0 and variance 1, or the pixels as they are"""
    crop_scale: Range = (0.2, 1.0)
    """share of the image's area that the random resized crop keeps"""
    flip: float = 0.5
    """probability of mirroring"""

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("decoder_width", "decoder_depth", "decoder_heads")}
        require(1, math.inf, **sizes)
        require(0, 1, mask=self.mask, crop_scale=self.crop_scale, flip=self.flip)
        ascending(crop_scale=self.crop_scale)
        patches = self.encoder.side**2
        if not 1 <= self.seen(patches) < patches:
            raise ConfigError(
                f"mask {self.mask} leaves {self.seen(patches)} of {patches} patches; hide at least 1, and not all"
            )

    def seen(self, patches: int) -> int:
        """How many of so many patches stay visible."""
        return int(patches * (1 - self.mask))


class MAE(Method):
    """Masked autoencoder: the encoder sees a quarter of the patches, a narrow decoder puts the others back."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, vit = config, config.encoder
        self.encoder = VisionTransformer(vit)
        self.decoder = MaskPredictor(
            vit.width, config.decoder_width, config.decoder_depth, config.decoder_heads,
            eps=vit.norm_eps, init=vit.init, out=vit.channels * vit.patch**2,
        )  # fmt: skip

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"reconstruction": 1.0}

    def masks(self, batch: Batch, random: Random) -> tuple[Int[Tensor, "B K"], Int[Tensor, "B M"]]:
        """Visible and hidden patches of each image, uniformly random (section 3); int(N (1 - mask)) stay visible."""
        rows, columns = (side // self.config.encoder.patch for side in batch["image"].shape[-2:])
        return random_masks(rows * columns, self.config.seen(rows * columns), random)

    def reconstruct(
        self, image: Float[Tensor, "B C h w"], visible: Int[Tensor, "B K"], hidden: Int[Tensor, "B M"]
    ) -> Float[Tensor, "B M P"]:
        """The hidden patches as rows of pixels, from the visible ones; nothing else of the image is used."""
        tokens = self.encoder.embed(image)
        vector, seen = self.encoder.both(tokens, visible)
        if self.config.encoder.class_token:  # a place of its own: outside of the grid
            seen = Tokens(
                torch.cat([vector[:, None], seen.x], 1), torch.cat([torch.full_like(seen.pos[:, :1], -1), seen.pos], 1)
            )
        return self.decoder(seen, gather(tokens.pos, hidden)[:, None])[:, 0]

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Mean squared error of the hidden patches only."""
        image = resized_crop(batch["image"], random, self.config.crop_scale, flip=self.config.flip)
        visible, hidden = self.masks(batch, random)
        patches = gather(patchify(image, self.config.encoder.patch), hidden)
        predicted = self.reconstruct(image, visible, hidden)
        return {"reconstruction": masked_pixel_loss(predicted, patches, normalize=self.config.normalize)}

    def encode(self, batch: Batch) -> Tokens:
        """Tokens of all patches, none hidden."""
        return self.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Hidden patches of one draw of masks, reconstructed and true."""
        image, (visible, hidden) = batch["image"], self.masks(batch, random)
        patches = gather(patchify(image, self.config.encoder.patch), hidden)
        target = patch_normalized(patches) if self.config.normalize else patches
        predicted = self.reconstruct(image, visible, hidden)
        return Forecast(predicted.flatten(0, 1), target.flatten(0, 1), place=hidden.flatten())


def tiny() -> tuple[MAE, Batch]:
    """A small instance and a batch for the contract tests."""
    vit = ViT(image=32, patch=8, width=32, depth=2, heads=2, class_token=True, init="xavier")
    config = Config(vit, decoder_width=16, decoder_depth=1, decoder_heads=2)
    return MAE(config), {"index": torch.arange(8), "image": numbered(8).normal("image", 3, 32, 32)}
