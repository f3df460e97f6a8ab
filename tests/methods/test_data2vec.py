"""data2vec: what the target is made of, who sees what, and how the teacher moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from armillary.contracts import build
from armillary.errors import ConfigError
from armillary.methods.rivals import data2vec
from armillary.randomness import Random


@pytest.fixture
def made():
    torch.manual_seed(0)
    return data2vec.tiny()


def test_target_gets_no_gradient(made):
    method, batch = made
    method.teacher.requires_grad_(True)
    method.loss(batch, Random(0, 1, batch["index"]))["prediction"].backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(p.grad is not None for p in method.encoder.parameters()) and method.mask_token.grad.abs().max() > 0


def test_target_is_the_normalized_mean_of_the_last_normalized_blocks(made):
    method, batch = made
    method = build(replace(method.config, encoder=replace(method.config.encoder, depth=3)))
    module = method.teacher.module
    x = module._with_class(module.embed(batch["image"])).x
    outputs = []
    for block in module.trunk.blocks:
        x = block(x)
        outputs.append(F.layer_norm(x[:, 1:], (32,)))
    wanted = F.layer_norm((outputs[1] + outputs[2]) / 2, (32,))
    found = method.target(batch["image"])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert found.mean(-1).abs().max() < 1e-5 and (found.var(-1, correction=0) - 1).abs().max() < 1e-3


def test_student_does_not_see_hidden_patches_and_the_teacher_does(made):
    method, batch = made
    mask = method.mask(batch["image"], Random(0, 1, batch["index"]))
    pixels = mask.view(8, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed = torch.where(pixels, batch["image"].flip(0) * 2, batch["image"])
    (predicted, target), (again, other) = (method.predict(image, mask) for image in (batch["image"], changed))
    assert torch.allclose(predicted, again, atol=1e-6) and not torch.allclose(target, other, atol=1e-2)


def test_loss_is_smooth_l1_at_hidden_patches_alone(made):
    method, batch = made
    mask = method.mask(batch["image"], Random(0, 1, batch["index"]))
    assert mask.sum(1).eq(round(120 / 196 * 16)).all()
    tokens = method.encoder.both(method.encoder.embed(batch["image"], mask, method.mask_token))[1]
    every, target = method.head(tokens.x), method.target(batch["image"])
    wanted = F.smooth_l1_loss(every[mask], target[mask], beta=2.0)
    predicted, hidden = method.predict(batch["image"], mask)
    torch.testing.assert_close(F.smooth_l1_loss(predicted, hidden, beta=2.0), wanted)


def test_predictions_of_hidden_patches_differ_by_place(made):
    method, batch = made
    mask = method.mask(batch["image"], Random(0, 1, batch["index"]))
    predicted, _ = method.predict(batch["image"], mask)
    assert predicted.std(1).mean() > 1e-2


def test_student_and_teacher_see_the_same_view(made, monkeypatch):
    method, batch = made
    seen = []
    for tokenizer in (method.encoder.tokenizer, method.teacher.module.tokenizer):
        tokenizer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    method.loss(batch, Random(0, 1, batch["index"]))
    assert len(seen) == 2 and torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], batch["image"])


def test_teacher_is_the_average_of_the_students_with_a_momentum_that_warms_up(made):
    method, _ = made
    method = build(replace(method.config, momentum=(0.5, 0.9), momentum_warmup=0.5))
    wanted = [p.double().clone() for p in method.teacher.parameters()]
    for i, momentum in enumerate((0.5, 0.66, 0.82, 0.9, 0.9)):  # at progress 0, 0.2, 0.4, 0.6, 0.8
        with torch.no_grad():
            for p in method.encoder.parameters():
                p.add_(0.1)
        method.after_step(i / 5)
        wanted = [momentum * t + (1 - momentum) * s for t, s in zip(wanted, method.encoder.parameters(), strict=True)]
    for found, value in zip(method.teacher.parameters(), wanted, strict=True):
        torch.testing.assert_close(found.double(), value, rtol=1e-5, atol=1e-6)


def test_impossible_settings_are_refused(made):
    method, _ = made
    with pytest.raises(ConfigError, match="layers is 3; from 1 to 2"):
        replace(method.config, layers=3)
    for mask in (0.0, 1.0):
        with pytest.raises(ConfigError, match="hide at least 1, and not all"):
            replace(method.config, mask=mask)
