"""A small convolutional encoder for worlds seen in small images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError, ShapeError
from ..functional.position import grid
from ..types import Tokens


@dataclass(frozen=True)
class ConvNet:
    """Sizes of a stack of stride-2 convolutions with group norm; the vector of an image is its last map, flattened."""

    image: int = 64
    """side of the square image in pixels"""
    channels: int = 3
    """color channels"""
    widths: tuple[int, ...] = (16, 32, 32, 32)
    """channels after each convolution"""
    stem: int = 2
    """stride of the first convolution; the others halve the side"""

    def __post_init__(self) -> None:
        if self.image % self.reduction or self.stem < 1 or not self.widths:
            raise ConfigError(
                f"image {self.image} cannot be reduced by stem {self.stem} and {len(self.widths) - 1} halvings: use a "
                f"multiple of {self.reduction}"
            )

    @property
    def reduction(self) -> int:
        """Pixels along a side of one cell of the last map."""
        return self.stem * 2 ** (len(self.widths) - 1)

    @property
    def side(self) -> int:
        """Side of the last map."""
        return self.image // self.reduction


class ConvNetwork(nn.Module):
    """Convolution, group norm, ReLU, as often as there are widths; each kernel reaches one pixel beyond its stride."""

    def __init__(self, config: ConvNet):
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        before, stride = config.channels, config.stem
        for width in config.widths:
            layers += [nn.Conv2d(before, width, stride + 2, stride, padding=1, bias=False)]
            layers += [nn.GroupNorm(max(1, width // 8), width), nn.ReLU()]
            before, stride = width, 2
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def out_width(self) -> int:
        """Width of `vector`."""
        return self.config.widths[-1] * self.config.side**2

    def map(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D r c"]:
        """The last map.

        Raises:
            ShapeError: the images have other channels than the network.
        """
        if image.shape[1] != self.config.channels:
            raise ShapeError(f"image has {image.shape[1]} channels, the encoder was built for {self.config.channels}")
        return self.layers(image.contiguous(memory_format=torch.channels_last))

    def forward(self, image: Float[Tensor, "B C h w"]) -> Tokens:
        """One token per cell of the last map, coordinates (row, column) in cells."""
        x = self.map(image)
        return Tokens(x.flatten(2).transpose(1, 2), grid(x.shape[-2], x.shape[-1], x.device).expand(len(x), -1, -1))

    def vector(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D"]:
        """The last map, flattened: keeps where things are.

        Raises:
            ShapeError: the images have other sides or channels than the network.
        """
        side = self.config.image
        if tuple(image.shape[-2:]) != (side, side):
            raise ShapeError(
                f"images are {tuple(image.shape[-2:])} pixels, the vector of a ConvNet is made for {side}x{side}: set "
                f"the size of data and views to {side}, or encoder.image"
            )
        return self.map(image).flatten(1)
