"""Each frame is expected from the true frames before it, no more of them than the history."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ShapeError
from armillary.methods.control import lewm, pldm
from armillary.planning.one_step import expected


@pytest.mark.parametrize("method", [lewm, pldm])
@pytest.mark.parametrize("history", [1, 2])
def test_expectations_are_steps_from_what_was_seen(method, history):
    model, batch = method.tiny()
    model.eval()
    found = expected(model, batch, history)
    assert found.predicted.shape == found.came.shape == found.before.shape and found.error().shape == (8, 3)
    with torch.no_grad():
        for t in range(1, 4):
            first = max(0, t - history)
            seen = {"image": batch["image"][:, first:t], "action": batch["action"][:, first : t - 1]}
            wanted = model.latent(model.step(model.start(seen), batch["action"][:, t - 1]))
            assert torch.allclose(found.predicted[:, t - 1], wanted, atol=1e-6)
            assert torch.allclose(found.came[:, t - 1], model.latents(batch["image"])[:, t], atol=1e-5)
    assert torch.allclose(found.error(), (found.came - found.predicted).square().sum(2))


def test_no_later_frame_or_action_changes_an_expectation():
    model, batch = pldm.tiny()
    model.eval()
    changed = {"image": batch["image"].clone(), "action": batch["action"].clone()}
    changed["image"][:, 2:] += 1
    changed["action"][:, 1:] += 1
    one, other = expected(model, batch, 2), expected(model, changed, 2)
    assert torch.equal(one.predicted[:, 0], other.predicted[:, 0])
    assert not torch.equal(one.predicted[:, 1], other.predicted[:, 1])


def test_a_single_frame_leaves_nothing_to_expect():
    model, batch = lewm.tiny()
    with pytest.raises(ShapeError, match="at least 2"):
        expected(model, {"image": batch["image"][:, :1], "action": batch["action"][:, :0]})
