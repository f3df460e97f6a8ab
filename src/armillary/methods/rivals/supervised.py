"""Supervised classification with the same encoder: the ceiling that a probe is compared with (no paper of its own).

energy   cross-entropy(W f(image), label), where there is a label
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ...contracts import Method
from ...errors import ConfigError, DataError, ascending, require
from ...nn.encoder import Encoder, ViT, encoder
from ...parallel import all_sum, ranks
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

    def __post_init__(self) -> None:
        require(0, 1, smoothing=self.smoothing, crop_scale=self.crop_scale, flip=self.flip)
        ascending(crop_scale=self.crop_scale)
        if self.classes < 2:
            raise ConfigError(
                f"classes is {self.classes}: with a single class there is nothing to tell apart; use data of 2 classes "
                "or more, or a method without labels"
            )


class Supervised(Method):
    """Encoder, its vector of the image (class token or mean over tokens), linear classifier."""

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
        """Cross-entropy of the labels, mean over the labeled rows of all ranks; rows of label -1 have none.

        Raises:
            DataError: the batch has no labels, or one that is no class.
        """
        if "label" not in batch:
            raise DataError("supervised training needs labels: give a folder with class folders or a label column")
        label, classes = batch["label"], self.config.classes
        low, high = (int(end) for end in label.aminmax())
        if low < -1 or high >= classes:
            raise DataError(
                f"labels from {low} to {high} in the data, but the method has {classes} classes, 0 to {classes - 1} "
                "(-1: no label): set method.classes to the number of classes"
            )
        image = resized_crop(batch["image"], random, self.config.crop_scale, flip=self.config.flip)
        logits = self.head(self.encoder.vector(image)).float()
        total = F.cross_entropy(logits, label, ignore_index=-1, reduction="sum", label_smoothing=self.config.smoothing)
        labeled = all_sum((label >= 0).sum()).clamp_min(1)  # over all ranks, whose gradients are then averaged
        return {"classification": total * (ranks() / labeled)}

    def encode(self, batch: Batch) -> Tokens:
        """Tokens before the classifier."""
        return self.encoder(batch["image"])


def tiny() -> tuple[Supervised, Batch]:
    """A small instance and a batch for the contract tests."""
    random = numbered(8)
    batch = {"index": torch.arange(8), "image": random.normal("image", 3, 32, 32), "label": torch.arange(8) % 4}
    return Supervised(Config(ViT(image=32, patch=8, width=32, depth=2, heads=2), classes=4)), batch
