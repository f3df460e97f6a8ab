"""Latents have the distributions and dependences that they are said to have, and observations hide nothing of them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from armillary.data.latents import Distracted, Mixing, Trajectories, Views, orthogonal, source
from armillary.errors import ConfigError, ShapeError
from armillary.randomness import Random, numbered

WORLDS = [
    Views(),
    Views(source="uniform", correlation=(0.9, 0.5, 0.1)),
    Views(source="laplace", latents=1),
    Trajectories(),
    Distracted(steps=4),
]
ROWS = 100_000


def correlation(x: Tensor, y: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([x.flatten(), y.flatten()]).double())[0, 1])


def bent(x: Tensor, slope: float) -> Tensor:
    """The bend of `Mixing`, from its docstring."""
    return (slope * x + (1 - slope) * ((1 + (2 * x).exp()) / 2).log() / 2) * 2 / (1 + slope)


def unbent(y: Tensor, slope: float) -> Tensor:
    low, high = torch.full_like(y, -60.0), torch.full_like(y, 60.0)
    for _ in range(80):
        middle = (low + high) / 2
        above = bent(middle, slope) > y
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


@pytest.mark.parametrize("width", [3, 7])
def test_latents_can_be_read_from_the_observation(width):
    mixing = Mixing(width=width, layers=3, slope=0.2, seed=5)
    z = numbered(200).normal("z", 3)
    x = mixing(z).double() @ orthogonal(width, width, 5, "latents/mixing/last").double()
    for layer in (2, 1, 0):
        x = unbent(x, 0.2) @ orthogonal(width, width if layer else 3, 5, f"latents/mixing/{layer}").double()
    torch.testing.assert_close(x.float(), z, atol=1e-3, rtol=1e-3)


def test_the_mixing_is_not_linear_unless_told_so():
    z = numbered(5000).normal("z", 3)
    for slope, linear in ((0.1, False), (1.0, True)):
        x = Mixing(slope=slope)(z)
        fit = torch.linalg.lstsq(x - x.mean(0), z - z.mean(0))
        rest = (z - z.mean(0) - (x - x.mean(0)) @ fit.solution).square().mean()
        assert (rest < 1e-8) if linear else (rest > 0.03)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: type(world).__name__)
def test_a_row_is_a_function_of_its_number_alone(world):
    whole = world.batch(Random(3, 0, torch.arange(40)))
    part = world.batch(Random(3, 0, torch.tensor([7, 31])))
    for key, value in part.items():
        torch.testing.assert_close(whole[key][[7, 31]], value, msg=key)
    other = world.batch(Random(4, 0, torch.tensor([7, 31])))
    later = world.batch(Random(3, 1, torch.tensor([7, 31])))
    assert not torch.equal(part["state"], other["state"]) and not torch.equal(part["state"], later["state"])


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: type(world).__name__)
def test_observations_are_a_function_of_the_state(world):
    batch = world.batch(numbered(10))
    assert torch.equal(batch["proprio"], world.mixing(batch["state"]))
    assert batch["state"].dtype == batch["proprio"].dtype == torch.float32 and batch["index"].tolist() == [*range(10)]
    assert torch.isfinite(batch["proprio"]).all()


@pytest.mark.parametrize(("of", "kurtosis"), [("gaussian", 3.0), ("uniform", 1.8), ("laplace", 6.0)])
def test_sources_have_mean_zero_variance_one_and_their_shape(of, kurtosis):
    x = source(numbered(ROWS), "x", 2, of=of).double()
    assert x.mean(0).abs().max() < 0.02
    assert (x.var(0) - 1).abs().max() < 0.03
    assert (x**4).mean() == pytest.approx(kurtosis, rel=0.06)
    assert abs(correlation(x[:, 0], x[:, 1])) < 0.02


@pytest.mark.parametrize("of", ["gaussian", "uniform", "laplace"])
def test_views_are_exchangeable_with_the_correlations_asked_for(of):
    z = Views(latents=2, source=of, correlation=(0.9, 0.2)).batch(numbered(ROWS))["state"].double()
    assert (z.var(0) - 1).abs().max() < 0.03
    for latent, asked in enumerate((0.9, 0.2)):
        assert correlation(z[:, 0, latent], z[:, 1, latent]) == pytest.approx(asked, abs=0.01)
        assert correlation(z[:, 0, latent], z[:, 1, latent] ** 3) == pytest.approx(
            correlation(z[:, 1, latent], z[:, 0, latent] ** 3), abs=0.03
        )
    assert abs(correlation(z[:, 0, 0], z[:, 1, 1])) < 0.02


def test_gaussian_views_attenuate_a_hermite_polynomial_of_degree_k_by_the_power_k():
    """Mehler: the reason why a linear encoder aligns best; axiom of ThmHermite.lean beside arXiv 2605.26379."""
    z = Views(latents=1, correlation=(0.8,)).batch(numbered(400_000))["state"][..., 0].double()
    hermite = {1: z, 2: z**2 - 1, 3: z**3 - 3 * z}
    found = {k: correlation(x[:, 0], x[:, 1]) for k, x in hermite.items()}
    assert found == pytest.approx({1: 0.8, 2: 0.64, 3: 0.512}, abs=0.02)


def test_a_policy_makes_latents_dependent_over_time_and_on_each_other_and_not_gaussian():
    world = Trajectories(latents=3, actions=1, gain=4.0)
    z = world.batch(numbered(20_000))["state"].double()
    inside = torch.corrcoef(z[:, 0].T) - torch.eye(3, dtype=z.dtype)
    assert inside.abs().max() > 0.1
    assert all(abs(correlation(z[:, 0, i], z[:, 1, i])) > 0.3 for i in range(3))
    standard = (z[:, 0] - z[:, 0].mean(0)) / z[:, 0].std(0)
    assert ((standard**4).mean(0) - 3).abs().max() > 0.3
    assert (z[:, 0].var(0) / z[:, -1].var(0) - 1).abs().max() < 0.1  # stationary by then


def test_without_noise_state_and_action_give_the_next_state():
    for world in (Trajectories(noise=0.0), Distracted(noise=0.0, steps=6)):
        batch = world.batch(numbered(50))
        z, a = batch["state"].double(), batch["action"].double()
        known = torch.cat([z[:, :-1], a[:, :-1]], -1).flatten(0, 1)
        after = z[:, 1:].flatten(0, 1)
        assert (known @ torch.linalg.lstsq(known, after).solution - after).abs().max() < 1e-5


@pytest.mark.parametrize(("persistence", "kept"), [(1.0, 1.0), (0.7, 0.7), (0.0, 0.0)])
def test_distractors_persist_as_told_and_know_nothing_of_actions(persistence, kept):
    world = Distracted(steps=3, persistence=persistence, strength=5.0, memory=0.4)
    batch = world.batch(numbered(ROWS))
    z, a = batch["state"].double(), batch["action"].double()
    assert torch.allclose(z.std(0), torch.tensor([1.0, 1.0, 5.0, 5.0]).double(), rtol=0.02)
    for before, after in pairwise(range(3)):
        assert correlation(z[:, before, 2], z[:, after, 2]) == pytest.approx(kept, abs=0.02)
        assert correlation(z[:, before, 0], z[:, after, 0]) == pytest.approx(0.4, abs=0.02)
        assert correlation(a[:, before, 0], z[:, after, 0]) == pytest.approx(math.sqrt(0.84 * 0.91), abs=0.02)
        assert abs(correlation(a[:, before, 0], z[:, after, 2])) < 0.02


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: source(numbered(2), "x", 1, of="cauchy"), ConfigError, "'laplace'"),
        (lambda: Views(correlation=(0.5, 0.5)), ConfigError, "2 correlations for 3 latents"),
        (lambda: Views(correlation=(1.5,)), ConfigError, "from 0 to 1"),
        (lambda: Views(latents=0), ConfigError, "latents is 0"),
        (lambda: Mixing(slope=0.0), ConfigError, "slope is 0"),
        (lambda: Mixing(width=2)(torch.zeros(4, 3)), ShapeError, "3 latents do not fit into 2"),
        (lambda: Trajectories(latents=2, actions=3), ConfigError, "actions is 3"),
        (lambda: Trajectories(decay=1.0), ConfigError, "decay is 1.0"),
        (lambda: Distracted(persistence=-0.1), ConfigError, "persistence is -0.1"),
    ],
)
def test_impossible_settings_are_refused_in_words(make, error, says):
    with pytest.raises(error, match=says):
        make()
