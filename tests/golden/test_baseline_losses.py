"""Losses of the rivals equal the released ones: MoCo v3, SimSiam, DINO with its center, MAE with its masks."""

from __future__ import annotations

import pytest
import torch

from armillary.functional.contrast import info_nce, negative_cosine
from armillary.functional.distill import centered_cross_entropy, new_center
from armillary.functional.pixels import masked_pixel_loss, patchify
from armillary.types import gather
from armillary.views.subsets import split_by

from .fixture import close, golden

NAME = "image-video/baseline_losses"


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_moco_v3_adds_both_directions(temperature):
    t, _ = golden(NAME)
    one, two = t["in/z1"], t["in/z2"]
    found = info_nce(one, two, temperature) + info_nce(two, one, temperature)
    close(found, t[f"out/moco_v3/loss_T{temperature}"])


def test_simsiam_is_half_the_sum_of_both_directions():
    t, _ = golden(NAME)
    one, two = t["in/z1"], t["in/z2"]
    close((negative_cosine(one, two) + negative_cosine(two, one)) / 2, t["out/simsiam/loss"])


def test_dino_uses_the_center_of_the_steps_before():
    t, _ = golden(NAME)
    student, teacher = (
        t["in/dino/student_logits"].unflatten(0, (4, -1)),
        t["in/dino/teacher_logits"].unflatten(0, (2, -1)),
    )
    center = torch.zeros(student.shape[-1])
    close(centered_cross_entropy(student, teacher, center), t["out/dino/loss_epoch0"])
    center = new_center(center, teacher)
    close(center, t["out/dino/center_after1"])
    close(centered_cross_entropy(student, teacher, center, 0.1, 0.07), t["out/dino/loss_epoch45_second_call"])


def test_mae_cuts_patches_and_splits_tokens_alike():
    t, _ = golden(NAME)
    close(patchify(t["in/mae/imgs"], 4), t["out/mae/patchify"], rtol=0, atol=0)
    visible, hidden = split_by(t["in/mae/noise"], 4)
    assert torch.equal(torch.cat([visible, hidden], 1).argsort(1), t["out/mae/ids_restore"])
    close(gather(t["in/mae/tokens"], visible), t["out/mae/kept_tokens"], rtol=0, atol=0)
    close(torch.zeros(2, 16).scatter(1, hidden, 1.0), t["out/mae/random_mask"], rtol=0, atol=0)


@pytest.mark.parametrize("normalize", [False, True])
def test_mae_averages_over_hidden_patches(normalize):
    t, _ = golden(NAME)
    patches, mask = patchify(t["in/mae/imgs"], 4), t["in/mae/mask"].bool()
    close(masked_pixel_loss(t["in/mae/pred"], patches, mask, normalize), t[f"out/mae/loss_normpix{int(normalize)}"])
