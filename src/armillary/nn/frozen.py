"""An encoder that never trains: perception that was learned before, under a world model that is learned now."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ShapeError
from ..functional.frames import frame_places
from ..types import Tokens
from .encoder import VisionTransformer, ViT
from .weights import fill


@dataclass(frozen=True)
class Frozen:
    """A vision transformer and where its weights come from."""

    vit: ViT = ViT()
    """sizes; those of the run that wrote the file"""
    file: str = ""
    """model.safetensors in a checkpoint of another run; empty keeps random weights, as a control"""
    part: str = "encoder"
    """part of that file: `encoder`, or `teacher.module`, the average that I-JEPA evaluates"""


class FrozenEncoder(nn.Module):
    """Patch tokens of frames under fixed weights: always in evaluation mode, without gradient. No class token is given.

    Raises:
        CheckpointError: the file cannot be read or does not hold exactly the weights of this transformer.
    """

    def __init__(self, config: Frozen):
        super().__init__()
        self.config = config
        self.module = VisionTransformer(config.vit)
        if config.file:
            fill(self.module, config.file, config.part)
        self.requires_grad_(False).train(False)

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Float[Tensor, "B T C h w"]) -> Float[Tensor, "B T N D"]:
        """The patches of each frame, which sees no other frame, in raster order.

        Raises:
            ShapeError: frames have another size than the encoder was made for.
        """
        side = self.config.vit.image
        if image.shape[-2:] != (side, side):
            raise ShapeError(
                f"frames are {image.shape[-2]}x{image.shape[-1]} pixels, the encoder was made for {side}x{side}: "
                "convert the data to that size, or take another encoder"
            )
        return self.module(image.flatten(0, 1)).x.unflatten(0, image.shape[:2])

    def tokens(self, image: Float[Tensor, "B *T C h w"]) -> Tokens:
        """Patches of images with coordinates (row, column), or of all frames of windows with (time, row, column)."""
        if image.ndim == 4:
            with torch.no_grad():
                return self.module(image)
        x = self(image)
        places = frame_places(x.shape[1], self.config.vit.side, device=x.device)
        return Tokens(x.flatten(1, 2), places.expand(len(x), -1, -1))
