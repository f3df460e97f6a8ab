"""PLDM: unrolled from one frame, one norm for latents and predictions, gradients to both, actions that latents tell."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from armillary.contracts import build, check_dynamics, check_method
from armillary.errors import ConfigError, ShapeError
from armillary.functional.trajectory import moments
from armillary.methods.control import pldm
from armillary.nn.encoder import ViT
from armillary.planning.rollout import rollout
from armillary.randomness import Random


@pytest.fixture
def made():
    torch.manual_seed(0)
    method, batch = pldm.tiny()
    return method, batch, Random(0, 1, batch["index"])


def test_gradient_reaches_the_targets(made):
    """Frames after the first are targets of the predictions and nothing else."""
    method, batch, random = made
    image = batch["image"].clone().requires_grad_()
    method.loss({**batch, "image": image}, random)["prediction"].backward()
    assert image.grad is not None
    assert all(image.grad[:, t].abs().max() > 0 for t in range(image.shape[1]))


def test_gradient_of_the_targets_is_that_of_the_squared_error(made):
    method, batch, _ = made
    z = method.latents(batch["image"]).detach().requires_grad_()
    predicted, target = method.unrolled(z, batch["action"])
    (predicted - target).square().mean().backward()
    expected = 2 * (target - predicted).detach() / target.numel()
    assert z.grad is not None and torch.allclose(z.grad[:, 1:], expected, atol=1e-7)


def test_there_is_no_teacher_and_nothing_is_frozen(made):
    method, batch, _ = made
    assert check_method(method, batch)["teacher"] == 0
    assert all(p.requires_grad for p in method.parameters())


def test_predictions_see_the_first_frame_and_the_actions_before_them(made):
    method, batch, _ = made
    with torch.no_grad():
        z = method.latents(batch["image"])
        predicted = method.unrolled(z, batch["action"])[0]
        later = torch.cat([z[:, :1], torch.randn(z[:, 1:].shape)], 1)
        assert torch.equal(method.unrolled(later, batch["action"])[0], predicted)
        action = batch["action"].clone()
        action[:, 1] += 1.0
        moved = (method.unrolled(z, action)[0] - predicted).abs().amax((0, 2))
    assert moved[0] == 0 and moved[1] > 1e-3 and moved[2] > 1e-3


@pytest.mark.parametrize("predictor", ["gru", "mlp"])
def test_unroll_in_training_is_the_rollout_of_planning(made, predictor):
    method, batch, _ = made
    method = build(replace(method.config, predictor=predictor)).eval()
    with torch.no_grad():
        start = method.start({"image": batch["image"][:, :1], "action": batch["action"][:, :0]})
        found = rollout(method, start, batch["action"])
        predicted, target = method.unrolled(method.latents(batch["image"]), batch["action"])
    assert torch.allclose(found, predicted, atol=1e-6)
    assert torch.allclose(target, method.encode(batch).x[:, 1:], atol=1e-6)


def test_one_norm_scales_latents_and_predictions(made):
    method, batch, _ = made
    with torch.no_grad():
        method.norm.weight.zero_()
        method.norm.bias.copy_(torch.arange(16.0))
        z = method.latents(batch["image"])
        predicted, _ = method.unrolled(z, batch["action"])
    assert torch.equal(z, torch.arange(16.0).expand_as(z)) and torch.equal(predicted, z[:, 1:])
    assert len([name for name in method.state_dict() if "norm.weight" in name and "encoder" not in name]) == 1


def test_terms_are_those_of_the_card_in_float64(made):
    """Written again in numpy from the card's formulas, on the latents and predictions of the model."""
    method, batch, random = made
    with torch.no_grad():
        z = method.latents(batch["image"])
        predicted = method.unrolled(z, batch["action"])[0].double().numpy()
        told = method.inverse(torch.cat([z[:, :-1], z[:, 1:]], -1)).double().numpy()
        found = {name: float(value) for name, value in method.loss(batch, random).items()}
    z, action = z.double().numpy(), batch["action"].double().numpy()
    c = np.cov(z[:, 0].T)
    beside = ~np.eye(len(c), dtype=bool)
    assert found == pytest.approx(
        {
            "prediction": np.mean((predicted - z[:, 1:]) ** 2),
            "variance": np.mean(np.maximum(0, 1 - np.sqrt(np.diag(c) + 1e-4))),
            "covariance": np.mean(c[beside] ** 2),
            "time_variance": np.mean(np.maximum(0, 1 - np.sqrt(np.var(z[:, 1:], 1, ddof=1) + 1e-4))),
            "time_similarity": np.mean(np.diff(z, axis=1) ** 2),
            "inverse_dynamics": np.mean((told - action) ** 2),
        },
        rel=1e-4,
    )
    energy = sum(value * method.weights[name] for name, value in found.items())
    assert float(method.energy(method.loss(batch, random)).detach()) == pytest.approx(energy, rel=1e-5)


def test_inverse_dynamics_makes_latents_tell_actions(made):
    """An action that the frames show can be learned from them; one that they do not show cannot, on other rows."""
    method = made[0]
    draw = torch.Generator().manual_seed(1)

    def shown(rows: int) -> dict[str, torch.Tensor]:
        action = torch.randn(rows, 3, 4, generator=draw)
        level = torch.cat([torch.zeros(rows, 1), action[..., 0].cumsum(1)], 1)  # the first number moves the brightness
        image = level[..., None, None, None].expand(-1, -1, 3, 16, 16) + torch.linspace(-1, 1, 16)
        return {"index": torch.arange(rows), "image": image.clone(), "action": action}

    optimizer, train = torch.optim.AdamW(method.parameters(), lr=5e-3), shown(128)
    for _ in range(60):
        z = method.latents(train["image"])
        error = (method.inverse(torch.cat([z[:, :-1], z[:, 1:]], -1)) - train["action"]).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    test = shown(128)
    with torch.no_grad():
        z = method.latents(test["image"])
        errors = (method.inverse(torch.cat([z[:, :-1], z[:, 1:]], -1)) - test["action"]).square().mean((0, 1))
    assert errors[0] < 0.6 and errors[1:].min() > 0.9, errors


def test_moments_follow_the_setting(made):
    method, batch, random = made
    found = {}
    for samples in ("first", "each", "all"):
        other = build(replace(method.config, samples=samples), seed=3)
        terms, z = other.loss(batch, random), other.latents(batch["image"])
        found[samples] = float(terms["covariance"].detach())
        assert found[samples] == pytest.approx(float(moments(z, samples)[1].detach()))
    assert len({round(value, 5) for value in found.values()}) == 3


def test_eb_jepa_weighs_the_same_terms_otherwise(made):
    method, batch, random = made
    other = build(replace(method.config, weights=pldm.EB_JEPA, samples="all", rollout=2))
    terms = other.loss(batch, random)
    assert asdict(pldm.EB_JEPA).keys() == terms.keys() == method.weights.keys()
    assert other.weights != method.weights
    expected = terms["prediction"] + 16 * terms["variance"] + 8 * terms["covariance"] + 12 * terms["time_similarity"]
    torch.testing.assert_close(other.energy(terms), expected + terms["inverse_dynamics"])


def test_rollout_limits_predictions_and_not_the_other_terms(made):
    method, batch, random = made
    full, short = (build(replace(method.config, rollout=rollout), seed=2) for rollout in (0, 1))
    assert full.forecast(batch, random).predicted.shape == (8 * 3, 16)
    assert short.forecast(batch, random).predicted.shape == (8, 16)
    one, two = full.loss(batch, random), short.loss(batch, random)
    assert all(torch.equal(one[name], two[name]) for name in one if name != "prediction")


@pytest.mark.parametrize("change", [
    {"predictor": "mlp"}, {"encoder": ViT(image=16, patch=8, width=16, depth=1, heads=2)}, {"samples": "all"},
])  # fmt: skip
def test_other_parts_keep_the_contracts(made, change):
    method, batch, _ = made
    other = build(replace(method.config, **change))
    check_method(other, batch)
    context = {"image": batch["image"][:, :2], "action": batch["action"][:, :1]}
    check_dynamics(other.eval(), context, batch["action"][:, 1])


def test_what_does_not_fit_is_named(made):
    method, batch, random = made
    with pytest.raises(ShapeError, match=r"5 numbers.*frame_skip"):
        method.step((torch.zeros(2, 16),), torch.zeros(2, 5))
    with pytest.raises(ShapeError, match="1 frames"):
        method.loss({**batch, "image": batch["image"][:, :1]}, random)
    with pytest.raises(ShapeError, match="rollout of 3"):
        method.loss({**batch, "action": batch["action"][:, :2]}, random)
    with pytest.raises(ShapeError, match="rollout of 9"):
        build(replace(method.config, rollout=9)).loss(batch, random)
    with pytest.raises(ShapeError, match="longer windows"):
        method.loss({**batch, "image": batch["image"][:, :2]}, random)
    with pytest.raises(ConfigError, match="width is 0"):
        pldm.Config(width=0)
    with pytest.raises(ConfigError, match="covariance is -1"):
        pldm.Weights(covariance=-1)
