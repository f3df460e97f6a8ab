"""DINO: who sees which view, what moves when, and what centering and sharpening reduce to."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from armillary.contracts import build, check_method
from armillary.errors import ConfigError
from armillary.methods.rivals import dino
from armillary.nn.convnet import ConvNet
from armillary.nn.resnet import ResNet
from armillary.randomness import Random, numbered
from armillary.views.pixels import PixelViews

STILL = PixelViews(crop_scale=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=0.0, jitter=0.0, gray=0.0, blur=0.0)


@pytest.fixture
def made():
    torch.manual_seed(0)
    return dino.tiny()


def plain(method: dino.DINO, **changes: object) -> dino.DINO:
    """Without patch loss and with other settings."""
    return build(replace(method.config, **{"patch_loss": 0.0, **changes}), 3)  # type: ignore[return-value]


def step(method: dino.DINO, batch: dict, number: int, progress: float = 0.0) -> torch.Tensor:
    energy = method.train().energy(method.loss(batch, Random(0, number, batch["index"])))
    method.after_step(progress)
    return energy


def test_target_gets_no_gradient(made):
    method, batch = made
    method.teacher.requires_grad_(True)
    step(method, batch, 1).backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(p.grad is not None for p in method.student.parameters())


def test_teacher_is_the_average_of_the_students(made):
    method, _ = made
    wanted = [p.double().clone() for p in method.teacher.parameters()]
    for i in range(5):
        with torch.no_grad():
            for p in method.student.parameters():
                p.add_(0.1 * (i + 1))
        method.after_step(i / 5)
        momentum = 1 - 0.1 * (1 + math.cos(math.pi * i / 5)) / 2  # 0.9 to 1 along half a cosine
        students = [p.double() for p in method.student.parameters()]
        wanted = [momentum * t + (1 - momentum) * s for t, s in zip(wanted, students, strict=True)]
    for found, value in zip(method.teacher.parameters(), wanted, strict=True):
        torch.testing.assert_close(found.double(), value, rtol=1e-5, atol=1e-6)


def test_local_views_never_go_to_the_teacher(made):
    method, batch = made
    seen: dict[str, list[tuple[int, ...]]] = {"student": [], "teacher": []}
    tokenizers = {"student": method.student.encoder.tokenizer, "teacher": method.teacher.module.encoder.tokenizer}
    for name, tokenizer in tokenizers.items():
        tokenizer.register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(tuple(inputs[0].shape)))
    step(method, batch, 1)
    assert seen["teacher"] == [(16, 3, 32, 32)]  # two global views of eight images
    assert seen["student"] == [(16, 3, 32, 32), (16, 3, 16, 16)]


def test_center_follows_its_closed_form_and_moves_only_after_a_step(made):
    method, batch = made
    method = plain(method, momentum=(1.0, 1.0), locals=0)
    random = Random(0, 1, batch["index"])
    mean = method.teacher(method.global_views(batch, random))[0].mean(0)
    for n in range(1, 13):
        before = method.center.value.clone()
        method.train().loss(batch, random)
        assert torch.equal(method.center.value, before)
        method.after_step(0.0)
        torch.testing.assert_close(method.center.value, (1 - 0.9**n) * mean, rtol=1e-4, atol=1e-6)


def test_micro_batches_move_the_center_as_the_whole_batch_does(made):
    method, batch = made
    method = plain(method)
    whole, halves = copy.deepcopy(method).train(), method.train()
    whole.loss(batch, Random(0, 1, batch["index"]))
    for part in (slice(0, 4), slice(4, 8)):
        few = {key: value[part] for key, value in batch.items()}
        halves.loss(few, Random(0, 1, few["index"]))
    whole.after_step(0.0)
    halves.after_step(0.0)
    torch.testing.assert_close(halves.center.value, whole.center.value)
    assert halves.center.value.abs().max() > 0


def shared(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    method, batch = dino.tiny()
    method = build(method.config, 3)
    step(method, {key: value.chunk(2)[rank] for key, value in batch.items()}, 1)
    torch.save([method.center.value, method.patch_center.value], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_have_the_centers_of_one(made, tmp_path):
    method, batch = made
    method = build(method.config, 3)
    step(method, batch, 1)
    processes.spawn(shared, (str(tmp_path),), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for here, there, whole in zip(one, two, (method.center.value, method.patch_center.value), strict=True):
        assert torch.equal(here, there)
        torch.testing.assert_close(here, whole, rtol=1e-4, atol=1e-6)


def test_evaluation_leaves_the_center(made):
    method, batch = made
    method.eval().loss(batch, Random(0, 1, batch["index"]))
    method.after_step(0.0)
    assert method.center.value.abs().max() == 0 and method.patch_center.value.abs().max() == 0


def test_equal_views_without_centering_and_sharpening_give_the_entropy(made):
    method, batch = made
    method = plain(method, locals=0, one=STILL, two=STILL, teacher_temperature=(0.1, 0.1))
    logits = method.student(batch["image"])[0] / 0.1
    entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(method.loss(batch, numbered(8, step=1))["views"], entropy)


def test_sharpening_lowers_the_entropy_of_targets_and_rises_with_the_schedule(made):
    method, batch = made
    random = Random(0, 1, batch["index"])
    entropies = []
    for progress in (0.0, 0.15, 0.3, 0.9):
        method.after_step(progress)
        target = method.forecast(batch, random).target
        entropies.append(float(-(target * target.clamp_min(1e-12).log()).sum(-1).mean()))
        assert method.temperature() == pytest.approx(min(0.07, 0.04 + 0.03 * progress / 0.3))
    assert entropies[0] < entropies[1] < entropies[2] and entropies[2] == pytest.approx(entropies[3], abs=0.05)


def test_prototypes_rest_at_first_and_nothing_else_does(made):
    method, batch = made
    frozen = plain(method, frozen=0.1)
    free = plain(method, frozen=0.0)
    grads = []
    for one in (frozen, free):
        step(one, batch, 1).backward()
        grads.append({name: p.grad for name, p in one.named_parameters() if p.requires_grad})
    name = "student.head.prototypes.weight"
    assert grads[0][name].abs().max() == 0 and grads[1][name].abs().max() > 0
    for other in grads[0].keys() - {name}:
        torch.testing.assert_close(grads[0][other], grads[1][other])
    frozen.zero_grad()
    frozen.after_step(0.1)
    step(frozen, batch, 2, 0.1).backward()
    assert frozen.student.head.prototypes.weight.grad.abs().max() > 0


def test_length_of_a_prototype_does_not_matter(made):
    method, batch = made
    random = Random(0, 1, batch["index"])
    before = method.eval().loss(batch, random)
    with torch.no_grad():
        method.student.head.prototypes.weight.mul_(torch.linspace(0.1, 5, 16)[:, None])
    after = method.loss(batch, random)
    assert all(torch.allclose(before[key], after[key], rtol=1e-4) for key in before)


def test_student_does_not_see_masked_patches(made):
    method, batch = made
    mask = torch.zeros(8, 16, dtype=torch.bool)
    mask[:, 5] = True  # row 1, column 1 of patches of 8 pixels
    changed = batch["image"].clone()
    changed[:, :, 8:16, 8:16] = 7
    one, two = (method.student(image, 1.0, mask, method.mask_token) for image in (batch["image"], changed))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, two, strict=True))
    assert not torch.allclose(method.student(changed)[0], one[0], atol=1e-4)


def test_half_of_the_views_are_masked_within_the_range(made):
    method, _ = made
    view = torch.zeros(2 * 400, 3, 64, 64)  # 64 patches of 8 pixels
    share = method.masks(view, numbered(400)).float().mean(1)
    none = (share == 0).float().mean()
    assert 0.42 < none < 0.58
    assert share[share > 0].min() >= 6 / 64 and share.max() <= 0.5


def test_a_restored_run_goes_on_as_the_uninterrupted_one(made):
    method, batch = made
    for number in range(1, 4):
        step(method, batch, number, number / 10)
    again = build(method.config, 9)
    again.load_state_dict(method.state_dict())
    assert torch.equal(step(method, batch, 4, 0.4), step(again, batch, 4, 0.4))
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())


def test_other_encoders_keep_the_contract_without_the_patch_loss(made):
    method, batch = made
    config = replace(method.config, encoder=ResNet(image=32, base=4, blocks=(1, 1)), patch_loss=0.0)
    assert check_method(build(config), batch)["terms"] == ["views"]
    with pytest.raises(ConfigError, match="patch loss needs patch tokens"):
        replace(config, patch_loss=1.0)
    with pytest.raises(ConfigError, match="views of one size"):
        replace(config, encoder=ConvNet(image=32))
