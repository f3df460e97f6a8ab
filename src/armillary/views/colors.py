"""Changes of color on batches of images in [0, 1], in place; one strength per image, the neutral one changes nothing.

Only operations that run on whole vectors are used (differences, minima, bounds): selecting by a mask, as textbooks
write hue and solarization, is ten to twenty times slower on a CPU. Values stay in [0, 1] after each change.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def luma(image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B h w"]:
    """Brightness as the eye weighs red, green and blue; an image of one channel is its own."""
    if image.shape[1] == 1:
        return image[:, 0]
    red, green, blue = image.unbind(1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _each(value: Float[Tensor, " B"]) -> Float[Tensor, "B 1 1 1"]:
    return value[:, None, None, None]


def brightness(image: Float[Tensor, "B C h w"], factor: Float[Tensor, " B"]) -> None:
    """Multiply; factors are at least 0, neutral 1. Source: Pillow's ImageEnhance.Brightness."""
    image.mul_(_each(factor)).clamp_(max=1)


def contrast(image: Float[Tensor, "B C h w"], factor: Float[Tensor, " B"]) -> None:
    """Move away from the image's mean luma, neutral 1. Source: Pillow's ImageEnhance.Contrast; it rounds the mean."""
    mean = luma(image).mean((1, 2))
    image.mul_(_each(factor)).add_(_each((1 - factor) * mean)).clamp_(0, 1)


def saturation(image: Float[Tensor, "B 3 h w"], factor: Float[Tensor, " B"]) -> None:
    """Move each pixel away from its luma, neutral 1. Source: Pillow's ImageEnhance.Color."""
    image.lerp_(luma(image)[:, None], _each(1 - factor)).clamp_(0, 1)


def gray(image: Float[Tensor, "B 3 h w"], share: Float[Tensor, " B"]) -> None:
    """Replace all channels by the luma where `share` is 1, neutral 0."""
    image.lerp_(luma(image)[:, None], _each(share))


def solarize(image: Float[Tensor, "B C h w"], share: Float[Tensor, " B"]) -> None:
    """Invert values from 0.5 on where `share` is 1, neutral 0: min(x, 1 - x). Source: Pillow's ImageOps.solarize."""
    torch.minimum(image, _each(2 - share) - image, out=image)


def hue(image: Float[Tensor, "B 3 h w"], turn: Float[Tensor, " B"]) -> None:
    """Turn the hue of HSV by a share of the circle in [-0.5, 0.5], neutral 0; value and saturation stay.

    With low and high the extreme channels and c = high - low, the hue in sixths of the circle, counted from red, is
    1 + (green + blue - red - low) / c towards green, or as much towards blue where blue exceeds green. A channel that
    lies d sixths (0 to 3) from the new hue becomes low + c * clamp(2 - d, 0, 1). Equal to colorsys, without branches.
    """
    red, green, blue = image.unbind(1)
    low = torch.minimum(red, green)
    torch.minimum(low, blue, out=low)
    chroma = torch.maximum(red, green)
    torch.maximum(chroma, blue, out=chroma).sub_(low)
    place = (green - red).add_(blue).sub_(low).div_(chroma.clamp(min=1e-12)).add_(1)  # 0 to 3 sixths from red
    place = torch.copysign(place, green - blue)
    channels = torch.arange(3, device=image.device) * (1 / 3)  # red, green, blue on the circle
    start = turn[:, None] - channels + 1.5  # 1 keeps the sum positive, a half puts distance zero in the middle
    torch.add(start[:, :, None, None], place[:, None], alpha=1 / 6, out=image)
    away = image.frac_().sub_(0.5).abs_().clamp_(1 / 6, 1 / 3)  # a share of the circle
    top = low.add_(chroma, alpha=2)
    torch.sub(top[:, None], away.mul_(chroma.mul_(6)[:, None]), out=image).clamp_(0, 1)


CHANGES: dict[str, Callable[[Tensor, Tensor], None]] = {
    change.__name__: change for change in (brightness, contrast, saturation, hue, gray, solarize)
}
OF_COLOR = ("saturation", "hue", "gray")  # these mean nothing in images of one channel
