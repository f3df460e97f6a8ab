"""HWM: the high level learns from the low one's latents and never changes them; macro-actions and their statistics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from armillary.contracts import build, check_dynamics, check_method
from armillary.data.formats.images import Images
from armillary.errors import CheckpointError, ConfigError, ShapeError
from armillary.methods.control import hwm, lewm
from armillary.planning.hierarchy import HighLevel
from armillary.planning.rollout import rollout
from armillary.randomness import Random, numbered
from armillary.recipes import run as runs
from armillary.recipes.run import Run
from armillary.training import checkpoint

SHARED = ("encoder", "width", "action", "history", "rollout", "depth", "heads", "head_width", "hidden", "dropout",
          "directions", "sigreg_weight", "knots", "action_width")  # fmt: skip


@pytest.fixture
def made():
    torch.manual_seed(0)
    method, batch = hwm.tiny()
    return method, batch, Random(0, 1, batch["index"])


def as_lewm(method: hwm.HWM) -> lewm.LeWM:
    """A LeWM with the low level's sizes and weights."""
    other = lewm.LeWM(lewm.Config(**{name: getattr(method.config, name) for name in SHARED}))
    other.load_state_dict({k: v for k, v in method.state_dict().items() if k.split(".")[0] in hwm.LOW})
    return other


def low(method: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in method.named_parameters() if name.split(".")[0] in hwm.LOW}


def other_batch(seed: int) -> dict[str, torch.Tensor]:
    random = numbered(8, seed=seed)
    image, action = random.normal("image", 6, 3, 16, 16), random.normal("action", 5, 4) * 2 + 0.5
    return {"index": torch.arange(8), "image": image, "action": action}


def test_high_level_gives_no_gradient_to_the_low_one(made):
    method, batch, random = made
    method.train().loss(batch, random)["high_prediction"].backward()
    assert all(p.grad is None for p in low(method).values())
    own = [p for name, p in method.named_parameters() if name not in low(method)]
    assert own and all(p.grad is not None and p.grad.abs().max() > 0 for p in own)


def test_low_level_learns_exactly_as_lewm(made):
    method, batch, random = made
    alone = as_lewm(method).train()
    terms, expected = method.train().loss(batch, random), alone.loss(batch, random)
    assert all(torch.equal(terms[name], expected[name]) for name in expected)
    method.energy(terms).backward()
    alone.energy(expected).backward()
    for name, p in alone.named_parameters():
        torch.testing.assert_close(low(method)[name].grad, p.grad)


def test_predictions_of_the_high_level_are_a_rollout_from_each_start(made):
    method, batch, _ = made
    method.eval()
    with torch.no_grad():
        z = method.encode(batch).x
        predicted, target = method.high_unrolled(z, method.macros(batch["action"]))
        assert predicted.shape == target.shape == (8, 2, 2, 16)  # 6 frames, 2 steps of 2: starts 0 and 1
        for start in range(2):
            now = z[:, start]
            for k in range(2):
                first = start + 2 * k
                chunk = batch["action"][:, first : first + 2].flatten(1)  # the first action first
                now = now + method.change(torch.cat([now, method.macro(chunk)], 1))
                assert torch.allclose(predicted[:, start, k], now, atol=1e-6)
                assert torch.equal(target[:, start, k], z[:, first + 2])


def test_a_macro_action_is_of_its_own_actions_alone(made):
    method, batch, _ = made
    action = batch["action"].clone()
    action[:, 2] += 1.0
    with torch.no_grad():
        moved = (method.macros(action) - method.macros(batch["action"])).abs().amax((0, 2))
    assert moved.shape == (4,) and (moved > 0).tolist() == [False, True, True, False]


def test_statistics_are_running_moments_of_macro_actions_in_float64(made):
    """Raw moments in numpy: plain averages until their share falls to the momentum, exponential ones from then on."""
    method = hwm.HWM(replace(made[0].config, momentum=0.3)).train()
    mean, second, reach = np.zeros(3), np.zeros((3, 3)), 0.0
    for i in range(6):
        batch = other_batch(i)
        method.loss(batch, Random(0, i, batch["index"]))
        with torch.no_grad():
            rows = method.macros(batch["action"]).flatten(0, 1).double().numpy()
            z = method.latents(batch["image"]).double().numpy()  # in training the batch's own norm, as in the loss
        share = max(1 / (i + 1), 0.3)
        mean = (1 - share) * mean + share * rows.mean(0)
        second = (1 - share) * second + share * rows.T @ rows / len(rows)
        reach = (1 - share) * reach + share * ((z[:, 2:] - z[:, :-2]) ** 2).sum(-1).mean()
    assert np.allclose(method.macro_mean, mean, atol=1e-6)
    assert np.allclose(method.macro_covariance, second - np.outer(mean, mean), atol=1e-6)
    assert float(method.reach) == pytest.approx(reach, rel=1e-5)
    kept = {name: x.clone() for name, x in method.named_buffers()}
    method.eval().loss(other_batch(9), Random(0, 9, torch.arange(8)))
    assert all(torch.equal(x, kept[name]) for name, x in method.named_buffers())


def test_actions_of_the_high_level_are_standardized_macro_actions(made):
    method, batch, random = made
    method.train().loss(batch, random)
    method.eval()
    high = method.high()
    with torch.no_grad():
        u = high.encoded(batch["action"])
        rows = u.flatten(0, 1).double().numpy()
        assert np.allclose(rows.mean(0), 0, atol=1e-4) and np.allclose(np.cov(rows.T, bias=True), np.eye(3), atol=1e-2)
        z = high.start(batch)
        found = high.latent(high.step(z, u[:, 1]))
        expected = method.ahead(z[0], method.macros(batch["action"])[:, 1])
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.equal(z[0], method.encode({"image": batch["image"][:, -1]}).x[:, 0])


def test_bounds_hold_what_was_seen_and_little_else(made):
    """Macro-actions on a line in their space: a box of the standardized ones stays on it, one of the numbers not."""
    method, batch, random = made
    with torch.no_grad():  # the last layer makes all three numbers of one
        method.macro[-1].weight.copy_(method.macro[-1].weight[:1].expand(3, -1) * torch.tensor([[1.0], [2.0], [-3.0]]))
    method.train().loss(batch, random)
    high = method.high(bound=2.0)
    corners = torch.cartesian_prod(*[torch.tensor([-2.0, 2.0])] * 3)
    reached = (corners @ high.root.T) / torch.tensor([1.0, 2.0, -3.0])
    spread = method.macro_covariance[0, 0].sqrt()
    assert (reached - reached[:, :1]).abs().max() < 0.05 * spread  # still on the line
    assert torch.allclose(reached[:, 0].abs(), 2 * spread, rtol=0.02)  # two standard deviations along it
    assert torch.equal(high.low, torch.full((3,), -2.0)) and torch.equal(high.high, torch.full((3,), 2.0))


def test_both_levels_are_dynamics(made):
    method, batch, random = made
    method.train().loss(batch, random)
    method.eval()
    context = {"image": batch["image"][:, :2], "action": batch["action"][:, :1]}
    check_dynamics(method, context, batch["action"][:, 1])
    high = method.high()
    check_dynamics(high, context, numbered(8).normal("macro", 3))
    assert isinstance(high, HighLevel) and high.stride == 2 and not isinstance(method, HighLevel)
    with torch.no_grad():
        assert rollout(high, high.start(context), numbered(8).normal("macro", 5, 3)).shape == (8, 5, 16)


def test_low_level_rolls_out_as_lewm_does(made):
    method, batch, _ = made
    context = {"image": batch["image"][:, :2], "action": batch["action"][:, :1]}
    alone = as_lewm(method).eval()
    method.eval()
    with torch.no_grad():
        found = rollout(method, method.start(context), batch["action"][:, 1:])
        assert torch.equal(found, rollout(alone, alone.start(context), batch["action"][:, 1:]))
        assert torch.equal(method.forecast(batch, made[2]).predicted, alone.forecast(batch, made[2]).predicted)


def finished(folder: Path, method: torch.nn.Module) -> str:
    """The weights' file of a run of one step."""
    runs.save(folder, Run(method.config, Images("somewhere"), steps=3, batch=4), "recipe")
    optimizer = torch.optim.AdamW(method.parameters())
    checkpoint.write(folder, checkpoint.capture(3, method, optimizer, {}))
    return str(next(folder.rglob("model.safetensors")))


@pytest.mark.parametrize("source", ["lewm", "hwm"])
def test_a_finished_low_level_is_frozen(made, tmp_path, source):
    method, batch, random = made
    method.train().loss(batch, random)  # running statistics of the norms that are not those of a new method
    file = finished(tmp_path, as_lewm(method) if source == "lewm" else method)
    frozen = build(replace(method.config, low_file=file), seed=5).train()
    held, wanted = frozen.state_dict(), method.state_dict()
    parts = [name for name in wanted if name.split(".")[0] in hwm.LOW]
    assert parts and all(torch.equal(held[name], wanted[name]) for name in parts)
    terms = frozen.loss(batch, random)
    assert terms.keys() == frozen.weights.keys() == {"high_prediction"}
    frozen.energy(terms).backward()
    assert all(p.grad is None and not p.requires_grad for p in low(frozen).values())
    assert all(torch.equal(frozen.state_dict()[name], wanted[name]) for name in parts)  # norms did not move
    z = frozen.encode(batch).x
    assert torch.equal(z, frozen.eval().encode(batch).x)
    check_method(frozen, batch)


def test_a_low_level_of_other_sizes_is_refused(made, tmp_path):
    method = made[0]
    file = finished(tmp_path, as_lewm(method))
    with pytest.raises(CheckpointError, match="project"):
        build(replace(method.config, low_file=file, width=8))
    with pytest.raises(CheckpointError, match="no file"):
        build(replace(method.config, low_file=str(tmp_path / "none.safetensors")))


def test_what_does_not_fit_is_named(made):
    method, batch, random = made
    short = {**batch, "image": batch["image"][:, :4], "action": batch["action"][:, :3]}
    with pytest.raises(ShapeError, match=r"4 frames are too short for 2 steps of 2: use 5"):
        method.loss(short, random)
    with pytest.raises(ShapeError, match="1 actions are fewer than the 2"):
        method.macros(batch["action"][:, :1])
    with pytest.raises(ShapeError, match="5 numbers"):
        method.macros(torch.zeros(8, 5, 5))
    with pytest.raises(ConfigError, match="no macro-action was seen"):
        hwm.tiny()[0].high()
    method.train().loss(batch, random)
    with pytest.raises(ConfigError, match="bound is 0"):
        method.high(bound=0.0)
    with pytest.raises(ShapeError, match="2 numbers; this high level takes 3"):
        method.high().step((torch.zeros(2, 16),), torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="stride is 0"):
        hwm.Config(stride=0)
    with pytest.raises(ConfigError, match="momentum is 2"):
        hwm.Config(momentum=2.0)
