"""Pixel views on batches of images, drawn per sample."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..randomness import Random
from ..types import Range


def resized_crop(
    image: Float[Tensor, "B C h w"],
    random: Random,
    scale: Range = (0.3, 1.0),
    aspect: Range = (3 / 4, 4 / 3),
    flip: float = 0.0,
    stream: str = "crop",
) -> Float[Tensor, "B C h w"]:
    """A random rectangle of each image, resized to the image's own size by bilinear sampling.

    Args:
        scale: share of the area, uniform; aspect: width / height, log-uniform; flip: probability of mirroring.
        A rectangle that does not fit is shortened to the image's side, not drawn again.
    Source: the released I-JEPA uses scale (0.3, 1) and nothing else (facebookresearch/ijepa:src/transforms.py).
    """
    if scale == (1.0, 1.0) and aspect == (1.0, 1.0) and flip == 0:
        return image
    draw = random.uniform(stream, 5)
    area = scale[0] + (scale[1] - scale[0]) * draw[:, 0]
    ratio = torch.exp(math.log(aspect[0]) + math.log(aspect[1] / aspect[0]) * draw[:, 1])
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # as shares of the sides
    x, y = (1 - width) * (2 * draw[:, 2] - 1), (1 - height) * (2 * draw[:, 3] - 1)  # centres in [-1, 1]
    mirror = torch.where(draw[:, 4] < flip, -1.0, 1.0)
    zero = torch.zeros_like(x)
    theta = torch.stack([width * mirror, zero, x, zero, height, y], 1).view(-1, 2, 3)
    place = F.affine_grid(theta.to(image.dtype), list(image.shape), align_corners=False)
    return F.grid_sample(image, place, padding_mode="reflection", align_corners=False)
