"""Pixel views: crop, mirror, color, blur; the pipeline of SimCLR, MoCo, BYOL and DINO on whole batches, without loops.

What happens to a sample is a function of (seed, stream, step, sample): see `draw`. What was drawn is data, so that a
method may take it as a condition: see `Transform`. `apply` does it. Local crops are another `PixelViews`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from ..errors import DataError, ShapeError, ascending, require
from ..randomness import Random, numbered
from ..types import Batch, Range
from .colors import CHANGES, OF_COLOR

TRIES = 10  # boxes drawn for a sample until one fits
CACHED = 1 << 19  # values of the images that are worked on at once on a CPU: two megabytes stay in its caches
JITTER = ("brightness", "contrast", "saturation", "hue")
NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "gray": 0.0, "blur": 0.0, "solarize": 0.0}


@dataclass(frozen=True)
class PixelViews:
    """How views are drawn. Defaults: SimCLR (arXiv 2002.05709, appendix A) at color strength 0.5, that of its CIFAR-10.

    BYOL and DINO: saturation 0.2, and solarize 0.2 in the second view. No color changes: jitter, gray, solarize 0.
    """

    crop_scale: Range = (0.08, 1.0)
    """share of the image's area that the crop keeps, uniform"""
    crop_aspect: Range = (3 / 4, 4 / 3)
    """width over height of the crop, log-uniform, relative to the image's own"""
    flip: float = 0.5
    """probability of mirroring left and right"""
    jitter: float = 0.8
    """probability that brightness, contrast, saturation and hue change"""
    brightness: float = 0.4
    """the factor of brightness is uniform in 1 - this to 1 + this, at least 0"""
    contrast: float = 0.4
    """the factor of contrast likewise"""
    saturation: float = 0.4
    """the factor of saturation likewise"""
    hue: float = 0.1
    """the hue turns by at most this share of the circle, either way"""
    gray: float = 0.2
    """probability of losing all color"""
    blur: float = 0.5
    """probability of a Gaussian blur; SimCLR does not blur on CIFAR-10"""
    blur_sigma: Range = (0.1, 2.0)
    """standard deviation of the blur in pixels of the view, uniform"""
    solarize: float = 0.0
    """probability that values from 0.5 on are inverted"""
    size: int = 0
    """side of the view in pixels; 0 takes the image's own"""

    def __post_init__(self) -> None:
        probabilities = {name: getattr(self, name) for name in ("flip", "jitter", "gray", "blur", "solarize")}
        require(0, 1, **probabilities)
        require(1e-4, 1, crop_scale=self.crop_scale)
        require(0.01, 100, crop_aspect=self.crop_aspect, blur_sigma=self.blur_sigma)
        require(0, math.inf, size=self.size, **{name: getattr(self, name) for name in JITTER[:3]})
        require(0, 0.5, hue=self.hue)
        ascending(crop_scale=self.crop_scale, crop_aspect=self.crop_aspect, blur_sigma=self.blur_sigma)

    def possible(self) -> tuple[str, ...]:
        """The changes after the crop that can happen, in order; that of the jitter's four is drawn, see `draw`."""
        jitter = tuple(name for name in JITTER if self.jitter > 0 and getattr(self, name) > 0)
        return jitter + tuple(name for name in ("gray", "blur", "solarize") if getattr(self, name) > 0)


# BYOL (arXiv 2006.07733, appendix B); also of Barlow Twins, VICReg and MoCo v3.
FIRST = PixelViews(crop_scale=(0.08, 1.0), saturation=0.2, blur=1.0)
SECOND = replace(FIRST, blur=0.1, solarize=0.2)


@dataclass(frozen=True, eq=False)
class Transform:
    """What was drawn for each image.

    box: [B, 4] top, left, height, width of the crop as shares of the image. brightness, contrast, saturation: factors,
    1 where nothing changes. hue: in turns. blur: standard deviation in pixels of the view, 0 for none. steps: names of
    the changes that may have been drawn, in the order in which they are done.
    """

    box: Float[Tensor, "B 4"]
    flip: Bool[Tensor, " B"]
    brightness: Float[Tensor, " B"]
    contrast: Float[Tensor, " B"]
    saturation: Float[Tensor, " B"]
    hue: Float[Tensor, " B"]
    gray: Bool[Tensor, " B"]
    blur: Float[Tensor, " B"]
    solarize: Bool[Tensor, " B"]
    steps: tuple[str, ...]

    def vector(self) -> Float[Tensor, "B P"]:
        """All of it as numbers, for conditions, P = 12: box, flip, then each change less its neutral value."""
        changes = (getattr(self, name).float() - neutral for name, neutral in NEUTRAL.items())
        return torch.cat([self.box, torch.stack([self.flip.float(), *changes], 1)], 1)


def draw(random: Random, config: PixelViews, stream: str) -> Transform:
    """Draw a view for each sample; equal streams give equal views.

    The order of brightness, contrast, saturation and hue is drawn uniformly, once for a step and stream. torchvision
    draws one for every image; over the steps each image sees the same distribution, and here a change is one operation
    for all images of the batch, on a GPU in particular. All else is drawn per sample.
    """
    draws = random.uniform(stream, 2 * TRIES + 12)
    chosen = dict(zip(("top", "left", "flip", "jitter", "gray", "blur", "sigma", "solarize", *JITTER),
                      draws[:, 2 * TRIES :].unbind(1), strict=True))  # fmt: skip
    box = _box(draws[:, :TRIES], draws[:, TRIES : 2 * TRIES], chosen["top"], chosen["left"], config)
    jittered, values = chosen["jitter"] < config.jitter, {}
    for name in JITTER:
        strength, neutral = getattr(config, name), NEUTRAL[name]
        low = max(0.0, 1 - strength) if neutral else -strength
        value = low + (neutral + strength - low) * chosen[name]
        values[name] = torch.where(jittered, value, neutral)
    low, high = config.blur_sigma
    sigma = torch.where(chosen["blur"] < config.blur, low + (high - low) * chosen["sigma"], 0.0)
    order = torch.randperm(len(JITTER), generator=random.shared(f"{stream}/order")).tolist()
    possible = config.possible()
    jitter = tuple(JITTER[place] for place in order if JITTER[place] in possible)
    return Transform(
        box, chosen["flip"] < config.flip, **values, gray=chosen["gray"] < config.gray, blur=sigma,
        solarize=chosen["solarize"] < config.solarize, steps=jitter + possible[len(jitter) :],
    )  # fmt: skip


def _box(
    area: Float[Tensor, "B n"], aspect: Float[Tensor, "B n"], top: Float[Tensor, " B"], left: Float[Tensor, " B"],
    config: PixelViews,
) -> Float[Tensor, "B 4"]:  # fmt: skip
    """The first of n boxes that fits; where none does the largest central one of an allowed aspect, as torchvision."""
    (small, large), (low, high) = config.crop_scale, config.crop_aspect
    area = small + (large - small) * area
    aspect = torch.exp(math.log(low) + math.log(high / low) * aspect)
    height, width = (area / aspect).sqrt(), (area * aspect).sqrt()  # as shares of the sides
    fits = (height <= 1) & (width <= 1)
    first, some = fits.int().argmax(1, keepdim=True), fits.any(1)
    height = torch.where(some, height.gather(1, first).squeeze(1), min(1.0, 1 / low))
    width = torch.where(some, width.gather(1, first).squeeze(1), min(1.0, high))
    top, left = (torch.where(some, share, 0.5) for share in (top, left))
    return torch.stack([(1 - height) * top, (1 - width) * left, height, width], 1)


def example(rows: int = 8, side: int = 32) -> Batch:
    """A prepared batch of noise as images, for tiny instances of methods."""
    random = numbered(rows)
    scale = torch.tensor([[0.5] * 3, [0.25] * 3]).expand(rows, 2, 3)
    return {"index": random.sample, "image": random.normal("image", 3, side, side), "normalization": scale}


def pixel_view(batch: Batch, random: Random, config: PixelViews, stream: str) -> Float[Tensor, "B C s t"]:
    """A view of each image of a prepared batch, normalized as the image is: `draw`, then `apply`.

    Raises:
        DataError, ShapeError: as `apply`.
    """
    return apply(batch["image"], batch.get("normalization"), draw(random, config, stream), config.size)


@torch.no_grad()
def apply(
    image: Float[Tensor, "B C h w"], normalization: Float[Tensor, "B 2 C"] | None, transform: Transform, size: int = 0
) -> Float[Tensor, "B C s t"]:
    """Do what was drawn: crop and mirror, then `transform.steps`, each bounded to [0, 1].

    Args:
        normalization: mean and standard deviation by which `image` was normalized; needed by changes of color.
        size: side of the view; 0 takes the image's own sides.
    Returns:
        [B, C, s, s], or [B, C, h, w] for size 0; of the image's type and device; without gradient.
    Raises:
        DataError: a change of color is asked for and `normalization` is missing.
        ShapeError: it is asked for on images with neither 1 nor 3 channels.
    """
    recolored = [name for name in transform.steps if name in CHANGES]
    if recolored and normalization is None:
        raise DataError(
            f"the batch has no `normalization`, which {', '.join(recolored)} need: take batches from a data set's "
            "`prepare`, add the [B, 2, C] mean and std yourself, or set jitter, gray and solarize to 0"
        )
    if recolored and image.shape[1] not in (1, 3):
        raise ShapeError(
            f"images have {image.shape[1]} channels, {', '.join(recolored)} need 1 or 3: set jitter, gray and solarize "
            "to 0"
        )
    sides = (size, size) if size else (image.shape[2], image.shape[3])
    with torch.autocast(image.device.type, enabled=False):
        exact = image.to(torch.promote_types(image.dtype, torch.float32))
        most = max(1, CACHED // (image.shape[1] * max(math.prod(image.shape[2:]), math.prod(sides))))
        view = exact.new_empty(*image.shape[:2], *sides)
        for rows, steps in _groups(transform, most):
            part = _cropped(exact.index_select(0, rows), transform.box[rows], transform.flip[rows], sides)
            scale = None if normalization is None else normalization[rows].to(exact.dtype)
            view.index_copy_(0, rows, _changed(part, scale, transform, rows, steps))
    return view.to(image.dtype)


def _groups(transform: Transform, most: int) -> Iterator[tuple[Int[Tensor, " n"], tuple[str, ...]]]:
    """Rows to be done together, and what is to be done to them.

    On a CPU these are at most `most` rows to which the same changes happen, so nothing is done in vain. Elsewhere all
    rows go through all steps, whose neutral values change nothing: the host need not wait for what the device drew.
    """
    steps, flip = transform.steps, transform.flip
    if flip.device.type != "cpu":
        yield torch.arange(len(flip), device=flip.device), steps
        return
    kind = torch.zeros_like(flip, dtype=torch.int64)
    for place, name in enumerate(steps):
        kind += (getattr(transform, name) != NEUTRAL[name]).long() << place
    for number in sorted(set(kind.tolist())):
        happening = tuple(compress(steps, ((number >> place) & 1 for place in range(len(steps)))))
        for rows in (kind == number).nonzero().squeeze(1).split(most):
            yield rows, happening


def _changed(
    image: Float[Tensor, "n C h w"], normalization: Float[Tensor, "n 2 C"] | None, transform: Transform,
    rows: Int[Tensor, " n"], steps: tuple[str, ...],
) -> Float[Tensor, "n C h w"]:  # fmt: skip
    """The changes after the crop, on images that may be overwritten."""
    colored = any(name in CHANGES for name in steps)
    if normalization is not None and colored:
        mean, std = normalization[..., None, None].unbind(1)
        image.mul_(std).add_(mean).clamp_(0, 1)
    for name in steps:
        value = getattr(transform, name)[rows].to(image.dtype)
        if name == "blur":
            image = _blurred(image, value)
        elif image.shape[1] == 3 or name not in OF_COLOR:
            CHANGES[name](image, value)
    return image.sub_(mean).div_(std) if colored else image


def _resampled(
    image: Float[Tensor, "B C h w"], down: Float[Tensor, "B s h"], across: Float[Tensor, "B t w"]
) -> Float[Tensor, "B C s t"]:
    """Weighted means over rows and over columns, with weights per image: two matrix products."""
    wide = (image.flatten(1, 2) @ across.mT).unflatten(1, image.shape[1:3])
    return down[:, None] @ wide


def _cropped(
    image: Float[Tensor, "B C h w"], box: Float[Tensor, "B 4"], flip: Bool[Tensor, " B"], sides: tuple[int, int]
) -> Float[Tensor, "B C s t"]:
    """The box of each image, resized with antialiasing and mirrored where `flip` is set.

    Pillow's `resize(size, BILINEAR, box)`: weights fall linearly to zero over a pixel of the view or of the image, the
    larger one, and sum to one over the pixels that exist. torchvision rounds boxes to whole pixels; these are exact.
    """
    top, left, height, width = box.to(image.dtype).unbind(1)
    left, width = torch.where(flip, left + width, left), torch.where(flip, -width, width)  # a mirror runs backwards
    return _resampled(
        image, _triangles(top, height, image.shape[2], sides[0]), _triangles(left, width, image.shape[3], sides[1])
    )


def _triangles(
    start: Float[Tensor, " B"], length: Float[Tensor, " B"], pixels: int, size: int
) -> Float[Tensor, "B size pixels"]:
    """Weight of each pixel of a side in each of the `size` pixels that divide [start, start + length], as shares."""
    step = length * (pixels / size)  # pixels of the image per pixel of the view
    place = torch.arange(size, device=start.device, dtype=start.dtype) + 0.5
    center = (start * pixels)[:, None] + step[:, None] * place  # [B, size]
    pixel = torch.arange(pixels, device=start.device, dtype=start.dtype) + 0.5
    reach = step.abs().clamp(min=1)[:, None, None]
    weight = (pixel - center[:, :, None]).abs_().div_(reach).neg_().add_(1).clamp_(min=0)
    return weight.div_(weight.sum(2, keepdim=True))


def _blurred(image: Float[Tensor, "B C h w"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B C h w"]:
    """Gaussian blur cut off at a twentieth of the shorter side, mirrored at the border; sigma 0 changes nothing.

    Source: SimCLR's kernel is a tenth of the side wide (google-research/simclr:data_util.py); it pads with zeros,
    torchvision by reflection, as here.
    """
    radius = max(1, min(image.shape[2:]) // 20)
    offset = torch.arange(-radius, radius + 1, device=image.device)
    weight = torch.exp(-0.5 * (offset / sigma.clamp(min=1e-3)[:, None]).square())
    weight = weight / weight.sum(1, keepdim=True)  # [B, k]
    down, across = (
        (weight @ _shifts(radius, side, image.dtype, image.device)).unflatten(1, (side, side))
        for side in image.shape[2:]
    )
    return _resampled(image, down, across)


@lru_cache(maxsize=16)
def _shifts(radius: int, side: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "k pixels"]:
    """Matrices that take the pixel at each offset from -radius to radius; beyond an end they are reflected there."""
    place = torch.arange(side, device=device)
    source = (place + torch.arange(-radius, radius + 1, device=device)[:, None]).abs()  # [k, side]
    source = (side - 1 - (side - 1 - source).abs()).clamp(min=0)
    return one_hot(source, side).to(dtype).flatten(1)
