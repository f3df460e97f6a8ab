"""DINO-WM, V-JEPA 2-AC and JEPA-WM: what they share. The encoder never trains, no prediction sees what comes later."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from armillary.contracts import build, check_dynamics, check_method
from armillary.errors import CheckpointError, ConfigError, ShapeError
from armillary.methods.control import dino_wm, jepa_wm, vjepa2_ac
from armillary.planning.cem import CEM
from armillary.planning.energies import goal_energy
from armillary.planning.rollout import rollout
from armillary.randomness import Random, numbered

MODULES = [dino_wm, vjepa2_ac, jepa_wm]
PROPRIO = {dino_wm: 3, vjepa2_ac: 2, jepa_wm: 3}  # numbers that the tiny batches have


@pytest.fixture(params=[(m, p) for m in MODULES for p in (False, True)],
                ids=lambda both: f"{both[0].__name__.rpartition('.')[2]}{'-proprio' * both[1]}")  # fmt: skip
def made(request):
    module, proprio = request.param
    torch.manual_seed(0)
    method, batch = module.tiny()
    if proprio:
        method = build(replace(method.config, proprio=PROPRIO[module]))
    return method, batch, Random(0, 1, batch["index"])


def context(batch, frames: int) -> dict:
    return {"image": batch["image"][:, :frames], "action": batch["action"][:, : frames - 1],
            "proprio": batch["proprio"][:, :frames]}  # fmt: skip


def predictions(method, batch) -> torch.Tensor:
    """Teacher-forced [B, T, N, D] from the first three frames of the window."""
    if isinstance(method, vjepa2_ac.VJEPA2AC):
        z = method.latents(batch["image"])
        return method.predict(z[:, :3], batch["action"], method.states(batch)[:, :3])
    if isinstance(method, dino_wm.DINOWM):
        return method.predict(method.latents(batch)[:, :2], batch["action"][:, :2])
    return method.predict(method.latents(batch)[:, :3], batch["action"])


def test_with_or_without_proprioception_the_contracts_are_kept(made):
    method, batch, _ = made
    assert check_method(method, batch)["teacher"] == 0
    check_dynamics(method.eval(), context(batch, 2), batch["action"][:, 1])


def test_training_moves_everything_but_the_encoder(made):
    method, batch, random = made
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for _ in range(2):
        method.train().energy(method.loss(batch, random)).backward()
        optimizer.step()
    moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    frozen = {name for name in before if name.startswith("encoder.")}
    assert frozen and moved == before.keys() - frozen
    assert all(p.grad is None for p in method.encoder.parameters())
    assert method.training and not any(part.training for part in method.encoder.modules())


def test_no_gradient_reaches_the_frames(made):
    method, batch, random = made
    image = batch["image"].clone().requires_grad_()
    method.energy(method.loss({**batch, "image": image}, random)).backward()
    assert image.grad is None


def test_no_prediction_sees_a_later_frame_action_or_proprioception(made):
    method, batch, _ = made
    with torch.no_grad():
        before = predictions(method, batch)
        for t in range(before.shape[1]):
            for key in ("image", "action", "proprio"):
                changed = {**batch, key: batch[key].clone()}
                changed[key][:, t] = changed[key][:, t].flip(0) * 2 + torch.randn(changed[key][:, t].shape)
                moved = (predictions(method, changed) - before).abs().amax((0, 2, 3))
                assert bool((moved[:t] == 0).all())
                if key != "proprio" or method.config.proprio:
                    assert bool((moved[t : t + 1] > 1e-5).all()), key


def test_rollout_is_the_repeated_step_and_each_step_the_prediction_from_the_last_frames(made):
    method, batch, _ = made
    method.eval()
    h, actions = method.config.history, batch["action"][:, 1:].repeat(1, 2, 1)  # [B, 4, A]
    with torch.no_grad():
        state = method.start(context(batch, 2))
        found = rollout(method, state, actions)
        z, every = state[0], torch.cat([batch["action"][:, :1], actions], 1)
        states = method.states(context(batch, 2)) if isinstance(method, vjepa2_ac.VJEPA2AC) else None
        for t in range(4):
            told = [] if states is None else [states[:, -h:]]
            z = torch.cat([z, method.predict(z[:, -h:], every[:, : t + 2][:, -h:], *told)[:, -1:]], 1)
            if states is not None:  # without `proprio_moves` the last one that was seen stays
                states = torch.cat([states, states[:, -1:]], 1)
            now = (z, every) if states is None else (z, every, states)
            torch.testing.assert_close(found[:, t], method.latent(now), rtol=1e-4, atol=1e-5)


def test_planned_actions_are_not_taken_for_history(made):
    """The first planned action goes with the last frame; the action before it is the one that was executed."""
    method, batch, _ = made
    method.eval()
    with torch.no_grad():
        state = method.start(context(batch, 2))
        assert torch.equal(state[1], batch["action"][:, :1])
        other = method.start({**context(batch, 2), "action": batch["action"][:, :1] + 1})
        one, two = (method.latent(method.step(s, batch["action"][:, 1])) for s in (state, other))
        assert torch.equal(method.latent(state), method.latent(other)) and (one - two).abs().max() > 1e-5


def test_a_start_takes_the_last_frames_and_makes_do_with_one(made):
    method, batch, _ = made
    with torch.no_grad():
        last = {k: v[:, -1:] if k == "action" else v[:, -2:] for k, v in context(batch, 4).items()}
        longer, last = method.start(context(batch, 4)), method.start(last)
        assert all(torch.equal(a, b) for a, b in zip(longer, last, strict=True))
        single = method.start(context(batch, 1))
        following = method.latent(method.step(single, batch["action"][:, 0]))
    assert single[1].shape == (8, 0, 4) and following.shape == method.latent(single).shape


def test_a_goal_that_the_model_reaches_has_energy_zero_and_is_planned_to(made):
    method, batch, _ = made
    method.eval().requires_grad_(False)
    state = tuple(x[:2] for x in method.start(context(batch, 2)))
    wanted = batch["action"][:2, 1:2].clamp(-0.8, 0.8)
    goal = rollout(method, state, wanted)[:, -1]
    energy = goal_energy(method, state, goal, rows=64)
    assert float(energy(wanted[:, None]).abs().max()) < 1e-6
    low, high = -torch.ones(4), torch.ones(4)
    plan = CEM(horizon=1, samples=64, elites=8, iterations=6)(energy, low, high, numbered(2))
    assert float((plan.energy / energy(torch.zeros(2, 1, 1, 4))[:, 0]).max()) < 0.5


def test_forecasts_compare_patches_with_themselves_one_frame_later(made):
    method, batch, random = made
    with torch.no_grad():
        forecast = method.forecast(batch, random)
    frames = len(forecast.target) // (8 * 4)
    last, target = (x.unflatten(0, (8, frames, 4)) for x in (forecast.last, forecast.target))
    assert torch.equal(last[:, 1:], target[:, :-1])
    assert forecast.place.tolist() == list(range(4 * frames)) * 8


def test_probes_receive_the_frozen_patches(made):
    method, batch, _ = made
    window, single = method.encode(batch), method.encode({"image": batch["image"][:, 0]})
    torch.testing.assert_close(window.x[:, :4], single.x)
    torch.testing.assert_close(method.encoder.module(batch["image"][:, 0]).x, single.x)


def test_what_does_not_fit_is_named(made):
    method, batch, random = made
    with pytest.raises(ShapeError, match=r"action has 5 numbers.*built for 4.*frame_skip"):
        method.step(method.start(context(batch, 2)), torch.zeros(8, 5))
    with pytest.raises(ShapeError, match=r"windows of 2 frames"):
        method.loss({**batch, "image": batch["image"][:, :2], "action": batch["action"][:, :1],
                     "proprio": batch["proprio"][:, :2]}, random)  # fmt: skip
    with pytest.raises(ShapeError, match="16x8 pixels"):
        method.start({**context(batch, 2), "image": batch["image"][:, :2, :, :, :8]})
    wide = build(replace(method.config, proprio=7))
    with pytest.raises(ShapeError, match=r"proprio has \d numbers.*built for 7"):
        wide.loss(batch, random)
    with pytest.raises(ShapeError, match=r"proprio is missing in the batch"):
        wide.loss({k: v for k, v in batch.items() if k != "proprio"}, random)
    with pytest.raises(ConfigError, match="depth is 0"):
        replace(method.config, depth=0)
    with pytest.raises(CheckpointError, match="no file"):
        build(replace(method.config, encoder=replace(method.config.encoder, file="nowhere.safetensors")))
