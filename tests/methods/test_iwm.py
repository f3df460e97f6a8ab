"""IWM: one crop for both views, a condition that says what differs, and predictions that follow it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from armillary.contracts import build
from armillary.diagnostics.equivariance import reciprocal_rank
from armillary.errors import ConfigError
from armillary.methods.image import iwm
from armillary.randomness import Random
from armillary.views.pixels import PixelViews


@pytest.fixture
def made():
    torch.manual_seed(0)
    method, batch = iwm.tiny()
    return method, batch, Random(0, 1, batch["index"])


def test_views_share_crop_and_mirror_and_differ_in_color(made):
    method, _, random = made
    source, target = method.views(random)
    assert torch.equal(source.box, target.box) and torch.equal(source.flip, target.flip)
    assert not torch.equal(source.brightness, target.brightness)
    assert not target.gray.any() and not target.solarize.any() and not target.blur.any()


def test_destructive_changes_are_the_source_s(made):
    method, batch, random = made
    always = replace(method.config, source=replace(method.config.source, gray=1.0))
    source, target = build(always).views(random)
    seen = method.seen(batch, source)
    assert torch.allclose(seen[:, 0], seen[:, 1], atol=1e-5)
    assert not torch.allclose(method.seen(batch, target)[:, 0], method.seen(batch, target)[:, 1], atol=1e-2)


def test_action_is_the_difference_of_what_was_drawn(made):
    method, _, random = made
    source, target = method.views(random)
    action = iwm.action(source, target)
    assert action.shape == (8, iwm.COLOR)
    assert torch.allclose(action[:, 0], target.brightness - source.brightness)
    assert torch.allclose(action[:, 3], target.hue - source.hue)
    assert torch.allclose(action[:, 4], target.gray.float() - source.gray.float())
    assert torch.allclose(action[:, 6], -source.solarize.float())
    assert not iwm.action(target, target).any()


def test_target_encoder_sees_the_target_view(made):
    """Changing the target's colors changes targets, and predictions only through the condition."""
    method, batch, random = made
    source, target = method.views(random)
    masks, image = method.masks(random), method.seen(batch, source)
    told = iwm.action(source, target)
    other = replace(target, brightness=target.brightness * 0.5)
    one = method.predict(image, method.seen(batch, target), told, masks)
    two = method.predict(image, method.seen(batch, other), told, masks)
    assert torch.equal(one[0], two[0]) and not torch.allclose(one[1], two[1], atol=1e-3)
    assert not torch.allclose(one[0], method.predict(image, image, iwm.action(source, other), masks)[0], atol=1e-6)


def test_without_condition_it_is_invariant(made):
    method, batch, random = made
    assert method.copies(batch, random, 3)[0].std(1).max() > 1e-6
    with torch.no_grad():
        method.predictor.mix[0].weight[:, -iwm.COLOR :] = 0
    predicted, target = method.copies(batch, random, 16)
    assert torch.allclose(predicted, predicted[:, :1].expand_as(predicted), atol=1e-6)
    assert not torch.allclose(target[:, 0], target[:, 1], atol=1e-3)
    assert reciprocal_rank(predicted, target).mean() < 0.4  # chance is 0.21


def test_training_makes_predictions_follow_the_action(made):
    """On eight images whose copies differ in brightness alone; 16 copies, so chance is 0.21."""
    method, batch, _ = made
    light = replace(method.config.target, crop_scale=(0.5, 1.0), jitter=1.0, brightness=0.8)
    light = replace(light, contrast=0.0, saturation=0.0, hue=0.0)
    config = replace(
        method.config, encoder=replace(method.config.encoder, init="xavier"), source=light, target=light,
        predictor_width=32, predictor_depth=2, momentum=(0.99, 1.0),
    )  # fmt: skip
    batch["image"] = batch["image"].clamp(-1.5, 1.5)
    method, random = build(config).train(), Random(0, 0, batch["index"])
    before = reciprocal_rank(*method.copies(batch, random, 16)).mean()
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    for step in range(60):
        method.energy(method.loss(batch, Random(0, step + 1, batch["index"]))).backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(step / 60)
    after = reciprocal_rank(*method.copies(batch, random, 16)).mean()
    assert before < 0.25 and after > 0.29


def test_loss_is_the_squared_distance_and_stops_at_the_target(made):
    method, batch, random = made
    predicted, target = method.drawn(batch, random)
    assert torch.allclose(method.loss(batch, random)["prediction"], (predicted - target).square().mean())
    assert predicted.requires_grad and not target.requires_grad


def test_teacher_follows_in_closed_form(made):
    method, _, _ = made
    start = method.teacher.module.trunk.norm.weight.clone()
    with torch.no_grad():
        method.encoder.trunk.norm.weight.fill_(3.0)
    for _ in range(4):
        method.after_step(0.5)  # momentum 0.95
    assert torch.allclose(method.teacher.module.trunk.norm.weight, 0.95**4 * start + (1 - 0.95**4) * 3.0)


def test_views_of_a_size_of_their_own_are_refused():
    with pytest.raises(ConfigError, match=r"source\.size is 16"):
        iwm.Config(source=PixelViews(size=16))
