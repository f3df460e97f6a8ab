"""Distillation losses equal slow loops, teach the student only, and average as the released codes do."""

from __future__ import annotations

import math

import pytest
import torch

from armillary.errors import ShapeError
from armillary.functional.distill import (
    centered_cross_entropy,
    masked_cross_entropy,
    new_center,
    sharpened,
    sinkhorn_knopp,
    teacher_temperature,
    views_cross_entropy,
)
from armillary.randomness import numbered

ROWS, K = 5, 7


def logits(views: int, seed: int) -> torch.Tensor:
    return numbered(views * ROWS, seed).normal("logits", K).view(views, ROWS, K).requires_grad_()


def test_dino_equals_the_loop_over_pairs_of_different_views():
    student, teacher, center = logits(4, 0), logits(2, 1), torch.linspace(-1, 1, K)
    total, pairs = torch.zeros(()), 0
    for g in range(2):
        target = ((teacher[g] - center) / 0.05).softmax(-1)
        for v in range(4):
            if v != g:
                total = total - (target * (student[v] / 0.2).log_softmax(-1)).sum(-1).mean()
                pairs += 1
    assert pairs == 6
    torch.testing.assert_close(centered_cross_entropy(student, teacher, center, 0.2, 0.05), total / pairs)


def test_the_teacher_gets_no_gradient_and_every_student_view_gets_one():
    student, teacher = logits(4, 0), logits(2, 1)
    centered_cross_entropy(student, teacher, torch.zeros(K)).backward()
    assert teacher.grad is None
    assert student.grad is not None and (student.grad.flatten(1).norm(dim=1) > 0).all()


def test_a_view_is_not_compared_with_itself():
    student, teacher = logits(2, 0).detach(), logits(2, 1).detach()
    student.requires_grad_()
    target = sharpened(teacher, torch.zeros(K), 0.04)
    crossed = -(target.flip(0) * (student / 0.1).log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(centered_cross_entropy(student, teacher, torch.zeros(K)), crossed)


def test_the_center_removes_what_all_rows_share():
    teacher, shared = logits(2, 1).detach(), 3 * torch.linspace(-1, 1, K)
    torch.testing.assert_close(sharpened(teacher + shared, shared, 0.04), sharpened(teacher, torch.zeros(K), 0.04))


def test_the_center_after_many_equal_batches_is_their_mean_in_closed_form():
    teacher, center = logits(2, 1).detach(), torch.zeros(K)
    for _ in range(5):
        center = new_center(center, teacher, 0.8)
    torch.testing.assert_close(center, (1 - 0.8**5) * teacher.mean((0, 1)))
    assert not center.requires_grad


def test_ibot_averages_masked_patches_per_image_and_then_images():
    student, teacher, center = logits(4, 0), logits(4, 1), torch.linspace(0, 1, K)
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0]]).bool()
    image = []
    for s, t, m in zip(student, teacher, mask, strict=True):
        each = -(((t - center) / 0.04).softmax(-1) * (s / 0.1).log_softmax(-1)).sum(-1)
        image.append(each[m].mean() if m.any() else torch.zeros(()))
    found = masked_cross_entropy(student, teacher, mask, center)
    torch.testing.assert_close(found, torch.stack(image).mean())
    found.backward()
    assert student.grad is not None and teacher.grad is None
    assert (student.grad[~mask] == 0).all() and (student.grad[mask].norm(dim=-1) > 0).all()


def test_sinkhorn_uses_all_prototypes_equally_where_softmax_collapses():
    teacher = numbered(64).normal("t", 8) + torch.tensor([9.0] + [0.0] * 7)
    assert sharpened(teacher, torch.zeros(8), 0.5).mean(0)[0] > 0.99
    assignment = sinkhorn_knopp(teacher, 0.5, iterations=50)
    torch.testing.assert_close(assignment.sum(1), torch.ones(64))
    torch.testing.assert_close(assignment.mean(0), torch.full((8,), 1 / 8), atol=1e-3, rtol=0)


def test_sinkhorn_equals_alternating_normalization_of_the_exponentials():
    teacher = numbered(6).normal("t", 4)
    q = torch.exp(teacher.double() / 0.5).T
    q /= q.sum()
    for _ in range(3):
        q /= q.sum(1, keepdim=True) * 4
        q /= q.sum(0, keepdim=True) * 6
    torch.testing.assert_close(sinkhorn_knopp(teacher, 0.5).double(), (q * 6).T, rtol=1e-4, atol=1e-6)


def test_sinkhorn_survives_low_temperatures():
    assert sinkhorn_knopp(30 * numbered(8).normal("t", 5), 0.02).isfinite().all()


def test_sinkhorn_assignments_are_targets_of_the_views():
    student, teacher = logits(3, 0), logits(2, 1)
    target = sinkhorn_knopp(teacher.flatten(0, 1)).unflatten(0, (2, ROWS))
    views_cross_entropy(student, target).backward()
    assert teacher.grad is None and student.grad is not None


def test_uniform_logits_cost_the_logarithm_of_the_prototypes():
    same = torch.zeros(2, ROWS, K)
    assert centered_cross_entropy(same, same, torch.zeros(K)).item() == pytest.approx(math.log(K), rel=1e-5)


def test_the_temperature_rises_in_a_line_and_stays():
    found = [float(teacher_temperature(torch.tensor(x))) for x in (0.0, 0.15, 0.3, 1.0)]
    assert found == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert float(teacher_temperature(torch.tensor(0.0), warmup=0.0)) == pytest.approx(0.07)


def test_shapes_that_do_not_fit_are_refused(unchecked):
    with pytest.raises(ShapeError, match="at least 2 views"):
        centered_cross_entropy(logits(1, 0), logits(1, 1), torch.zeros(K))
    with pytest.raises(ShapeError, match="at least 2 views"):
        centered_cross_entropy(logits(2, 0), logits(3, 1), torch.zeros(K))
    with pytest.raises(ShapeError, match="center"):
        centered_cross_entropy(logits(2, 0), logits(2, 1), torch.zeros(1, K))
    with pytest.raises(ShapeError, match="mask"):
        masked_cross_entropy(logits(2, 0), logits(2, 1), torch.ones(2, ROWS + 1).bool(), torch.zeros(K))
