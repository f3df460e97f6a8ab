"""Collapse is named when it is there, and only then."""

import json

import pytest
import torch

from armillary.contracts import build
from armillary.diagnostics.health import examine
from armillary.diagnostics.radar import Radar
from armillary.diagnostics.reading import read
from armillary.errors import ShapeError
from armillary.nn.encoder import ConvNet
from armillary.randomness import Random
from armillary.types import Forecast


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decaying(power, width=192, n=512):
    """Embeddings whose principal directions have standard deviations k^-power."""
    return noise(n, width) * torch.arange(1.0, width + 1) ** -power


def smooth_world(width=128, n=512):
    """Smooth functions of a position in the plane: the truth has two dimensions, the latent a few strong directions."""
    position = torch.rand(n, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    hidden = torch.tanh(position @ noise(2, 64, seed=1) * 1.5 + noise(64, seed=2) * 0.5)
    return hidden @ noise(64, width, seed=3) / 8


@pytest.mark.parametrize(
    "latents",
    [noise(512, 128), noise(512, 8), noise(64, 1), noise(100, 768), 5 + noise(512, 128), 1e-6 * noise(512, 64),
     decaying(0.5), decaying(1.0), smooth_world(), smooth_world(192), smooth_world(64)],
)  # fmt: skip
def test_no_false_alarm(latents):
    assert examine(latents).verdict == "healthy"


def test_weak_directions_count_as_used():
    strong, weak = torch.ones(4), torch.full((16,), 0.02)  # as a world model of a dot has them
    assert examine(noise(512, 20) * torch.cat([strong, weak]) @ noise(20, 128, seed=1)).healthy


def test_a_low_participation_ratio_alone_is_no_collapse():
    health = examine(smooth_world())
    assert health.row()["participation"] < 0.05 * 128 and health.row()["directions"] > 8 and health.healthy


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
@pytest.mark.parametrize("rest", [0.0, 1e-3, 0.01])
def test_dimensional_collapse_is_counted(rank, rest):
    latents = noise(512, rank) @ noise(rank, 128, seed=1) + rest * noise(512, 128, seed=2)
    health = examine(latents)
    assert health.verdict == f"dimensional collapse: {rank} of 128 directions used"
    assert not health.healthy and (health.row()["min_std"] > 0.1 or rank < 3)  # no single dimension shows it


def test_dimensional_collapse_is_seen_through_bfloat16():
    latents = (noise(512, 3) @ noise(3, 128, seed=1) + 4).bfloat16().float()
    assert examine(latents).verdict == "dimensional collapse: 3 of 128 directions used"


def test_copies_of_one_dimension_are_a_collapse_in_narrow_latents_too():
    assert examine(noise(200, 1).expand(-1, 8)).verdict == "dimensional collapse: 1 of 8 directions used"


@pytest.mark.parametrize(
    "latents", [torch.zeros(64, 16), torch.full((64, 16), -3.0), noise(1, 16) + 0.01 * noise(64, 16)]
)
def test_complete_collapse_is_named(latents):
    health = examine(latents)
    assert health.verdict.startswith("complete collapse") and health.row()["spread"] < 0.05


def test_few_rows_raise_no_alarm():
    assert examine(noise(4, 128)).healthy
    with pytest.raises(ShapeError, match="at least 2"):
        examine(noise(1, 128))


def test_accuracies_equal_their_formulas():
    target, last = noise(300, 6), noise(300, 6, seed=1)
    predicted = target + 0.5 * noise(300, 6, seed=2)
    health = examine(target, Forecast(predicted, target, last))
    error = (predicted - target).square().mean()
    assert health.row()["r2"] == pytest.approx(float(1 - error / target.var(0, correction=0).mean()), rel=1e-5)
    assert health.row()["copy_ratio"] == pytest.approx(float(error / (last - target).square().mean()), rel=1e-5)
    assert health.healthy


def test_predicting_no_better_than_the_mean_or_a_copy_is_named():
    latents, target = noise(300, 6), noise(300, 6, seed=1)
    mean = examine(latents, Forecast(torch.zeros_like(target), target))
    assert mean.verdict.startswith("prediction explains nothing") and mean.row()["r2"] == pytest.approx(0, abs=0.02)
    last = target + 0.1 * noise(300, 6, seed=2)
    copying = examine(latents, Forecast(last, target, last))
    assert copying.verdict == "prediction no better than copying the last observation: 1.00 times its error"
    assert copying.row()["r2"] > 0.9


def test_a_perfect_prediction_of_vanishing_targets_is_a_collapse():
    target = 1 + 1e-3 * noise(300, 6)
    verdict = examine(noise(300, 6), Forecast(target + 1e-5 * noise(300, 6, seed=1), target)).verdict
    assert verdict == "complete collapse: what is to be predicted differs by 0.1% of its size, so R² means nothing"


def test_what_is_not_finite_is_named_and_not_computed():
    bad = noise(50, 4)
    bad[3, 1] = torch.nan
    assert examine(bad).verdict == "not finite: NaN or infinity in 1 of 50 embeddings"
    good = noise(50, 4)
    assert examine(good, Forecast(bad, good)).verdict == "not finite: NaN or infinity in the forecast"


def test_static_worlds_have_no_copy_ratio():
    target = noise(50, 4)
    health = examine(target, Forecast(target + 0.1 * noise(50, 4, seed=1), target, target))
    assert "copy_ratio" not in health.row() and health.row()["r2"] > 0.9


def test_rows_are_numbers_for_a_log():
    row = examine(noise(50, 4), Forecast(noise(9, 2), noise(9, 2, seed=1))).row()
    assert json.loads(json.dumps(row)) == row and "copy_ratio" not in row and row["dimensions"] == 4.0
    assert all(isinstance(value, float) for value in row.values())


@pytest.mark.slow
def test_a_world_model_without_its_regularizer_is_not_called_healthy():
    """A moving dot: with SIGReg no alarm after 300 steps; without it latents shrink, which 800 steps show."""
    from armillary.methods.control import lewm

    def windows(step):
        random = Random(0, step, torch.arange(32))
        action = random.uniform("action", 4, 2) * 6 - 3
        place = (random.uniform("start", 2)[:, None] * 16 + 4).expand(-1, 5, -1).clone()
        place[:, 1:] += action.cumsum(1)
        row = torch.arange(24.0)
        drawn = torch.exp(-(row - place.clamp(2, 21)[..., None]).square() / 4)  # [B, T, 2, 24]
        image = (drawn[:, :, 0, :, None] * drawn[:, :, 1, None, :])[:, :, None].expand(-1, -1, 3, -1, -1) * 4 - 0.3
        return {"index": torch.arange(32), "image": image, "action": action / 3}

    seen, verdicts = windows(1000), {}
    for weight, steps in ((0.05, 300), (0.0, 800)):
        config = lewm.Config(
            ConvNet(image=24, widths=(8, 16)), width=64, action=2, history=1, rollout=4, depth=1, heads=2,
            head_width=16, hidden=64, dropout=0.0, sigreg_weight=weight, directions=128,
        )  # fmt: skip
        method, radar = build(config, 0), Radar()
        optimizer = torch.optim.AdamW(method.parameters(), 1e-3)
        for step in range(1, steps + 1):
            batch = windows(step)
            method.energy(method.loss(batch, Random(0, step, batch["index"]))).backward()
            optimizer.step()
            optimizer.zero_grad()
            if step % 50 == 0:
                method.eval()
                with torch.no_grad():
                    forecast = method.forecast(seen, Random(0, 0, seen["index"]))
                    radar.add(read(method.encode(seen).x.flatten(0, 1), forecast, step))
                method.train()
        verdicts[weight] = radar.verdict
    assert verdicts[0.05] == "healthy"
    assert verdicts[0.0].startswith("complete collapse: embeddings vary by")
