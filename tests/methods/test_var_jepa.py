"""Var-JEPA: five terms that are one evidence bound, each latent knowing what it may and no more, no stop-gradient."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from armillary.contracts import build
from armillary.errors import ConfigError
from armillary.functional.gaussian import Gaussian
from armillary.functional.pixels import patchify
from armillary.methods.image import var_jepa
from armillary.nn.teacher import EMA
from armillary.randomness import Random
from armillary.types import Masks

from .test_variational_jepa import NOISY, scores_by_level

PATCH = 8


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(var_jepa, "resized_crop", lambda image, *_, **__: image)
    torch.manual_seed(0)
    return var_jepa.tiny()


def exact(g: Gaussian) -> Normal:
    return Normal(g.mean.double(), (g.log_variance.double() / 2).exp())


def overwritten(image: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The image with noise in the patches at `places` of each row."""
    out = image.clone()
    for row, inside in enumerate(places.flatten(1).tolist()):
        for place in inside:
            top, left = place // 4 * PATCH, place % 4 * PATCH
            out[row, :, top : top + PATCH, left : left + PATCH] = torch.randn(3, PATCH, PATCH)
    return out


def bound_of(method: var_jepa.VarJEPA, image: torch.Tensor, masks: Masks, now: var_jepa.Beliefs) -> torch.Tensor:
    """ELBO of each image and block [B, M], row by row from the model's densities, in float64."""
    pixels = patchify(image, PATCH).double()
    pixels = (pixels - pixels.mean(-1, keepdim=True)) / (pixels.var(-1, keepdim=True) + 1e-6).sqrt()
    std = (10 * (method.noise.double() / 10).tanh() / 2).exp()
    unit = Normal(torch.zeros(()).double(), torch.ones(()).double())
    found = torch.zeros(masks.targets.shape[:2], dtype=torch.float64)
    for b in range(len(image)):
        x = Normal(method.context_decoder(now.s_x[b]).double(), std[0]).log_prob(pixels[b, masks.context[b]]).sum()
        s_x = kl_divergence(exact(now.context), unit)[b].sum()
        z = kl_divergence(exact(now.auxiliary), unit)[b].sum()
        for m in range(found.shape[1]):
            decoded = Normal(method.target_decoder(now.s_y[b, m]).double(), std[1])
            y = decoded.log_prob(pixels[b, masks.targets[b, m]]).sum()
            s_y = kl_divergence(exact(now.target), exact(now.prior))[b, m].sum()
            found[b, m] = x + y - s_x - z - s_y
    return found


def test_energy_is_the_negative_evidence_bound_per_pixel_value(made):
    method, batch = made
    with torch.no_grad():
        method.noise.copy_(torch.tensor([-1.0, 0.5]))
        random = Random(0, 1, batch["index"])
        masks = method.masks(batch, random)
        wanted = -bound_of(method, batch["image"], masks, method.infer(batch["image"], masks, random)).mean()
        observed = (masks.context.shape[1] + masks.targets.shape[2]) * 3 * PATCH**2
        found = method.energy(method.loss(batch, random))
    torch.testing.assert_close(found.double(), wanted / observed, rtol=1e-5, atol=1e-6)
    heavy = build(replace(method.config, likelihood_weight=0.0, kl_weight=2.0))
    assert heavy.weights == {
        "reconstruction": 0.0, "generation": 0.0, "kl_context": 2.0, "kl_auxiliary": 2.0, "kl_target": 2.0
    }  # fmt: skip


def test_gradient_reaches_the_target_encoder_from_the_prediction_alone(made):
    """No stop-gradient and no teacher: the target's posterior is drawn to the prior and the prior to it."""
    method, batch = made
    assert not any(isinstance(module, EMA) for module in method.modules())
    assert all(p.requires_grad for p in method.parameters())
    method.loss(batch, Random(0, 1, batch["index"]))["kl_target"].backward()
    for part in (method.target_encoder, method.encoder, method.predictor, method.target_posterior):
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in part.parameters())
        assert max(p.grad.abs().max() for p in part.parameters()) > 0
    assert method.target_decoder[0].weight.grad is None  # it is of the likelihood


def test_context_and_prior_know_nothing_of_the_targets_pixels(made):
    method, batch = made
    random = Random(0, 1, batch["index"])
    masks = method.masks(batch, random)
    one, two = (method.infer(i, masks, random) for i in (batch["image"], overwritten(batch["image"], masks.targets)))
    for name in ("context", "auxiliary", "prior"):
        torch.testing.assert_close(getattr(one, name).mean, getattr(two, name).mean, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(one.target.mean, two.target.mean, atol=1e-3)


def test_targets_posterior_knows_its_block_and_the_context_and_no_other_patch(made):
    method, batch = made
    random = Random(0, 1, batch["index"])
    masks = method.masks(batch, random)
    before = method.infer(batch["image"], masks, random).target.mean
    known = torch.zeros(8, 16, dtype=torch.bool).scatter(1, masks.context, True).scatter(1, masks.targets[:, 0], True)
    others = [(~row).nonzero().flatten() for row in known]
    image = batch["image"].clone()
    for row, places in enumerate(others):
        image[row] = overwritten(image[row : row + 1], places[None])[0]
    torch.testing.assert_close(method.infer(image, masks, random).target.mean[:, 0], before[:, 0])
    context = method.infer(overwritten(batch["image"], masks.context), masks, random).target.mean
    assert not torch.allclose(context[:, 0], before[:, 0], atol=1e-4)


def test_draws_are_of_the_posteriors_and_means_are_used_without_randomness(made):
    method, batch = made
    random = Random(0, 1, batch["index"])
    masks = method.masks(batch, random)
    drawn, plain = method.infer(batch["image"], masks, random), method.infer(batch["image"], masks, None)
    assert torch.equal(plain.s_x, plain.context.mean) and torch.equal(plain.s_y, plain.target.mean)
    score = (drawn.s_x - drawn.context.mean) / drawn.context.std
    assert score.mean().abs() < 0.1 and abs(score.std().item() - 1) < 0.1
    assert not torch.equal(drawn.s_x, method.infer(batch["image"], masks, Random(0, 2, batch["index"])).s_x)


def test_posterior_collapse_shows_as_divergences_at_zero(made):
    """Where pixels do not count, the bound is best with latents that say nothing, and the terms say so."""
    method, batch = made
    batch = {**batch, "image": batch["image"] * 2}
    seen = {}
    for weight in (0.0, 1.0):
        model = build(replace(method.config, likelihood_weight=weight), 3)
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
        for step in range(1, 51):
            terms = model.loss(batch, Random(0, step, batch["index"]))
            optimizer.zero_grad()
            model.energy(terms).backward()
            optimizer.step()
        spread = model.encode(batch).x.flatten(0, 1).std(0).mean().item()
        kls = [terms[name].item() for name in ("kl_context", "kl_auxiliary", "kl_target")]
        seen[weight] = (sum(kls), spread)
        assert all(value >= 0 for value in kls)
    assert seen[0.0][0] < 1e-3 and seen[0.0][1] < 0.05
    assert seen[1.0][0] > 20 * seen[0.0][0] and seen[1.0][1] > 5 * seen[0.0][1]


def test_distribution_is_the_prior_and_forecast_its_mean(made):
    method, batch = made
    random = Random(0, 0, batch["index"])
    now = method.infer(batch["image"], method.masks(batch, random), random)
    mean, std, target = method.distribution(batch, random)
    assert torch.equal(mean, now.prior.mean.flatten(0, 2)) and torch.equal(target, now.s_y.flatten(0, 2))
    torch.testing.assert_close(std.double(), exact(now.prior).stddev.flatten(0, 2))
    plain = method.infer(batch["image"], method.masks(batch, random), None)
    forecast = method.forecast(batch, random)
    assert torch.equal(forecast.predicted, plain.prior.mean.flatten(0, 2))
    assert torch.equal(forecast.target, plain.target.mean.flatten(0, 2))


def test_predicted_std_grows_with_the_noise_and_intervals_cover():
    config = var_jepa.Config(
        NOISY, latent=8, auxiliary=4, predictor_width=32, predictor_depth=1, predictor_heads=2, hidden=32,
        crop_scale=(1.0, 1.0),
    )  # fmt: skip
    std, inside, r2 = scores_by_level(config, 300)
    assert std == sorted(std) and std[3] > 1.03 * std[0] and r2 > 0.4
    assert 0.85 < sum(inside) / 4 < 0.95


def test_impossible_settings_are_refused():
    for wrong in ({"latent": 0}, {"kl_weight": -1.0}, {"likelihood_weight": math.inf}, {"crop_scale": (1.0, 0.3)}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            var_jepa.Config(**wrong)
