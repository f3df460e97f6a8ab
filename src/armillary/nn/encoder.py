"""Encoders of images: a vision transformer, a residual network or a small convolutional one; `encoder` builds them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..errors import ConfigError, require
from ..functional.position import grid, resized_table, sincos
from ..types import Tokens
from .attention import Initialization, initialize
from .convnet import ConvNet, ConvNetwork
from .resnet import ResidualNetwork, ResNet
from .tokenize.image import PatchTokenizer
from .trunk import Trunk


@dataclass(frozen=True)
class ViT:
    """Sizes of a vision transformer; the defaults are ViT-S/16 at 224 pixels."""

    image: int = 224
    """side of the square image in pixels"""
    patch: int = 16
    """side of a patch in pixels"""
    width: int = 384
    """embedding width"""
    depth: int = 12
    """blocks"""
    heads: int = 6
    """attention heads"""
    mlp_ratio: float = 4.0
    """hidden width of the MLP over the embedding width"""
    channels: int = 3
    """color channels"""
    position: Literal["sincos", "learned"] = "sincos"
    """fixed sine-cosine positions (column first, as released) or a learned table"""
    class_token: bool = False
    """prepend a learned token that summarizes the image (LeWM)"""
    norm_eps: float = 1e-6
    """epsilon of the layer norms"""
    init: Initialization = "released"
    """weights of std 0.02, as released, or by fan-in and fan-out, which small widths and patches need"""

    @property
    def side(self) -> int:
        """Patches along a side."""
        return self.image // self.patch

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("image", "patch", "width", "depth", "heads", "channels")}
        require(1, math.inf, **sizes)
        require(0, math.inf, mlp_ratio=self.mlp_ratio, norm_eps=self.norm_eps)
        if self.image % self.patch:
            raise ConfigError(
                f"image {self.image} is not a multiple of patch {self.patch}: choose another image or patch"
            )


class VisionTransformer(nn.Module):
    """Patch tokens, positions, trunk. With `keep`, only those patches enter the trunk (what a context encoder sees)."""

    def __init__(self, config: ViT):
        super().__init__()
        self.config = config
        self.tokenizer = PatchTokenizer(config.width, config.patch, config.channels)
        self.trunk = Trunk(config.width, config.depth, config.heads, config.mlp_ratio, config.norm_eps)
        table = sincos(grid(config.side, config.side).flip(-1), config.width)
        if config.position == "learned":
            self.position = nn.Parameter(torch.randn(config.side**2, config.width) * 0.02)
        else:
            self.register_buffer("position", table, persistent=False)
        if config.class_token:
            self.class_token = nn.Parameter(torch.zeros(config.width))
            self.class_position = nn.Parameter(torch.zeros(config.width))
        initialize(self, config.init)

    @property
    def out_width(self) -> int:
        """Width of `vector`."""
        return self.config.width

    def embed(
        self,
        image: Float[Tensor, "B C h w"],
        hidden: Bool[Tensor, "B N"] | None = None,
        token: Float[Tensor, " D"] | None = None,
    ) -> Tokens:
        """Patch tokens with their positions added; another resolution than the trained one interpolates the table.

        Where `hidden` is True, `token` stands in for the patch, as in BEiT; its position stays.
        """
        tokens, side, p = self.tokenizer(image), self.config.side, self.config.patch
        rows, columns, table = image.shape[-2] // p, image.shape[-1] // p, self.position
        if (rows, columns) != (side, side):
            table = resized_table(table, side, side, rows, columns)
        x = tokens.x
        if hidden is not None and token is not None:
            x = torch.where(hidden.unsqueeze(-1), token.to(x.dtype), x)
        return Tokens(x + table, tokens.pos)

    def forward(self, image: Float[Tensor, "B C h w"], keep: Int[Tensor, "B K"] | None = None) -> Tokens:
        """Patch tokens after the trunk; the class token, where there is one, takes part and is left out."""
        return self.both(self.embed(image), keep)[1]

    def vector(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D"]:
        """One embedding per image: the class token, or the mean of the patches."""
        return self.both(self.embed(image))[0]

    def both(self, tokens: Tokens, keep: Int[Tensor, "B K"] | None = None) -> tuple[Float[Tensor, "B D"], Tokens]:
        """`vector` and the patch tokens, from one pass of embedded tokens, or of those at `keep`, through the trunk."""
        tokens = tokens if keep is None else tokens.take(keep)
        if not self.config.class_token:
            out = self.trunk(tokens)
            return out.x.mean(1), out
        x = self.trunk(self._with_class(tokens)).x
        return x[:, 0], Tokens(x[:, 1:], tokens.pos)

    def layers(self, image: Float[Tensor, "B C h w"], count: int) -> list[Float[Tensor, "B N D"]]:
        """Patch embeddings after each of the last `count` blocks, without the final norm."""
        tokens, first = self.embed(image), int(self.config.class_token)
        tokens = self._with_class(tokens) if first else tokens
        return [x[:, first:] for x in self.trunk.layers(tokens)[-count:]]

    def _with_class(self, tokens: Tokens) -> Tokens:
        first = (self.class_token + self.class_position).expand(len(tokens.x), 1, -1)
        return Tokens(torch.cat([first, tokens.x], 1), torch.cat([tokens.pos[:, :1], tokens.pos], 1))


Encoder = ViT | ResNet | ConvNet  # the choices of a method that takes any
Network = VisionTransformer | ResidualNetwork | ConvNetwork


def encoder(config: Encoder) -> Network:
    """The network that a configuration of sizes describes."""
    if isinstance(config, ViT):
        return VisionTransformer(config)
    return ResidualNetwork(config) if isinstance(config, ResNet) else ConvNetwork(config)
