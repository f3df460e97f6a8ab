"""How far a teacher is from its source."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from armillary.diagnostics.teachers import teacher_gap
from armillary.methods.image.ijepa import tiny as ijepa
from armillary.methods.rivals.byol import tiny as byol
from armillary.methods.rivals.simclr import tiny as simclr


@pytest.mark.parametrize(("make", "source"), [(ijepa, "encoder"), (byol, "online")])
def test_the_gap_is_the_relative_distance_of_all_weights(make, source):
    method, _ = make()
    assert teacher_gap(method) == 0
    followed = list(getattr(method, source).parameters())
    before = torch.cat([p.detach().flatten() for p in followed]).clone()
    with torch.no_grad():
        for p in followed:
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    after = torch.cat([p.detach().flatten() for p in followed])
    assert teacher_gap(method) == pytest.approx(float((after - before).norm() / after.norm()), rel=1e-4)


def test_without_a_teacher_there_is_no_gap():
    assert teacher_gap(simclr()[0]) is None and teacher_gap(nn.Linear(2, 2)) is None
