"""A method of your own in one file: the left half of an image predicts the representation of its right half.

    armillary train examples/my_method.py:recipe --data.path FOLDER
    armillary probe runs/my_method --recipe examples/my_method.py:recipe

energy   |g(f(left)) - f(right)|^2 + w * SIGReg(f(right)), with gradients through both sides
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from armillary import Method, Optim, Random, Run, Tokens
from armillary.data.formats.images import Images
from armillary.functional.distance import squared
from armillary.functional.regularize import sigreg, unit_directions
from armillary.nn.encoder import ConvNet, encoder


@dataclass(frozen=True)
class Config:
    """Sizes and weights; every field is a flag, e.g. --method.width 64."""

    encoder: ConvNet = ConvNet(image=32, widths=(16, 32, 32))
    """sizes of the encoder"""
    width: int = 32
    """width of the representation"""
    sigreg_weight: float = 0.1
    """weight of the term that prevents collapse"""


class Halves(Method):
    """One encoder for both halves, one linear predictor."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = encoder(config.encoder)
        self.out = nn.Linear(self.encoder.out_width, config.width)
        self.predictor = nn.Linear(config.width, config.width)

    @property
    def weights(self) -> dict[str, float]:
        """The prediction, and SIGReg."""
        return {"prediction": 1.0, "sigreg": self.config.sigreg_weight}

    def embed(self, image: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, D]."""
        return self.out(self.encoder.vector(image))

    def loss(self, batch: dict[str, Tensor], random: Random) -> dict[str, Tensor]:
        """Predict the right half from the left one; the missing half is gray."""
        image, middle = batch["image"], batch["image"].shape[-1] // 2
        is_left = torch.arange(image.shape[-1], device=image.device) < middle
        left, right = self.embed(image * is_left), self.embed(image * ~is_left)
        directions = unit_directions(self.config.width, 64, random.shared("sigreg"))
        return {"prediction": squared(self.predictor(left), right), "sigreg": sigreg(right, directions)}

    def encode(self, batch: dict[str, Tensor]) -> Tokens:
        """One token for the whole image."""
        x = self.embed(batch["image"])[:, None]
        return Tokens(x, torch.zeros_like(x[..., :1]))


def recipe() -> Run:
    """The two halves of small images: minutes on one core."""
    return Run(Config(), Images(size=32), steps=2000, batch=128, optim=Optim(lr=1e-3))
