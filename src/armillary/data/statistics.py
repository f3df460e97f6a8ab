"""Means and standard deviations by which raw batches are normalized, saved beside the run that used them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from ..errors import DataError, ShapeError
from ..types import Batch

NORMALIZED = ("action", "proprio")  # `state` keeps its unit: it is the truth for probes and never an input


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each column, per channel for `image` (of values in [0, 1]), else per dimension."""

    mean: dict[str, tuple[float, ...]]
    std: dict[str, tuple[float, ...]]

    def normalize(self, key: str, x: Float[Tensor, "*B A"]) -> Float[Tensor, "*B A"]:
        """(x - mean) / std over the last axis; the actions of a macro-step, side by side, are treated alike.

        Raises:
            ShapeError: the width is not a multiple of the column's.
        """
        mean, std = x.new_tensor(self.mean[key]), x.new_tensor(self.std[key])
        if x.shape[-1] % len(mean):
            raise ShapeError(f"{key} has width {x.shape[-1]}, its statistics {len(mean)}: give a multiple of that")
        return ((x.unflatten(-1, (-1, len(mean))) - mean) / std).flatten(-2)

    def tensors(self, key: str) -> tuple[Float[Tensor, " A"], Float[Tensor, " A"]]:
        """Mean and standard deviation of a column, float32."""
        return torch.tensor(self.mean[key]), torch.tensor(self.std[key])

    def prepare(self, batch: Batch) -> Batch:
        """A raw batch as float32: `image` [..., C, h, w] uint8, `action` and `proprio` normalized, all else unchanged.

        `normalization` [B, 2, C] is added, by which changes of color find the pixels again. An image that is float
        already is taken as prepared and left alone.
        """
        prepared = dict(batch)
        image = batch.get("image")
        if image is not None and image.dtype == torch.uint8:
            both = torch.tensor((self.mean["image"], self.std["image"]), device=image.device)
            mean, std = both[..., None, None]
            prepared["normalization"] = both.expand(len(image), -1, -1)
            prepared["image"] = image.float().mul_(1 / (255 * std)).sub_(mean / std)  # in place: memory is the limit
        for key in NORMALIZED:
            if key in batch and key in self.mean:
                prepared[key] = self.normalize(key, batch[key].float())
        return prepared

    def save(self, path: Path) -> None:
        """Write to a JSON file."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> Statistics:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing or holds something else.
        """
        try:
            held = json.loads(path.read_text())
            mean, std = ({k: tuple(map(float, v)) for k, v in held[part].items()} for part in ("mean", "std"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} holds no statistics ({error}): give the file that a run on these data wrote"
            ) from None
        usable = mean.keys() == std.keys() and all(len(mean[k]) == len(std[k]) for k in mean)
        if not usable or not all(
            math.isfinite(m) and s > 0 for k in mean for m, s in zip(mean[k], std[k], strict=True)
        ):
            raise DataError(f"{path} holds unusable statistics: each mean must be finite and have a positive std")
        return Statistics(mean, std)


def moments(x: Shaped[np.ndarray, "n A"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each column; the std is 1 where a column does not vary, so that it becomes 0."""
    mean, std = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    still = std <= 1e-6 * np.maximum(1e-6, np.abs(mean))
    return tuple(mean.tolist()), tuple(np.where(still, 1.0, std).tolist())


def pixel_moments(image: UInt8[np.ndarray, "n C h w"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Exact moments per channel, of values in [0, 1], by counting values: no float copy of the images is made.

    The std is 1 where a channel does not vary.
    """
    value = np.arange(256) / 255
    counts = np.stack([np.bincount(pixels.ravel(), minlength=256) for pixels in image.swapaxes(0, 1)])
    counts = counts / counts.sum(1, keepdims=True)
    mean = counts @ value
    std = np.sqrt((counts @ value**2 - mean**2).clip(0))
    return tuple(mean.tolist()), tuple(np.where(std < 1e-3, 1.0, std).tolist())


def image_statistics(mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> Statistics:
    """Given constants of an image, one number for all channels or one for each.

    Raises:
        DataError: another count of numbers, or a std that is not positive.
    """
    if len(mean) not in (1, channels) or len(std) not in (1, channels) or min(std) <= 0:
        raise DataError(
            f"mean {mean} and std {std} do not fit {channels} channels: give 1 or {channels} numbers, std > 0"
        )
    return Statistics(
        {"image": mean if len(mean) == channels else mean * channels},
        {"image": std if len(std) == channels else std * channels},
    )
