"""DSeq-JEPA: contexts grow region by region, targets are the next one, and the curriculum moves from blocks to them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from armillary.contracts import build
from armillary.errors import ConfigError
from armillary.functional.distance import smooth_l1
from armillary.methods.image import dseq_jepa
from armillary.randomness import Random
from armillary.views.crops import resized_crop


@pytest.fixture
def made():
    torch.manual_seed(0)
    method, batch = dseq_jepa.tiny()
    return method, batch, Random(0, 1, batch["index"])


def test_each_context_is_the_one_before_and_its_target(made):
    method, batch, _ = made
    found = method.order(method.watch(batch["image"])[1])
    assert len(found) == 4
    for before, after in pairwise(found):
        assert torch.equal(after.context, torch.cat([before.context, before.targets[:, 0]], 1))
    last = torch.cat([found[-1].context, found[-1].targets[:, 0]], 1)
    assert torch.equal(last.sort(1).values, torch.arange(16).expand(8, -1))  # disjoint, and all of the image


def test_regions_are_ordered_by_the_teacher_s_attention(made):
    method, batch, _ = made
    saliency = method.watch(batch["image"])[1]
    found = method.order(saliency)
    regions = [found[0].context, *(masks.targets[:, 0] for masks in found[:-1])]
    scores = torch.stack([saliency.gather(1, region).mean(1) for region in regions])
    assert bool((scores[:-1] >= scores[1:]).all())
    with torch.no_grad():
        method.encoder.trunk.blocks[1].attn.qkv.weight.add_(1.0)  # the student's attention does not matter
    assert torch.equal(method.watch(batch["image"])[1], saliency)


def test_each_region_counts_the_same(made):
    method, batch, random = made
    image = resized_crop(batch["image"], random, method.config.crop_scale)
    full, saliency = method.watch(image)
    each = [smooth_l1(*method.predict(image, full, masks)) for masks in method.order(saliency)]
    assert torch.allclose(method.loss(batch, random)["prediction"], sum(each) / 4)


def test_share_of_steps_with_regions_follows_progress(made):
    method, batch, _ = made
    method = build(replace(method.config, sequence_share=(0.0, 1.0)))
    calls = []
    method.order = lambda saliency, order=method.order: calls.append(1) or order(saliency)

    def count(progress: float) -> int:
        method.after_step(progress)
        calls.clear()
        for step in range(40):
            method.loss(batch, Random(0, step, batch["index"]))
        return len(calls)

    assert count(0.0) == 0 and 10 <= count(0.5) <= 30 and count(1.0) == 40


def test_share_survives_a_checkpoint(made):
    method, _, _ = made
    method = build(replace(method.config, sequence_share=(0.0, 1.0)))
    method.after_step(0.25)
    other = build(method.config, 1)
    other.load_state_dict(method.state_dict())
    assert float(other.share) == 0.25


def test_target_gets_no_gradient(made):
    method, batch, random = made
    full, saliency = method.watch(batch["image"])
    assert not full.x.requires_grad and not saliency.requires_grad
    method.loss(batch, random)["prediction"].backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(p.grad is not None for p in method.encoder.parameters())


def test_teacher_follows_in_closed_form(made):
    method, _, _ = made
    start = method.teacher.module.trunk.norm.weight.clone()
    with torch.no_grad():
        method.encoder.trunk.norm.weight.fill_(3.0)
    for _ in range(4):
        method.after_step(0.0)  # momentum 0.9
    assert torch.allclose(method.teacher.module.trunk.norm.weight, 0.9**4 * start + (1 - 0.9**4) * 3.0)


def test_regions_that_leave_none_for_the_last_are_refused_before_training(made):
    """Not in the first step with regions, which may come hours later."""
    method, batch, random = made
    with pytest.raises(ConfigError, match="all but the last take 16 of 16 patches"):
        replace(method.config, regions=9)  # eight of 2 patches
    fits = build(replace(method.config, regions=8))
    assert fits.loss(batch, random)["prediction"].isfinite()
