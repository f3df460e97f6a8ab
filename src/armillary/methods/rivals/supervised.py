"""Supervised classification with the same encoder: the ceiling that a probe is compared with (no paper of its own).

energy   cross-entropy(W mean(f(patches)), label)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ...contracts import Method
from ...errors import DataError
from ...nn.encoder import Encoder, ViT, encoder
from ...randomness import Random, numbered
from ...types import Batch, Range, Terms, Tokens
from ...views.crops import resized_crop


@dataclass(frozen=True)
class Config:
    """Defaults: ViT-S/16 and ImageNet's 1,000 classes."""

    encoder: Encoder = ViT()
    """sizes of the encoder"""
    classes: int = 1000
    """number of classes"""
    smoothing: float = 0.1
    """label smoothing"""
    crop_scale: Range = (0.3, 1.0)
    """share of the image's area that the random resized crop keeps"""
    flip: float = 0.5
    """probability of mirroring"""


class Supervised(Method):
    """Encoder, mean over tokens, linear classifier."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = encoder(config.encoder)
        self.head = nn.Linear(self.encoder.out_width, config.classes)

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"classification": 1.0}

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Cross-entropy of the labels.

        Raises:
            DataError: the batch has no labels, or one that is not below `classes`.
        """
        if "label" not in batch:
            raise DataError("supervised training needs labels: give a folder with class folders or a label column")
        if int(batch["label"].max()) >= self.config.classes:
            raise DataError(
                f"label {int(batch['label'].max())} in the data, but the method has {self.config.classes} classes"
            )
        image = resized_crop(batch["image"], random, self.config.crop_scale, flip=self.config.flip)
        logits = self.head(self.encoder.vector(image)).float()
        return {"classification": F.cross_entropy(logits, batch["label"], label_smoothing=self.config.smoothing)}

    def encode(self, batch: Batch) -> Tokens:
        """Tokens before the classifier."""
        return self.encoder(batch["image"])


def tiny() -> tuple[Supervised, Batch]:
    """A small instance and a batch for the contract tests."""
    random = numbered(8)
    batch = {"index": torch.arange(8), "image": random.normal("image", 3, 32, 32), "label": torch.arange(8) % 4}
    return Supervised(Config(ViT(image=32, patch=8, width=32, depth=2, heads=2), classes=4)), batch
