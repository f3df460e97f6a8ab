"""SALT: pixels first, then a teacher that never moves again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from armillary.contracts import build, check_method
from armillary.errors import CheckpointError, ConfigError
from armillary.functional.distance import layer_normalized
from armillary.functional.pixels import patch_normalized, patchify
from armillary.methods.image import salt
from armillary.nn.encoder import ViT
from armillary.randomness import Random
from armillary.types import gather
from armillary.views.crops import resized_crop


@pytest.fixture
def made():
    torch.manual_seed(0)
    method, batch = salt.tiny()
    return method, batch, Random(0, 1, batch["index"])


def trained(method, batch, first: int, last: int, steps: int) -> None:
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.1)
    for step in range(first, last):
        method.energy(method.loss(batch, Random(0, step, batch["index"]))).backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(step / steps)


def same(one: dict, two: dict) -> bool:
    return all(torch.equal(one[key], two[key]) for key in one)


def copied(module) -> dict:
    return {key: value.clone() for key, value in module.state_dict().items()}


def test_teacher_is_the_encoder_at_the_end_of_stage_one_and_frozen_then(made):
    method, batch, _ = made
    start = copied(method.encoder)
    trained(method, batch, 0, 3, 10)  # progress 0, 0.1, 0.2
    assert same(copied(method.teacher.module), start) and bool(method.reconstructs)
    trained(method, batch, 3, 4, 10)  # progress 0.3: the last step of stage 1
    snapshot = copied(method.teacher.module)
    assert same(snapshot, copied(method.encoder)) and not bool(method.reconstructs)
    trained(method, batch, 4, 10, 10)
    assert same(snapshot, copied(method.teacher.module))
    assert not same(snapshot, copied(method.encoder))


def test_stage_one_reconstructs_normalized_pixels_of_the_targets(made):
    method, batch, random = made
    image = resized_crop(batch["image"], random, method.config.crop_scale)
    masks = method.masks(batch, random)
    wanted = patch_normalized(gather(patchify(image, 8), masks.targets))
    terms = method.loss(batch, random)
    assert torch.allclose(terms["pixels"], (method.pixels(method.predict(image, masks)) - wanted).square().mean())
    assert terms["prediction"] == 0 and method.forecast(batch, random) is None


def test_stage_two_predicts_the_teacher_s_latents_by_l1(made):
    method, batch, random = made
    method.after_step(0.5)
    image = resized_crop(batch["image"], random, method.config.crop_scale)
    masks = method.masks(batch, random)
    wanted = gather(layer_normalized(method.teacher(image).x), masks.targets)
    terms = method.loss(batch, random)
    assert torch.allclose(terms["prediction"], (method.predict(image, masks) - wanted).abs().mean())
    assert terms["pixels"] == 0 and not wanted.requires_grad
    assert check_method(method, batch)["teacher"] == 0  # the contract, and no teacher parameter moves any more


def test_stage_survives_a_checkpoint(made):
    method, batch, random = made
    method.after_step(0.5)
    other = build(method.config, 1)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.loss(batch, random)["prediction"], method.loss(batch, random)["prediction"])


def test_a_smaller_teacher_comes_from_a_file(made, tmp_path):
    method, batch, random = made
    small = ViT(image=32, patch=8, width=16, depth=1, heads=2)
    first = build(replace(method.config, encoder=small), 5)
    save_file({k: v.contiguous() for k, v in first.state_dict().items()}, tmp_path / "model.safetensors")
    config = replace(method.config, teacher_file=str(tmp_path / "model.safetensors"), teacher=small)
    student = build(config)
    assert same(copied(student.teacher.module), copied(first.encoder))
    assert check_method(student, batch)["teacher"] == 0
    assert student.loss(batch, random)["prediction"] > 0
    with pytest.raises(CheckpointError, match="do not fit"):
        build(replace(config, teacher=method.config.encoder))
    with pytest.raises(CheckpointError, match="parts"):
        build(replace(config, teacher_part="teacher"))
    with pytest.raises(CheckpointError, match="no file"):
        build(replace(config, teacher_file=str(tmp_path / "absent")))
    with pytest.raises(ConfigError, match="same patches"):
        replace(config, teacher=replace(small, patch=4))
