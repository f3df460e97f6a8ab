"""Counted FLOPs, against arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from armillary.bench.flops import affordable, counted, per_step
from armillary.data.formats.images import Images
from armillary.errors import ConfigError
from armillary.methods.image import ijepa
from armillary.methods.rivals import supervised
from armillary.nn.encoder import ViT
from armillary.randomness import numbered
from armillary.recipes.run import Run


class Noise:
    """Images in memory."""

    def __init__(self, side: int = 8):
        self.side = side

    def __len__(self) -> int:
        return 32

    def batch(self, index: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"index": index, "image": numbered(32).normal("x", 3, self.side, self.side)[index], "label": index % 2}

    def prepare(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return batch


def run(**changes: object) -> Run:
    config = supervised.Config(ViT(image=8, patch=4, width=16, depth=2, heads=2), classes=2, flip=0.0)
    return replace(Run(method=config, data=Images(), steps=1, batch=8), **changes)


def test_products_count_two_per_multiplication_and_addition():
    a, b = torch.randn(3, 5), torch.randn(5, 7)
    assert counted(lambda: a @ b) == 2 * 3 * 5 * 7


def test_attention_on_the_cpu_is_counted_forwards_and_backwards():
    q, k, v = (torch.randn(2, 3, 6, 4, requires_grad=True) for _ in range(3))
    one = 2 * 2 * 3 * 6 * 6 * 4  # one product of 6 x 4 with 4 x 6 for two rows and three heads
    assert counted(lambda: F.scaled_dot_product_attention(q, k, v)) == 2 * one
    assert counted(lambda: F.scaled_dot_product_attention(q, k, v).sum().backward()) == 7 * one


def test_convolution_without_gradient_of_its_input_counts_twice():
    layer, x = nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.randn(2, 3, 6, 6)
    one = 2 * 2 * 8 * 6 * 6 * 3 * 9
    assert counted(lambda: layer(x)) == one
    assert counted(lambda: layer(x).sum().backward()) == 2 * one


def test_step_of_a_transformer_is_the_sum_of_its_products():
    rows, tokens, width, depth, patch = 8, 4, 16, 2, 48
    maps = depth * (3 + 1 + 4 + 4) * width * width  # queries, keys and values; output; MLP
    head, attention = width * 2, 2 * 2 * rows * tokens * tokens * width
    linear = 2 * rows * tokens * maps
    expected = 3 * linear + 2 * 2 * rows * tokens * patch * width + 3 * 2 * rows * head
    expected += depth * attention * 7 // 2
    views = per_step(run(), Noise(), steps=2) - expected  # the crop is a product too
    assert views >= 0
    shallow = replace(run().method, encoder=ViT(image=8, patch=4, width=16, depth=1, heads=2))
    assert per_step(run(), Noise()) - per_step(run(method=shallow), Noise()) == 3 * linear // 2 + attention * 7 // 2
    assert views < 0.5 * expected


def test_larger_batches_cost_more_in_proportion():
    assert per_step(run(batch=16), Noise()) == pytest.approx(2 * per_step(run(), Noise()))


def test_budget_below_one_step_is_refused_with_the_cost():
    assert affordable(25.0, 10.0, "x") == 2
    with pytest.raises(ConfigError, match="does not pay one step of ijepa, which costs 1"):
        affordable(1e9, 1.2e10, "ijepa")


@pytest.mark.parametrize("cost", [1.0e9, 1.04e9, 1.44e9, 9.96e9, 3.3333e10])
@pytest.mark.parametrize("share", [1.0, 0.15])
def test_budget_that_is_advised_pays_a_step(cost: float, share: float):
    with pytest.raises(ConfigError) as told:
        affordable(1e3, cost, "x", share)
    advised = float(str(told.value).split("--budget ")[1].split()[0])
    assert affordable(advised, cost, "x", share) == 1 and ("a try's share" in str(told.value)) == (share < 1)


def test_second_count_is_the_first_though_tables_of_masks_were_kept():
    config = ijepa.Config(
        ViT(image=24, patch=3, width=16, depth=1, heads=2), predictor_width=8, predictor_depth=1, predictor_heads=1
    )
    masked = Run(method=config, data=Images(), steps=1, batch=4)
    assert per_step(masked, Noise(24), steps=3) == per_step(masked, Noise(24), steps=3)
