"""Pixel views equal a slow reference, image by image, and Pillow where it is exact; the draws are as they say."""

from __future__ import annotations

import colorsys
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from armillary.errors import ConfigError, DataError, ShapeError
from armillary.randomness import Random, numbered
from armillary.views import colors, pixels
from armillary.views.pixels import JITTER, NEUTRAL, PixelViews, Transform, apply, draw, pixel_view

PLAIN = PixelViews(crop_scale=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=0, jitter=0, gray=0, blur=0)
STRONG = PixelViews(jitter=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.5, gray=0.3, solarize=0.3)
NORMALIZATION = torch.tensor([[0.5, 0.45, 0.4], [0.25, 0.3, 0.2]])


def sample(count: int = 6, channels: int = 3, height: int = 24, width: int = 24, seed: int = 0) -> dict:
    """A prepared batch: pixels in [0, 1], patches of equal color among them, normalized."""
    pixel = numbered(count, seed).uniform("image", channels, height, width)
    pixel[:, :, : height // 4] = pixel[:, :, :1, :1]
    pixel[:, :, -2:, -2:], pixel[:, :, -2:, :2] = 0.0, 1.0
    norm = NORMALIZATION[:, :channels].expand(count, 2, channels)
    mean, std = norm[..., None, None].unbind(1)
    return {"index": torch.arange(count), "image": (pixel - mean) / std, "normalization": norm, "pixel": pixel}


def whole(count: int, steps: tuple[str, ...] = (), **changed: torch.Tensor) -> Transform:
    """A transform that keeps the whole image and changes only what is given."""
    values = {name: torch.full((count,), value) for name, value in NEUTRAL.items()} | changed
    flags = {name: values.pop(name).bool() for name in ("gray", "solarize")}
    box = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(count, 4)
    return Transform(box=box, flip=torch.zeros(count, dtype=torch.bool), steps=steps, **values, **flags)


def luma(x: np.ndarray) -> np.ndarray:
    return 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2] if len(x) == 3 else x[0]


def resize_side(x: np.ndarray, start: float, length: float, size: int) -> np.ndarray:
    """The last axis resized by a triangle that is at least a pixel wide to each side."""
    pixels, out = x.shape[-1], np.zeros((*x.shape[:-1], size))
    for i in range(size):
        center = (start + length * (i + 0.5) / size) * pixels
        reach = max(1.0, length * pixels / size)
        weights = [max(0.0, 1 - abs(j + 0.5 - center) / reach) for j in range(pixels)]
        for j, weight in enumerate(weights):
            out[..., i] += x[..., j] * weight / sum(weights)
    return out


def blur_side(x: np.ndarray, sigma: float, radius: int) -> np.ndarray:
    """The last axis blurred, the border reflected."""
    weights = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(-radius, radius + 1)]
    padded = np.pad(x, ((0, 0), (0, 0), (radius, radius)), mode="reflect")
    return sum(w / sum(weights) * padded[..., k : k + x.shape[-1]] for k, w in enumerate(weights))


def turned(x: np.ndarray, turn: float) -> np.ndarray:
    out = np.zeros_like(x)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            h, s, v = colorsys.rgb_to_hsv(*x[:, row, column])
            out[:, row, column] = colorsys.hsv_to_rgb((h + turn) % 1, s, v)
    return out


def changed(x: np.ndarray, name: str, value: float) -> np.ndarray:
    """One change of one image [C, h, w] in [0, 1], as the words of its name have it."""
    if name == "blur":
        radius = max(1, min(x.shape[1:]) // 20)
        return x if value == 0 else blur_side(blur_side(x, value, radius).swapaxes(1, 2), value, radius).swapaxes(1, 2)
    if name in ("saturation", "hue", "gray") and len(x) == 1:
        return x
    other = {"brightness": 0.0, "contrast": luma(x).mean(), "saturation": luma(x)[None]}
    if name in other:
        return np.clip(value * x + (1 - value) * other[name], 0, 1)
    if name == "hue":
        return turned(x, value)
    if name == "gray":
        return np.broadcast_to(luma(x), x.shape) if value else x
    return np.where(x >= 0.5, 1 - x, x) if value else x


def reference(batch: dict, transform: Transform, size: int = 0) -> torch.Tensor:
    """The whole pipeline in float64, one image after the other."""
    views = []
    for i in range(len(batch["image"])):
        mean, std = batch["normalization"][i].double().numpy()[..., None, None]
        x = batch["image"][i].double().numpy() * std + mean
        top, left, height, width = transform.box[i].tolist()
        x = resize_side(x, left, width, size or x.shape[2])
        x = resize_side(x.swapaxes(1, 2), top, height, size or x.shape[1]).swapaxes(1, 2)
        x = x[..., ::-1] if transform.flip[i] else x
        for name in transform.steps:
            x = changed(x, name, float(getattr(transform, name)[i]))
        views.append(torch.from_numpy(((x - mean) / std).copy()).float())
    return torch.stack(views)


def values_of(name: str, count: int) -> torch.Tensor:
    """Values of a change over its whole range, both ends and the neutral one among them."""
    spans = {"hue": (-0.5, 0.5), "blur": (0.0, 2.0), "gray": (0.0, 1.0), "solarize": (0.0, 1.0)}
    value = torch.linspace(*spans.get(name, (0.0, 2.0)), count)
    return value.round() if name in ("gray", "solarize") else value


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NEUTRAL)
def test_a_change_alone_equals_the_slow_reference(name, channels):
    batch = sample(9, channels, height=42, width=40)  # a blur with more than one pixel to each side
    transform = whole(9, (name,), **{name: values_of(name, 9)})
    view = apply(batch["image"], batch["normalization"], transform)
    assert torch.allclose(view, reference(batch, transform), atol=2e-5)
    differs = (view - batch["image"]).abs().amax((1, 2, 3)) > 1e-3
    neutral = values_of(name, 9) == NEUTRAL[name]
    grayscale = channels == 1 and name in ("saturation", "hue", "gray")
    assert torch.equal(differs, torch.zeros(9, dtype=torch.bool) if grayscale else ~neutral)


@pytest.mark.parametrize("height, width, size", [(24, 24, 0), (20, 28, 0), (32, 32, 12), (40, 24, 9), (12, 12, 20)])
@pytest.mark.parametrize("step", [0, 1])
def test_the_whole_equals_the_slow_reference(height, width, size, step):
    batch = sample(8, height=height, width=width)
    transform = draw(Random(0, step, batch["index"]), STRONG, "a")
    view = pixel_view(batch, Random(0, step, batch["index"]), replace(STRONG, size=size), "a")
    assert view.shape == (8, 3, size or height, size or width)
    assert torch.allclose(view, reference(batch, transform, size), atol=5e-5)


@pytest.mark.parametrize("size", [8, 32, 48])
def test_crop_equals_pillow(size):
    """Its resize of floating-point images inside a box, shrinking and growing; and a mirror is its mirror."""
    batch = sample(12, channels=1, height=32, width=40)
    transform = draw(numbered(12), replace(PLAIN, crop_scale=(0.05, 1.0), crop_aspect=(0.5, 2.0), flip=0.5), "a")
    assert 0 < transform.flip.sum() < 12
    view = apply(batch["image"], None, transform, size)
    for image, box, flip, found in zip(batch["image"], transform.box.tolist(), transform.flip, view, strict=True):
        top, left, height, width = box[0] * 32, box[1] * 40, box[2] * 32, box[3] * 40
        corners = (left, top, left + width, top + height)
        wanted = Image.fromarray(image[0].numpy()).resize((size, size), Image.Resampling.BILINEAR, corners)
        wanted = ImageOps.mirror(wanted) if flip else wanted
        assert np.allclose(found[0], np.asarray(wanted), atol=2e-4)


PILLOW = {
    "brightness": lambda image, value: ImageEnhance.Brightness(image).enhance(value),
    "contrast": lambda image, value: ImageEnhance.Contrast(image).enhance(value),
    "saturation": lambda image, value: ImageEnhance.Color(image).enhance(value),
    "gray": lambda image, value: ImageOps.grayscale(image).convert("RGB"),
    "solarize": lambda image, value: ImageOps.solarize(image),
}


@pytest.mark.parametrize("name", PILLOW)
def test_change_of_color_equals_pillow_up_to_its_rounding(name):
    image = (sample(1)["pixel"] * 255).round()
    raw = Image.fromarray(image[0].permute(1, 2, 0).to(torch.uint8).numpy())
    for value in (0.3, 0.8, 1.7) if name not in ("gray", "solarize") else (1.0,):
        found = image / 255
        getattr(colors, name)(found, torch.tensor([value]))
        gap = (found[0] * 255 - torch.from_numpy(np.array(PILLOW[name](raw, value))).permute(2, 0, 1)).abs()
        assert gap.max() < (1e-3 if name == "solarize" else 2.0 if name == "contrast" else 1.5)
        assert gap.mean() < 0.7


@given(seed=st.integers(0, 10**6), turn=st.floats(-0.5, 0.5, width=32), exponent=st.integers(-8, 0))
@settings(max_examples=60, deadline=None)
def test_hue_equals_colorsys_where_chroma_is_small_too(seed, turn, exponent):
    base = numbered(1, seed).uniform("base", 3, 1, 1)
    image = (base[:, :1] + 10.0**exponent * (numbered(1, seed).uniform("chroma", 3, 6, 6) - 0.5)).clamp(0, 1)
    image[0, :, 0, :3] = torch.eye(3)  # the corners of the hue
    found = image.clone()
    colors.hue(found, torch.tensor([turn]))
    assert np.allclose(found[0], turned(image[0].double().numpy(), turn), atol=2e-6)
    there_and_back = found.clone()
    colors.hue(there_and_back, torch.tensor([-turn]))
    assert torch.allclose(there_and_back, image, atol=2e-6)


@pytest.mark.parametrize("name", [name for name in NEUTRAL if name != "blur"])
def test_neutral_values_change_nothing_and_others_stay_in_range(name):
    image = sample(5)["pixel"]
    same, other = image.clone(), image.clone()
    getattr(colors, name)(same, torch.full((5,), NEUTRAL[name]))
    assert torch.allclose(same, image, atol=1e-6)
    getattr(colors, name)(other, values_of(name, 5))
    assert other.min() >= 0 and other.max() <= 1


def test_no_strength_is_the_identity():
    batch = sample()
    assert torch.equal(pixel_view(batch, numbered(6), PLAIN, "a"), batch["image"])
    still = replace(PLAIN, jitter=1, brightness=0, contrast=0, saturation=0, hue=0)
    assert torch.equal(pixel_view(batch, numbered(6), still, "a"), batch["image"])
    assert torch.equal(apply(batch["image"], None, whole(6)), batch["image"])


def test_flip_mirrors_exactly_and_a_mirrored_box_gives_a_mirrored_view():
    batch = sample()
    assert torch.equal(pixel_view(batch, numbered(6), replace(PLAIN, flip=1), "a"), batch["image"].flip(-1))
    crop = draw(numbered(6), replace(PLAIN, crop_scale=(0.1, 0.9)), "a")
    top, left, height, width = crop.box.unbind(1)
    mirrored = replace(crop, box=torch.stack([top, 1 - left - width, height, width], 1), flip=~crop.flip)
    found = apply(batch["image"].flip(-1), None, mirrored)
    assert torch.allclose(found, apply(batch["image"], None, crop), atol=2e-5)


def test_view_of_a_sample_does_not_depend_on_its_neighbours(monkeypatch):
    batch = sample(40)
    full = pixel_view(batch, Random(3, 7, batch["index"]), STRONG, "a")
    for rows in ([17], [39, 4, 21]):
        part = {key: value[rows] for key, value in batch.items()}
        alone = pixel_view(part, Random(3, 7, part["index"]), STRONG, "a")
        assert torch.allclose(alone, full[rows], atol=1e-6)
    monkeypatch.setattr(pixels, "CACHED", 1)  # one row at a time
    assert torch.allclose(pixel_view(batch, Random(3, 7, batch["index"]), STRONG, "a"), full, atol=1e-6)


def test_all_rows_at_once_give_what_groups_of_equal_changes_give(monkeypatch):
    """A device that is not waited for does every step on every row, most of them at the neutral value."""
    batch = sample(40)
    grouped = pixel_view(batch, numbered(40), STRONG, "a")
    monkeypatch.setattr(pixels, "_groups", lambda transform, most: [(torch.arange(40), transform.steps)])
    assert torch.allclose(pixel_view(batch, numbered(40), STRONG, "a"), grouped, atol=2e-5)


def test_streams_steps_and_seeds_give_other_views():
    batch = sample(4)
    views = [pixel_view(batch, Random(s, t, batch["index"]), STRONG, v) for s, t, v in
             ((0, 1, "a"), (0, 1, "b"), (0, 2, "a"), (1, 1, "a"))]  # fmt: skip
    assert torch.equal(views[0], pixel_view(batch, Random(0, 1, batch["index"]), STRONG, "a"))
    assert all((one - two).abs().max() > 0.1 for i, one in enumerate(views) for two in views[:i])


def test_inputs_are_left_alone_and_type_is_kept():
    batch = sample()
    before = {key: value.clone() for key, value in batch.items()}
    image = batch["image"].requires_grad_()
    view = pixel_view(batch, numbered(6), STRONG, "a")
    assert view.dtype == torch.float32 and not view.requires_grad
    assert all(torch.equal(batch[key], before[key]) for key in batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pixel_view(batch, numbered(6), STRONG, "a"), view)
    for dtype, tolerance in ((torch.float64, 5e-5), (torch.bfloat16, 0.05)):
        other = pixel_view({**batch, "image": image.detach().to(dtype)}, numbered(6), replace(STRONG, solarize=0), "a")
        exact = pixel_view(batch, numbered(6), replace(STRONG, solarize=0), "a")
        assert other.dtype == dtype and (other.float() - exact).abs().mean() < tolerance


def test_draws_keep_their_probabilities_and_ranges():
    config = PixelViews(flip=0.3, jitter=0.6, brightness=0.5, contrast=1.5, saturation=0.2, hue=0.3, solarize=0.1)
    count = 20000
    found = draw(numbered(count), config, "a")
    jittered = (found.brightness != 1) & (found.hue != 0)
    shares = {"flip": found.flip, "gray": found.gray, "blur": found.blur > 0, "solarize": found.solarize,
              "jitter": jittered}  # fmt: skip
    for name, share in shares.items():
        wanted = getattr(config, name)
        assert abs(share.float().mean().item() - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / count), name
    ranges = {"brightness": (0.5, 1.5), "contrast": (0.0, 2.5), "saturation": (0.8, 1.2), "hue": (-0.3, 0.3),
              "blur": (0.1, 2.0)}  # fmt: skip
    for name, (low, high) in ranges.items():
        value = getattr(found, name)
        value = value[found.blur > 0] if name == "blur" else value[jittered]
        middle, spread = (low + high) / 2, (high - low) / math.sqrt(12)
        assert low <= value.min() and value.max() <= high and value.max() - value.min() > 0.99 * (high - low)
        assert abs(value.mean().item() - middle) < 5 * spread / math.sqrt(len(value))  # uniform: middle and spread
        assert abs(value.std().item() / spread - 1) < 0.03
    table = torch.stack([found.flip, found.gray, found.blur > 0, found.solarize, jittered]).float()
    assert (torch.corrcoef(table) - torch.eye(5)).abs().max() < 0.04  # drawn independently


def boxes_as_published(count: int, config: PixelViews) -> np.ndarray:
    """RandomResizedCrop's loop on the unit square: ten tries, else the central fallback."""
    random, out = np.random.default_rng(0), np.empty((count, 4))
    (small, large), (low, high) = config.crop_scale, config.crop_aspect
    for i in range(count):
        for _ in range(10):
            area, aspect = random.uniform(small, large), math.exp(random.uniform(math.log(low), math.log(high)))
            width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
            if width <= 1 and height <= 1:
                out[i] = random.uniform(0, 1 - height), random.uniform(0, 1 - width), height, width
                break
        else:
            width, height = (1, 1 / low) if low > 1 else (high, 1) if high < 1 else (1, 1)
            out[i] = (1 - height) / 2, (1 - width) / 2, height, width
    return out


@pytest.mark.parametrize("scale, aspect", [((0.08, 1.0), (0.75, 4 / 3)), ((0.8, 1.0), (0.5, 1.5))])
def test_boxes_are_distributed_as_published(scale, aspect):
    config, count = PixelViews(crop_scale=scale, crop_aspect=aspect), 20000
    found, wanted = draw(numbered(count), config, "a").box.double().numpy(), boxes_as_published(count, config)
    assert found.min() >= 0 and (found[:, :2] + found[:, 2:]).max() <= 1 + 1e-6
    for measure in (lambda b: b[:, 2] * b[:, 3], lambda b: np.log(b[:, 3] / b[:, 2]), lambda b: b[:, 0],
                    lambda b: b[:, 1] + b[:, 3] / 2):  # fmt: skip
        one, two = np.sort(measure(found)), np.sort(measure(wanted))
        grid = np.concatenate([one, two])
        gap = np.searchsorted(one, grid, "right") - np.searchsorted(two, grid, "right")
        assert np.abs(gap).max() / count < 1.95 * math.sqrt(2 / count)  # Kolmogorov and Smirnov, one in a thousand


def test_boxes_that_never_fit_become_the_central_largest_one():
    for aspect, box in (((2.0, 3.0), [0.25, 0, 0.5, 1]), ((0.25, 0.5), [0, 0.25, 1, 0.5]), ((0.5, 2.0), [0, 0, 1, 1])):
        found = draw(numbered(50), replace(PLAIN, crop_aspect=aspect), "a").box
        assert torch.allclose(found, torch.tensor(box, dtype=torch.float32).expand(50, 4), atol=1e-6)


def test_order_of_the_jitter_is_uniform_over_steps_and_the_rest_follows():
    orders = [draw(Random(0, step, torch.arange(2)), STRONG, "a").steps for step in range(480)]
    assert all(steps[4:] == ("gray", "blur", "solarize") and sorted(steps[:4]) == sorted(JITTER) for steps in orders)
    counts = np.array([orders.count(steps) for steps in set(orders)])
    assert len(counts) == 24 and ((counts - 20) ** 2 / 20).sum() < 49.7  # chi-square, 23 degrees, one in a thousand
    assert draw(numbered(2), replace(STRONG, hue=0, contrast=0, blur=0), "a").steps[2:] == ("gray", "solarize")


def test_vector_holds_what_was_drawn_and_is_zero_where_nothing_changes():
    found = draw(numbered(30), STRONG, "a")
    vector = found.vector()
    assert vector.shape == (30, 12) and vector.dtype == torch.float32
    assert torch.equal(vector[:, :4], found.box) and torch.equal(vector[:, 4], found.flip.float())
    for place, (name, neutral) in enumerate(NEUTRAL.items(), 5):
        assert torch.allclose(vector[:, place] + neutral, getattr(found, name).float())
    assert torch.equal(whole(3).vector()[:, 4:], torch.zeros(3, 8))


def test_color_without_normalization_is_refused_and_geometry_needs_none():
    batch = sample()
    del batch["normalization"]
    for config in (replace(PLAIN, jitter=0.5), replace(PLAIN, gray=0.1), replace(PLAIN, solarize=0.1)):
        with pytest.raises(DataError, match="no `normalization`"):
            pixel_view(batch, numbered(6), config, "a")
    view = pixel_view(batch, numbered(6), replace(PLAIN, crop_scale=(0.2, 0.5), flip=0.5, blur=0.5), "a")
    assert view.shape == batch["image"].shape


def test_images_of_two_channels_have_no_color():
    with pytest.raises(ShapeError, match="2 channels"):
        pixel_view(sample(channels=2), numbered(6), PixelViews(), "a")
    geometry = replace(PLAIN, crop_scale=(0.2, 0.5), blur=1)
    assert pixel_view(sample(channels=2), numbered(6), geometry, "a").shape == (6, 2, 24, 24)


@pytest.mark.parametrize(
    "wrong",
    [{"flip": 1.5}, {"crop_scale": (0.5, 0.2)}, {"crop_scale": (0.0, 1.0)}, {"hue": 0.6}, {"brightness": -0.1},
     {"blur_sigma": (0.0, 1.0)}, {"size": -1}, {"crop_aspect": (2.0, 1.0)}],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PixelViews(**wrong)
