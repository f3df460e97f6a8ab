"""Random resized crops."""

from __future__ import annotations

import torch

from armillary.randomness import Random, numbered
from armillary.views.crops import resized_crop


def test_whole_image_is_kept_when_the_crop_is_the_image():
    image = numbered(4).normal("i", 3, 16, 16)
    assert torch.equal(resized_crop(image, numbered(4), (1.0, 1.0), (1.0, 1.0)), image)
    same = resized_crop(image, numbered(4), (1.0, 1.0), (1.0, 1.0), flip=1e-9)
    assert torch.allclose(same, image, atol=1e-5)


def test_mirror_is_exact():
    image = numbered(4).normal("i", 3, 16, 16)
    assert torch.allclose(resized_crop(image, numbered(4), (1.0, 1.0), (1.0, 1.0), flip=1.0), image.flip(-1), atol=1e-5)


def test_crop_stays_inside_the_image_and_differs_by_sample():
    """A ramp keeps its range: what is sampled lies inside, and the crop's spread is the share of the side it kept."""
    ramp = torch.linspace(-1, 1, 32).expand(64, 1, 32, 32)
    crop = resized_crop(ramp, numbered(64), (0.3, 1.0))
    assert crop.min() >= -1.001 and crop.max() <= 1.001
    spread = crop.amax((1, 2, 3)) - crop.amin((1, 2, 3))
    assert spread.min() > 2 * 0.45 and len(spread.round(decimals=3).unique()) > 30


def test_crop_of_a_sample_does_not_depend_on_its_neighbours():
    image = numbered(8).normal("i", 3, 16, 16)
    alone = resized_crop(image[5:6], Random(0, 0, torch.tensor([5])))
    assert torch.allclose(alone, resized_crop(image, numbered(8))[5:6], atol=1e-6)
