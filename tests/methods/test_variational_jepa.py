"""VJEPA: equation 11 in closed form, a teacher without gradient, standard deviations that follow the noise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from armillary.contracts import Method, build
from armillary.errors import ConfigError
from armillary.functional.gaussian import Gaussian, cross_entropy, kl, product, standard
from armillary.methods.image import variational_jepa
from armillary.nn.encoder import ViT
from armillary.randomness import Random

LEVELS = (0.0, 0.3, 0.6, 1.0)
NOISY = ViT(image=16, patch=4, width=32, depth=1, heads=2, channels=1, init="xavier")


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(variational_jepa, "resized_crop", lambda image, *_, **__: image)
    torch.manual_seed(0)
    return variational_jepa.tiny()


def exact(g: Gaussian) -> Normal:
    return Normal(g.mean.double(), (g.log_variance.double() / 2).exp())


def noisy(seed: int, step: int, rows: int) -> dict[str, torch.Tensor]:
    """A wave with one phase in all patches of an image, and noise: row i has LEVELS[i % 4] of it, variance 1 in all."""
    random = Random(seed, step, torch.arange(rows))
    phase = 2 * math.pi * random.uniform("phase", 1)
    wave = math.sqrt(2) * (torch.arange(16) * (math.pi / 2) + phase).sin()[:, None, None].expand(-1, 1, 16, -1)
    level = torch.tensor(LEVELS).repeat(rows // 4)[:, None, None, None]
    image = wave * (1 - level**2).sqrt() + level * random.normal("noise", 1, 16, 16)
    return {"index": random.sample, "image": image}


def scores_by_level(config: object, steps: int = 200) -> tuple[list[float], list[float], float]:
    """Mean predicted std and coverage of the 90 % interval per level of noise, and R2, after training on `noisy`."""
    method = build(config, 1).train()
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(1, steps + 1):
        batch = noisy(0, step, 32)
        optimizer.zero_grad()
        method.energy(method.loss(batch, Random(0, step, batch["index"]))).backward()
        optimizer.step()
        method.after_step((step - 1) / steps)
    batch = noisy(1, 0, 128)
    with torch.no_grad():
        mean, std, target = method.eval().distribution(batch, Random(1, 0, batch["index"]))  # type: ignore[operator]
    r2 = 1 - (target - mean).square().mean() / target.var(0).mean()
    inside = ((target - mean).abs() < 1.645 * std).float()
    by_level = [x.view(32, 4, -1).mean((0, 2)).tolist() for x in (std, inside)]
    return by_level[0], by_level[1], r2.item()


def test_terms_equal_quadrature_over_the_targets_distribution(made):
    method, batch = made
    random = Random(0, 1, batch["index"])
    terms = method.loss(batch, random)
    p, q = method.predict(batch["image"], method.masks(batch, random))
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.hermite_e.hermegauss(3))
    z = exact(q).mean[..., None] + exact(q).stddev[..., None] * nodes
    log = (Normal(exact(p).mean[..., None], exact(p).stddev[..., None]).log_prob(z) * weights).sum(-1) / weights.sum()
    unit = Normal(torch.zeros(32).double(), torch.ones(32).double())
    wanted = {
        "prediction": -log.mean(),
        "kl_prior": kl_divergence(exact(q), unit).mean(),
        "kl_expert": kl_divergence(exact(p), exact(method.expert)).mean(),
    }
    assert terms.keys() == wanted.keys() == method.weights.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name].double(), value, rtol=1e-4, atol=1e-5)


def test_prediction_is_the_mean_over_draws_of_algorithm_1(made):
    method, batch = made
    p, q = method.predict(batch["image"], method.masks(batch, Random(0, 1, batch["index"])))
    generator = torch.Generator().manual_seed(0)
    drawn = [
        -exact(p).log_prob(q.mean + q.std * torch.randn(q.mean.shape, generator=generator)).mean() for _ in range(200)
    ]
    found = method.loss(batch, Random(0, 1, batch["index"]))["prediction"]
    assert found.item() == pytest.approx(torch.stack(drawn).mean().item(), abs=1e-3)


def test_teacher_gets_no_gradient_while_the_targets_variance_does(made):
    method, batch = made
    method.energy(method.loss(batch, Random(0, 1, batch["index"]))).backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert method.target_log_variance.grad.abs().min() > 0
    assert all(p.grad is not None for p in (*method.encoder.parameters(), *method.predictor.parameters()))


def test_targets_are_ijepas(made):
    """Layer-normalized teacher embeddings at the targets, with one variance per feature."""
    method, batch = made
    masks = method.masks(batch, Random(0, 1, batch["index"]))
    _, q = method.predict(batch["image"], masks)
    full = method.teacher(batch["image"]).x.double()
    full = (full - full.mean(-1, keepdim=True)) / (full.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    for row in (0, 5):
        torch.testing.assert_close(q.mean[row, 2].double(), full[row, masks.targets[row, 2]], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(q.std, torch.full_like(q.std, method.config.target_std))
    assert q.log_variance.flatten(0, 2).unique(dim=0).shape[0] == 1


def test_learned_variance_of_the_target_settles_near_beta_times_that_of_the_prediction():
    """With both free, equation 11 is least at v = e^2 + r^2 and r^2 = beta v / (1 + beta v): not at 0, and not at 1."""
    beta, error = 0.05, 0.7
    free = torch.zeros(2, 1, requires_grad=True)
    optimizer = torch.optim.Adam([free], lr=0.05)
    for _ in range(600):
        q, p = Gaussian(torch.full((1,), error), free[0]), Gaussian(torch.zeros(1), free[1])
        value = cross_entropy(q, p).sum() + beta * kl(q, standard(q.mean)).sum()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    r, v = free.detach().exp().flatten().tolist()
    assert v == pytest.approx(error**2 + r, rel=1e-3) and r == pytest.approx(beta * v / (1 + beta * v), rel=1e-3)


def test_without_an_expert_it_is_vjepa_and_with_one_it_predicts_the_product(made):
    method, batch = made
    random = Random(0, 0, batch["index"])
    p, q = method.predict(batch["image"], method.masks(batch, random))
    fused = product(p, method.expert)
    mean, std, target = method.distribution(batch, random)
    torch.testing.assert_close(mean, fused.mean.flatten(0, 2))
    torch.testing.assert_close(std, fused.std.flatten(0, 2))
    assert (std < p.std.flatten(0, 2)).all()
    assert (target - q.mean.flatten(0, 2)).std().item() == pytest.approx(q.std.mean().item(), rel=0.05)
    plain = build(replace(method.config, gamma=0.0), 3)
    assert not any(name.startswith("expert") for name, _ in plain.named_parameters())
    assert plain.weights == {"prediction": 1.0, "kl_prior": 0.01}
    assert torch.equal(plain.believed(p).mean, p.mean)


def test_forecast_is_the_mean_of_the_distribution(made):
    method, batch = made
    random = Random(0, 0, batch["index"])
    mean, std, _ = method.distribution(batch, random)
    forecast = method.forecast(batch, random)
    assert torch.equal(forecast.predicted, mean) and (std > 0).all()
    assert forecast.target.shape == mean.shape == (len(forecast.place), 32)


def test_predicted_std_grows_with_the_noise():
    config = variational_jepa.Config(NOISY, 32, 1, 2, crop_scale=(1.0, 1.0), momentum=(0.99, 1.0))
    std, _, r2 = scores_by_level(config)
    assert std == sorted(std) and std[3] > 2 * std[0] and r2 > 0.5


def test_impossible_settings_are_refused():
    assert issubclass(variational_jepa.VariationalJEPA, Method)
    for wrong in ({"beta": -1.0}, {"gamma": math.nan}, {"target_std": 0.0}, {"momentum": (0.9, 1.1)}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            variational_jepa.Config(**wrong)
