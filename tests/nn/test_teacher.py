"""The teacher: closed form after n steps, never a gradient, always in evaluation."""

from __future__ import annotations

import torch
from torch import nn

from armillary.nn.teacher import EMA


def test_average_has_its_closed_form_after_n_steps():
    source = nn.Linear(3, 3)
    teacher, first = EMA(source), source.weight.detach().clone()
    with torch.no_grad():
        source.weight.add_(1.0)
    for _ in range(10):
        teacher.update(source, 0.9)
    wanted = first + (1 - 0.9**10)
    torch.testing.assert_close(teacher.module.weight, wanted)


def test_teacher_records_no_gradient_and_stays_in_evaluation():
    teacher = EMA(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.9))).train()
    assert not teacher.module.training
    assert not teacher(torch.ones(2, 3, requires_grad=True)).requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())


def test_buffers_are_copied():
    source = nn.BatchNorm1d(3)
    teacher = EMA(source)
    source(torch.randn(8, 3) + 5)
    teacher.update(source, 0.99)
    assert torch.equal(teacher.module.running_mean, source.running_mean)
