"""Predictors fitted on a system whose noise is known find its noise, and their intervals keep their promise."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
import torch

from armillary.diagnostics.calibration import crps_gaussian
from armillary.diagnostics.risk import judge
from armillary.errors import ConfigError, DataError, ShapeError
from armillary.functional.gaussian import Gaussian
from armillary.probes.predictive import Config, fit_ensemble, fit_gaussian, fit_quantiles, parts
from armillary.randomness import numbered

EPISODES, STEPS = 5000, 4
MAP, PUSH = torch.tensor([[0.9, 0.2], [-0.2, 0.9]]), torch.tensor([0.3, -0.1])
SMALL = Config(hidden=32, steps=500, members=3, test=0.42)


def system(episodes: int = EPISODES, steps: int = STEPS) -> dict[str, torch.Tensor]:
    """z' = z A + a b + noise whose scale depends on the first latent and on the action; `mean` and `std` are true."""
    random = numbered(episodes)
    z, rows = random.normal("z", 2), []
    for t in range(steps):
        action = random.normal(f"action/{t}", 1)
        std = 0.1 + 0.4 * torch.sigmoid(2 * torch.cat([z[:, :1], action], 1))
        mean = z @ MAP.T + action * PUSH
        following = mean + std * random.normal(f"noise/{t}", 2)
        rows.append({"z": z, "action": action, "target": following, "mean": mean, "std": std})
        z = following
    found = {key: torch.stack([row[key] for row in rows], 1).flatten(0, 1) for key in rows[0]}
    return found | {"episode": torch.arange(episodes).repeat_interleave(steps)}


@pytest.fixture(scope="module")
def data() -> dict[str, torch.Tensor]:
    return system()


def given(data: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return data["z"], data["action"], data["target"], data["episode"]


@pytest.mark.parametrize("fit", [fit_gaussian, fit_quantiles, fit_ensemble])
def test_ninety_percent_intervals_cover_88_to_92_percent_of_held_back_episodes(fit, data) -> None:
    fitted = fit(*given(data), SMALL)
    found = judge(fitted.test, fitted.calibration, resamples=50)
    assert found.episodes >= 2000
    assert 0.88 <= found.coverage[0.9].value <= 0.92
    assert found.coverage[0.5].value == pytest.approx(0.5, abs=0.02) and found.ece.value < 0.015
    held = parts(data["episode"], SMALL)[2]
    best = float(crps_gaussian(data["mean"][held], data["std"][held], data["target"][held]).mean())
    assert best < found.crps.value < 1.06 * best, "near the score of the true distribution"
    assert found.spearman.low > 0.3 and found.aurc.high < 0.75
    assert (found.disagreement is not None) == (fit is fit_ensemble)
    assert float(fitted.loss[-50:].mean()) < float(fitted.loss[:50].mean())


def test_intervals_are_as_wide_as_the_noise_of_each_row(data) -> None:
    fitted = fit_gaussian(*given(data), SMALL)
    held = parts(data["episode"], SMALL)[2]
    p = fitted.test.predicted
    assert isinstance(p, Gaussian) and torch.equal(fitted.test.target, data["target"][held])
    for d in range(2):
        assert np.corrcoef(p.std[:, d].numpy(), data["std"][held][:, d].numpy())[0, 1] > 0.9
    assert float((p.mean - data["mean"][held]).square().mean().sqrt()) < 0.1
    again, _ = fitted.predict(data["z"][held], data["action"][held])
    assert torch.equal(again.mean, p.mean)  # type: ignore[union-attr]


def test_members_disagree_where_nothing_was_seen(data) -> None:
    fitted = fit_ensemble(*given(data), SMALL)
    near, far = (fitted.predict(s * data["z"][:200], data["action"][:200])[1] for s in (1, 8))
    assert near is not None and far is not None and near.shape == (3, 200, 2)
    assert float(far.var(0).mean()) > 20 * float(near.var(0).mean())
    assert fitted.test.members is not None
    variance = fitted.test.predicted.variance  # type: ignore[union-attr]
    assert bool((variance >= fitted.test.members.var(0, correction=0) * 0.999).all()), "the mixture is at least as wide"


def test_the_error_of_a_models_own_prediction_can_be_predicted(data) -> None:
    error = data["target"] - (data["mean"] + 0.2)  # a model that is always off by 0.2
    fitted = fit_gaussian(data["z"], data["action"], error, data["episode"], SMALL)
    assert fitted.test.predicted.mean.mean(0).tolist() == pytest.approx([-0.2, -0.2], abs=0.03)  # type: ignore[union-attr]


def test_each_episode_is_in_one_part_and_parts_have_their_shares(data) -> None:
    episode = data["episode"]
    split = parts(episode, SMALL, seed=4)
    assert bool((torch.stack(split).sum(0) == 1).all())
    held = [set(episode[part].tolist()) for part in split]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
    assert [len(part) for part in held] == [1900, 1000, 2100]
    shuffled = numbered(1).order("mixed", len(episode))[0]
    again = parts(episode[shuffled], SMALL, seed=4)
    assert all(torch.equal(a, b[shuffled]) for a, b in zip(again, split, strict=True)), "whatever the order of rows"
    assert not torch.equal(parts(episode, SMALL, seed=5)[0], split[0])


@pytest.mark.parametrize("fit", [fit_gaussian, fit_quantiles, fit_ensemble])
def test_a_fit_is_a_function_of_its_seed_and_leaves_the_global_one_alone(fit) -> None:
    few = system(60)
    config = Config(hidden=8, steps=5, members=2)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first, again, other = (fit(*given(few), config, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.loss, again.loss) and not torch.equal(first.loss, other.loss)
    assert torch.equal(before, torch.random.get_rng_state())


def test_units_and_constant_inputs_do_not_matter() -> None:
    few, config = system(60), Config(hidden=8, steps=20)
    plain = fit_gaussian(*given(few), config)
    constant = torch.full((240, 1), 1e4)
    scaled = fit_gaussian(
        torch.cat([1e3 * few["z"] + 50, constant], 1), few["action"], 1e-3 * few["target"], few["episode"], config
    )
    assert float(scaled.loss[-1]) == pytest.approx(float(plain.loss[-1]), abs=0.5)
    assert float(scaled.test.predicted.std.median()) == pytest.approx(  # type: ignore[union-attr]
        1e-3 * float(plain.test.predicted.std.median()),
        rel=0.5,  # type: ignore[union-attr]
    )


def test_wrong_input_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    few, config = system(20), Config(hidden=8, steps=2)
    z, action, target, episode = given(few)
    bad = z.clone()
    bad[3] = float("nan")
    with pytest.raises(DataError, match="1 of 80 latents"):
        fit_gaussian(bad, action, target, episode, config)
    with pytest.raises(DataError, match="give more episodes"):
        fit_gaussian(z, action, target, torch.zeros_like(episode), config)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ShapeError, match="one of each a row"):
        fit_gaussian(z[1:], action, target, episode, config)
    for settings in ({"steps": 0}, {"beta": 2.0}, {"test": 0.0}, {"calibration": 0.5, "test": 0.5}, {"hidden": 0}):
        with pytest.raises(ConfigError):
            Config(**settings)
