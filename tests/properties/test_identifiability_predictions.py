"""What papers predict about which latents are recovered, and up to what, holds for our own terms.

Numbers: `pytest -m slow -rP tests/properties/test_identifiability_predictions.py`. The theorem is 4.1 of arXiv
2605.26379: a map h with h(z) ~ N(0, I) that minimizes E |h(z) - h(z')|² over pairs of an isotropic Ornstein-Uhlenbeck
process is a rotation of z.
"""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from armillary.data.latents import Distracted, Mixing, Trajectories, Views, source
from armillary.diagnostics.identifiability import Recovery, recovery
from armillary.functional.decorrelate import variance_covariance
from armillary.functional.regularize import sigreg, unit_directions
from armillary.randomness import numbered

World = Views | Trajectories | Distracted
ROWS, STEPS = 256, 1200
NEAR = (0.95,)  # correlation of two views
WORLDS: dict[str, World] = {
    "gaussian": Views(latents=2, correlation=NEAR),
    "gaussian, other mixing": Views(latents=2, correlation=NEAR, mixing=Mixing(seed=1)),
    "uniform": Views(latents=2, source="uniform", correlation=NEAR),
    "laplace": Views(latents=2, source="laplace", correlation=NEAR),
    "anisotropic": Views(latents=2, correlation=(0.95, 0.5)),
    "policy": Trajectories(latents=2, actions=2, steps=2),
    "constant distractor": Distracted(persistence=1.0),
    "new distractor": Distracted(persistence=0.0),
}


def network(inputs: int, outputs: int, width: int = 64) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, outputs))
    )


def collapse(embeddings: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """What keeps embeddings [2, B, D] apart, with its weight against the distance: SIGReg's, or VICReg's two terms."""
    if kind == "sigreg":
        return sigreg(embeddings, unit_directions(embeddings.shape[-1], 32, generator)) / 9
    hinges, covariances = zip(*map(variance_covariance, embeddings), strict=True)
    return 5 * sum(hinges) + 2 * sum(covariances)  # type: ignore[return-value]


@cache
def trained(name: str, kind: str = "sigreg", actions: bool | None = None, seed: int = 0) -> Recovery:
    """An encoder of 2 outputs, trained on fresh pairs of a world and judged on 4,000 others.

    actions: a predictor stands between the two, and is told the action or not; None: views are compared directly.
    """
    world, generator = WORLDS[name], torch.Generator().manual_seed(seed)
    data = world.batch(numbered(ROWS * STEPS, seed))
    x, told = data["proprio"], data["action"][:, 0] if actions else torch.zeros(ROWS * STEPS, 0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder, predictor = network(x.shape[-1], 2), network(2 + told.shape[1], 2, 32)
    weights = [*encoder.parameters(), *predictor.parameters()]
    optimizer = torch.optim.Adam(weights, 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, STEPS, pct_start=0.1)
    for now, action in zip(x.split(ROWS), told.split(ROWS), strict=True):
        first, second = embeddings = encoder(now.transpose(0, 1))
        guess = first if actions is None else first + predictor(torch.cat([first, action], -1))
        loss = (guess - second).square().mean() + collapse(embeddings, kind, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    test = world.batch(numbered(4000, seed + 1000))
    found = recovery(test["state"][:, 0], encoder(test["proprio"][:, 0]))
    numbers = [*found.r2, found.rotation_r2, found.rotation_gap, found.mcc, found.degrees]
    print(f"{name}, {kind}, actions {actions}: r2, rotation r2, gap, mcc, degrees", *(f"{x:.3f}" for x in numbers))
    return found


def untrained(name: str) -> Recovery:
    test = WORLDS[name].batch(numbered(4000, 1000))
    return recovery(test["state"][:, 0], test["proprio"][:, 0])


def gaussian_limit(x: Tensor) -> float:
    """The largest R² between samples [n] and any Gaussian variable: that of its quantiles, in the same order."""
    ranks = (torch.arange(len(x), dtype=torch.float64) + 0.5) / len(x)
    both = torch.stack([x.double().sort().values, torch.special.ndtri(ranks)])
    return float(torch.corrcoef(both)[0, 1]) ** 2


def test_a_gaussian_code_of_uniform_latents_cannot_be_linear():
    """If h ~ N(0, I), so is each w h: R² <= (E F^-1(Phi(g)) g)², by comonotone coupling; 3 / pi for uniform ones."""
    limits = {of: gaussian_limit(source(numbered(200_000), "x", of=of)) for of in ("gaussian", "uniform", "laplace")}
    assert limits["gaussian"] > 0.9999
    assert limits["uniform"] == pytest.approx(3 / math.pi, abs=2e-3)
    assert limits["laplace"] == pytest.approx(0.961, abs=5e-3)


def test_the_objective_does_not_know_a_rotation():
    """So none is recovered but by accident: what is identified is identified up to rotation only."""
    one, two = (
        Views(latents=2).batch(numbered(500))["state"] @ torch.tensor([[1.0, -1.0], [1.0, 1.0]]) / 2**0.5
    ).unbind(1)
    z = Views(latents=2).batch(numbered(500))["state"]
    directions = unit_directions(2, 32, torch.Generator().manual_seed(0))
    turned = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) @ directions / 2**0.5
    torch.testing.assert_close((one - two).square().mean(), (z[:, 0] - z[:, 1]).square().mean())
    torch.testing.assert_close(sigreg(one, turned), sigreg(z[:, 0], directions))
    assert recovery(z[:, 0], one).mcc < 0.8 < recovery(z[:, 0], one).rotation_r2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian", "gaussian, other mixing"])
def test_gaussian_latents_are_recovered_up_to_a_rotation(name):
    found = trained(name)
    assert found.mean_r2 > 0.98 and found.rotation_r2 > 0.98 and found.rotation_gap < 0.005
    assert untrained(name).rotation_r2 < 0.9


@pytest.mark.slow
def test_gaussian_latents_are_not_recovered_one_by_one():
    assert min(trained(name).mcc for name in ("gaussian", "gaussian, other mixing")) < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uniform", "laplace"])
def test_latents_that_are_not_gaussian_are_recovered_no_further_than_a_gaussian_code_can(name):
    limit = gaussian_limit(WORLDS[name].batch(numbered(100_000, 1))["state"][:, 0, 0])
    assert limit < 0.975
    assert trained(name).mean_r2 < limit + 0.005 < trained("gaussian").mean_r2


@pytest.mark.slow
def test_latents_of_unequal_correlation_are_not_recovered():
    """A function of degree 2 of the slow latent aligns better, 0.95², than the fast latent itself, 0.5."""
    assert trained("anisotropic").mean_r2 < 0.7
    second_order = trained("anisotropic", "vicreg")
    assert second_order.r2[0] > 0.9 and second_order.r2[1] < 0.1
    assert min(trained("gaussian", "vicreg").r2) > 0.9  # by the same terms, with equal correlations


@pytest.mark.slow
def test_states_that_a_policy_shapes_are_recovered_less():
    assert trained("policy").mean_r2 < trained("gaussian").mean_r2 - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("actions", [False, True])
def test_a_constant_distractor_is_learned_instead_of_what_actions_move(actions):
    """Sobal et al. (arXiv 2211.10831): so with VICReg's terms, though the predictor is told the action."""
    found = trained("constant distractor", "vicreg", actions)
    assert max(found.r2[:2]) < 0.1 and min(found.r2[2:]) > 0.5


@pytest.mark.slow
def test_a_distractor_that_is_new_in_each_frame_is_ignored():
    """Sobal et al. (arXiv 2211.10831): JEPAs do well when the noise changes every time step."""
    found = trained("new distractor", "vicreg", True)
    assert min(found.r2[:2]) > 0.9 and max(found.r2[2:]) < 0.1
