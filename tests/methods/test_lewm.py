"""LeWM folded for planning: a copy in evaluation that is not trained, in float32 or bfloat16."""

from __future__ import annotations

import copy

import pytest
import torch

from armillary.contracts import check_dynamics, check_method
from armillary.errors import ShapeError
from armillary.methods.control import lewm
from armillary.planning.rollout import rollout
from armillary.randomness import Random


@pytest.fixture
def made():
    torch.manual_seed(0)
    method, batch = lewm.tiny()
    with torch.no_grad():
        for block in method.predictor.blocks:
            torch.nn.init.normal_(
                block.get_parameter("modulation.weight")
            )  # as drawn they are 0, and actions do nothing
    return method, batch


def context(batch):
    return {"image": batch["image"][:, :2], "action": batch["action"][:, :1]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folded_dynamics_keep_the_contract(made, dtype):
    method, batch = made
    check_dynamics(method.eval().folded(dtype), context(batch), batch["action"][:, 1])


@torch.no_grad()
def test_folded_steps_are_its_rollouts_and_grow_the_history_as_the_method_does(made):
    method, batch = made
    fast = method.eval().folded()
    for frames in (1, 2):
        state = method.start({"image": batch["image"][:, :frames], "action": batch["action"][:, : frames - 1]})
        found = wanted = state
        for action in batch["action"].unbind(1):
            found, wanted = fast.step(found, action), method.step(wanted, action)
            assert [x.shape for x in found] == [x.shape for x in wanted]
            assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, wanted, strict=True))
        torch.testing.assert_close(rollout(fast, state, batch["action"])[:, -1], fast.latent(found))


@torch.no_grad()
def test_bfloat16_is_nearer_than_autocast(made):
    method, batch = made
    state = method.eval().start(context(batch))
    exact = rollout(method, state, batch["action"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        usual = rollout(method, state, batch["action"])
        under = rollout(method.folded(), state, batch["action"])
    folded = rollout(method.folded(torch.bfloat16), state, batch["action"])
    assert folded.dtype == torch.float32
    assert 0 < (folded - exact).square().mean() < 0.5 * (usual - exact).square().mean()
    assert torch.allclose(under, exact, atol=1e-5), "the type of products is what `folded` was given"


def test_folding_is_a_copy_in_evaluation_and_leaves_the_method_alone(made):
    method, batch = made
    method.train()
    state, before = method.start(context(batch)), copy.deepcopy(method.state_dict())
    fast = method.folded()
    found = rollout(fast, state, batch["action"])
    with torch.no_grad():
        wanted = rollout(copy.deepcopy(method).eval(), state, batch["action"])
    torch.testing.assert_close(found.detach(), wanted)
    assert method.training and all(torch.equal(v, before[k]) for k, v in method.state_dict().items())
    with torch.no_grad():
        for parameter in method.predictor.parameters():
            parameter.zero_()
    assert torch.equal(rollout(fast, state, batch["action"]), found)


def test_folding_does_not_touch_training(made):
    method, batch = made
    random = Random(0, 1, batch["index"])
    before = method.loss(batch, random)
    method.folded()
    after = method.loss(batch, random)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    check_method(method, batch)


def test_what_does_not_fit_is_named(made):
    method, batch = made
    fast = method.eval().folded()
    z, past = method.start(context(batch))
    with pytest.raises(ShapeError, match=r"5 numbers.*frame_skip"):
        fast.rollouts((z, past), torch.zeros(8, 1, 2, 5))
    with pytest.raises(ShapeError, match="at most 2 latents"):
        fast.rollouts((torch.cat([z, z], 1), past), torch.zeros(8, 1, 2, 4))
    with pytest.raises(ShapeError, match="candidates for 3 histories, 8 histories"):
        fast.rollouts((z, past), torch.zeros(3, 1, 2, 4))
    with pytest.raises(ShapeError, match="one action less"):
        fast.rollouts((z, past[:, :0]), torch.zeros(8, 1, 2, 4))
