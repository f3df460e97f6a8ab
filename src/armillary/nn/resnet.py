"""Residual networks of basic blocks, for methods that compare whole images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError, ShapeError, require
from ..functional.position import grid
from ..types import Tokens
from .norm import BatchNorm


@dataclass(frozen=True)
class ResNet:
    """Sizes of a residual network; the defaults are ResNet-18 with the stem for small images (arXiv 1512.03385)."""

    image: int = 32
    """side of the square image in pixels"""
    base: int = 64
    """channels of the first stage; each further stage doubles them and halves the side"""
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    """residual blocks of each stage"""
    stem: Literal["small", "large"] = "small"
    """one 3x3 convolution, or 7x7 with stride 2 and a max pooling, for images of about 100 pixels and more"""
    channels: int = 3
    """color channels"""

    def __post_init__(self) -> None:
        require(1, float("inf"), base=self.base, channels=self.channels, image=self.image, blocks=self.blocks)
        if not self.blocks:
            raise ConfigError("blocks is (): give the number of blocks of at least one stage, e.g. (2, 2, 2, 2)")

    @property
    def width(self) -> int:
        """Channels of the last stage."""
        return self.base * 2 ** (len(self.blocks) - 1)

    @property
    def side(self) -> int:
        """Side of the last map for images of `image` pixels."""
        side = self.image if self.stem == "small" else -(-self.image // 4)
        for _ in self.blocks[1:]:
            side = -(-side // 2)
        return side


class Residual(nn.Module):
    """relu(shortcut(x) + norm(conv(relu(norm(conv(x)))))), two 3x3 convolutions; the first one has the stride."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.norm1 = BatchNorm(width, axis=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = BatchNorm(width, axis=1)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), BatchNorm(width, axis=1))

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D r c"]:
        """One block."""
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class ResidualNetwork(nn.Module):
    """Stem and stages; the last map as tokens, its mean as the vector of the image. Any size of image goes through.

    Source: He et al. (arXiv 1512.03385); the small stem as in SimCLR (2002.05709), appendix B.9. Weights: He's normal
    by fan-out, norms at the identity.
    """

    def __init__(self, config: ResNet):
        super().__init__()
        self.config = config
        kernel, stride = (3, 1) if config.stem == "small" else (7, 2)
        self.stem = nn.Conv2d(config.channels, config.base, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = BatchNorm(config.base, axis=1)
        stages, before = [], config.base
        for stage, count in enumerate(config.blocks):
            width = config.base * 2**stage
            for block in range(count):
                stages.append(Residual(before, width, 2 if stage and not block else 1))
                before = width
        self.stages = nn.Sequential(*stages)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def out_width(self) -> int:
        """Width of `vector`."""
        return self.config.width

    def map(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D r c"]:
        """The last map.

        Raises:
            ShapeError: the images have other channels than the network.
        """
        if image.shape[1] != self.config.channels:
            raise ShapeError(f"image has {image.shape[1]} channels, the encoder was built for {self.config.channels}")
        x = F.relu(self.norm(self.stem(image.contiguous(memory_format=torch.channels_last))))
        if self.config.stem == "large":
            x = F.max_pool2d(x, 3, 2, padding=1)
        return self.stages(x)

    def forward(self, image: Float[Tensor, "B C h w"]) -> Tokens:
        """One token per cell of the last map, coordinates (row, column) in cells."""
        x = self.map(image)
        return Tokens(x.flatten(2).transpose(1, 2), grid(x.shape[-2], x.shape[-1], x.device).expand(len(x), -1, -1))

    def vector(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D"]:
        """The mean over the last map."""
        return self.map(image).mean((2, 3))
