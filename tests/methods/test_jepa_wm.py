"""JEPA-WM: two weighted terms, rollouts from any frame of the window, gradients cut where a prediction is fed back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from armillary.contracts import build, check_method
from armillary.methods.control import jepa_wm
from armillary.randomness import Random


@pytest.fixture
def made():
    torch.manual_seed(0)
    method, batch = jepa_wm.tiny()
    return build(replace(method.config, proprio=3)), batch, Random(0, 1, batch["index"])


def far(predicted: np.ndarray, target: np.ndarray) -> float:
    gap = (predicted - target) ** 2
    return gap[..., :16].mean() + gap[..., 16:].mean()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_terms_are_those_of_the_card_in_float64(made, steps):
    """Written again from the formulas, one frame after the other, on the predictor of the model."""
    method, batch, random = made
    method = build(replace(method.config, rollout=steps))
    found = {name: float(value.detach()) for name, value in method.loss(batch, random).items()}
    with torch.no_grad():
        z, a = method.latents(batch), batch["action"]
        target, h = z.double().numpy(), method.config.history
        forced = [method.predict(z[:, : t + 1], a[:, : t + 1])[:, -1] for t in range(3)]
        assert found["prediction"] == pytest.approx(
            np.mean([far(p.double().numpy(), target[:, t + 1]) for t, p in enumerate(forced)]), rel=1e-4
        )
        if steps == 1:
            assert found.keys() == {"prediction"} == method.weights.keys()
            return
        first = int(torch.randint(4 - steps, (1,), generator=random.shared("prefix")))
        frames, distances = [*z[:, : first + 1].unbind(1), forced[first]], []
        for t in range(first + 1, first + steps):
            frames.append(method.predict(torch.stack(frames[-h:], 1), a[:, max(0, t + 1 - h) : t + 1])[:, -1])
            distances.append(far(frames[-1].double().numpy(), target[:, t + 1]))
    assert found["rollout"] == pytest.approx(np.mean(distances), rel=1e-4)
    assert method.weights == pytest.approx({"prediction": 1 / (steps + 1), "rollout": 1 / steps})
    check_method(method, batch)


def test_rollouts_begin_at_every_frame_that_leaves_room(made):
    method, batch, _ = made
    seen = {int(torch.randint(2, (1,), generator=Random(0, step, batch["index"]).shared("prefix")))
            for step in range(20)}  # fmt: skip
    values = {float(method.loss(batch, Random(0, step, batch["index"]))["rollout"].detach()) for step in range(20)}
    assert seen == {0, 1} and len(values) == 2


def test_no_gradient_flows_through_a_prediction_that_is_fed_back(made):
    method, batch, random = made
    weight = method.predictor.out.weight
    found = torch.autograd.grad(method.loss(batch, random)["rollout"], weight)[0]
    z, a = method.latents(batch), batch["action"]
    first = int(torch.randint(2, (1,), generator=random.shared("prefix")))
    fed = method.predict(z[:, :-1], a)[:, first : first + 1]

    def gradient(fed):
        seen = torch.cat([z[:, : first + 1], fed], 1)[:, -2:]
        out = method.predict(seen, a[:, : first + 2][:, -2:])[:, -1:]
        return torch.autograd.grad(method.distance(out, z[:, first + 2 : first + 3].detach()), weight)[0]

    torch.testing.assert_close(found, gradient(fed.detach()), rtol=1e-4, atol=1e-7)
    assert not torch.allclose(found, gradient(fed), rtol=1e-2, atol=1e-6)


def test_an_action_modulates_and_without_modulation_nothing_passes(made):
    method, batch, _ = made
    with torch.no_grad():
        z, a = method.latents(batch)[:, :2], batch["action"][:, :2]
        assert (method.predict(z, a) - method.predict(z, -a)).abs().max() > 1e-2
        for block in method.predictor.blocks:
            block.modulation.weight.zero_()
        torch.testing.assert_close(method.predict(z, a), method.predict(z, -a))
        mixed = z[:, :, [1, 0, 2, 3]]  # all gates are shut: patches no longer see each other
        torch.testing.assert_close(method.predict(mixed, a), method.predict(z, a)[:, :, [1, 0, 2, 3]])
