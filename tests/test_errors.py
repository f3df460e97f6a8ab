"""Settings out of range are refused where they enter, all of them by name."""

from __future__ import annotations

import math

import pytest
import torch

from armillary.contracts import build
from armillary.errors import ConfigError, ShapeError, ascending, require
from armillary.methods.control import lewm
from armillary.methods.image import ijepa
from armillary.methods.points import point_jepa
from armillary.nn.encoder import ViT
from armillary.randomness import numbered
from armillary.training.optim import Optim


def test_all_wrong_settings_are_named_with_what_is_allowed():
    with pytest.raises(ConfigError, match=r"flip is 7, crop is \(0.2, 2\); from 0 to 1 is allowed"):
        require(0, 1, flip=7, crop=(0.2, 2), momentum=(0.9, 1.0))
    with pytest.raises(ConfigError, match="rate is nan; at least 0"):
        require(0, math.inf, rate=math.nan)
    with pytest.raises(ConfigError, match="lower end comes first"):
        ascending(scale=(0.5, 0.2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ViT(patch=0),
        lambda: ViT(heads=0),
        lambda: ViT(depth=0),
        lambda: ijepa.Config(targets=0),
        lambda: ijepa.Config(momentum=(2, 3)),
        lambda: ijepa.Config(target_scale=(0.5, 0.2)),
        lambda: ijepa.Config(predictor_depth=-1),
        lambda: point_jepa.Config(groups=0),
        lambda: point_jepa.Config(context_ratio=(0.4, 1.5)),
        lambda: lewm.Config(history=0),
        lambda: lewm.Config(sigreg_weight=-1),
        lambda: Optim(lr=math.nan),
    ],
)
def test_impossible_configurations_are_refused(make):
    with pytest.raises(ConfigError, match=r"allowed|lower end|finite"):
        make()


def test_images_of_another_size_than_the_masks_are_refused():
    method = build(ijepa.Config(ViT(image=32, patch=8, width=16, depth=1, heads=1), predictor_heads=1))
    batch = {"index": torch.arange(2), "image": torch.zeros(2, 3, 64, 64)}
    with pytest.raises(ShapeError, match=r"64x64 pixels, masks are drawn for 32x32: set data\.size to 32"):
        method.loss(batch, numbered(2))


def test_released_masks_differ_between_the_shares_of_a_batch():
    method = build(
        ijepa.Config(ViT(image=32, patch=4, width=16, depth=1, heads=1), predictor_heads=1, masks="released")
    )
    image, random = torch.zeros(4, 3, 32, 32), numbered(8)
    shares = [method.masks({"index": torch.arange(i, i + 4), "image": image}, random) for i in (0, 4)]
    assert shares[0].targets.shape[0] == 4 and not torch.equal(shares[0].targets, shares[1].targets)
