"""ACT-JEPA: its losses written again in numpy, a teacher without gradient, cloning alone at weight 0, goals, chunks."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from armillary.contracts import build, check_method
from armillary.errors import ConfigError, ShapeError
from armillary.methods.control import act_jepa
from armillary.randomness import Random, numbered
from armillary.types import Tokens

BODY = act_jepa.Config(
    None, proprio=3, action=4, chunk=2, width=16, depth=2, decoder_depth=2, predictor_depth=1, heads=2, goal=True,
    momentum=(0.9, 1.0),
)  # fmt: skip


@pytest.fixture
def made():
    torch.manual_seed(0)
    method, batch = act_jepa.tiny()
    return method, batch, Random(0, 1, batch["index"])


def body(**changes):
    """A policy that sees numbers alone, and a batch for it."""
    random = numbered(8)
    batch = {"index": torch.arange(8), "proprio": random.normal("proprio", 5, 3), "action": random.normal("a", 4, 4)}
    return build(replace(BODY, **changes), 1), batch, Random(0, 1, batch["index"])


class Numpy:
    """The method again in float64, from its weights: linear maps, norms, attention, sines and cosines of steps."""

    def __init__(self, method):
        self.w = {name: value.double().numpy() for name, value in method.state_dict().items()}
        self.heads = method.config.heads

    def linear(self, name, x):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name, x):
        return normal(x, 1e-6) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def block(self, name, x):
        q, k, v = np.split(self.linear(f"{name}.attn.qkv", self.norm(f"{name}.norm1", x)), 3, -1)
        size, out = q.shape[-1] // self.heads, []
        for h in range(self.heads):
            part = slice(h * size, (h + 1) * size)
            score = np.einsum("bnd,bmd->bnm", q[..., part], k[..., part]) / math.sqrt(size)
            score = np.exp(score - score.max(-1, keepdims=True))
            out.append(np.einsum("bnm,bmd->bnd", score / score.sum(-1, keepdims=True), v[..., part]))
        x = x + self.linear(f"{name}.attn.proj", np.concatenate(out, -1))
        hidden = gelu(self.linear(f"{name}.mlp.fc1", self.norm(f"{name}.norm2", x)))
        return x + self.linear(f"{name}.mlp.fc2", hidden)

    def latent(self, name, proprio):
        """Tokens [B, 1, D] of frames [B, P]: one of them, hence its own mean."""
        x = self.linear(f"{name}.body.2", gelu(self.linear(f"{name}.body.0", proprio)))[:, None]
        for i in range(2):
            x = self.block(f"{name}.trunk.blocks.{i}", x)
        return self.norm(f"{name}.trunk.norm", x)

    def asked(self, name, tokens, blocks, steps):
        time = np.arange(1, steps + 1)[:, None] / 10_000 ** (np.arange(8) / 8)
        start = np.concatenate([np.zeros(8), np.ones(8)])  # sines and cosines of step 0
        query = self.w[f"{name}.mask_token"] + np.concatenate([np.sin(time), np.cos(time)], 1)
        x = np.concatenate([self.linear(f"{name}.into", tokens) + start, np.tile(query, (len(tokens), 1, 1))], 1)
        for i in range(blocks):
            x = self.block(f"{name}.blocks.{i}", x)
        return self.linear(f"{name}.out", self.norm(f"{name}.norm", x[:, -steps:]))


def normal(x, eps):
    middle = x - x.mean(-1, keepdims=True)
    return middle / np.sqrt((middle**2).mean(-1, keepdims=True) + eps)


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


@pytest.mark.parametrize("goal", [True, False])
def test_both_losses_are_those_of_the_card_in_float64(goal):
    method, batch, random = body(goal=goal)
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        found = method.loss(batch, random)
        goals = method.hindsight(batch, random)
    again, seen = Numpy(method), batch["proprio"].double().numpy()
    tokens = again.latent("observer", seen[:, 0])
    if goal:
        there = again.latent("observer", goals["proprio"][:, 0].double().numpy())
        tokens = np.concatenate([tokens, again.linear("embed_goal", there)], 1)
    action = again.asked("decoder", tokens, 2, 2)
    latent = again.asked("predictor", tokens, 1, 2)
    target = np.stack([normal(again.latent("teacher.module", seen[:, t])[:, 0], 1e-5) for t in (1, 2)], 1)
    expected = {
        "action": np.abs(action - batch["action"][:, :2].double().numpy()).mean(),
        "latent": np.abs(latent - target).mean(),
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-5)
    assert method.weights == {"action": 1.0, "latent": 1.0}


def test_target_gets_no_gradient():
    method, batch, random = body(goal=False)
    proprio = batch["proprio"].clone().requires_grad_()
    method.loss({**batch, "proprio": proprio}, random)["latent"].backward()
    assert proprio.grad[:, 0].abs().max() > 0 and not proprio.grad[:, 1:].any()
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())


def test_targets_are_the_teachers_and_the_teacher_is_the_average():
    method, batch, _ = body()
    old = method.targets(batch)
    before = {name: p.clone() for name, p in method.teacher.named_parameters()}
    with torch.no_grad():
        for p in method.observer.parameters():
            p.add_(0.1)
    assert torch.equal(method.targets(batch), old)
    method.after_step(0.5)  # momentum 0.95
    now = dict(method.observer.named_parameters())
    for name, p in method.teacher.named_parameters():
        expected = 0.95 * before[name] + 0.05 * now[name.removeprefix("module.")]
        assert torch.allclose(p, expected, atol=1e-6)
    assert not torch.equal(method.targets(batch), old)


def test_at_weight_0_training_is_plain_cloning_of_chunks():
    """A copy of the observer and the decoder alone, trained by L1, has the same weights after some steps."""
    method, batch, random = body(latent_weight=0.0, goal=False)
    observer, decoder = copy.deepcopy(method.observer), copy.deepcopy(method.decoder)
    untouched = copy.deepcopy(method.predictor.state_dict())
    ours = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    plain = torch.optim.SGD([*observer.parameters(), *decoder.parameters()], lr=0.1)
    steps = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1).expand(8, -1, -1, -1)
    for _ in range(5):
        for optimizer in (ours, plain):
            optimizer.zero_grad()
        method.energy(method.loss(batch, random)).backward()
        x = observer(None, batch["proprio"][:, 0])
        F.l1_loss(decoder(Tokens(x, torch.zeros(8, 1, 1)), steps)[:, 0], batch["action"][:, :2]).backward()
        ours.step()
        plain.step()
        method.after_step(0.0)
    for mine, theirs in ((method.observer, observer), (method.decoder, decoder)):
        for (name, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-6), name
    assert all(torch.equal(value, untouched[name]) for name, value in method.predictor.state_dict().items())


def test_latents_shape_the_observer_where_they_have_weight():
    method, batch, random = body(goal=False)
    method.loss(batch, random)["latent"].backward()
    assert max(p.grad.abs().max() for p in method.observer.parameters()) > 0
    assert all(p.grad is None for p in method.decoder.parameters())


def test_chunks_are_made_from_the_current_frame_alone(made):
    method, batch, _ = made
    goal = {"image": batch["image"][:, -1:]}
    with torch.no_grad():
        chunk = method.act({k: batch[k][:, :2] for k in ("image", "proprio")}, goal)
        earlier = {
            k: torch.cat([torch.randn(batch[k][:, :1].shape), batch[k][:, 1:2]], 1) for k in ("image", "proprio")
        }
        assert torch.equal(method.act(earlier, goal), chunk)
        moved = {"image": batch["image"][:, 1:2], "proprio": batch["proprio"][:, 1:2] + 1}
        assert (method.act(moved, goal) - chunk).abs().max() > 1e-3
    assert chunk.shape == (8, 2, 4)


def test_what_comes_later_changes_targets_and_not_predictions():
    method, batch, random = body(goal=False)
    later = {**batch, "proprio": torch.cat([batch["proprio"][:, :1], torch.randn(8, 4, 3)], 1)}
    with torch.no_grad():
        one, two = method.forecast(batch, random), method.forecast(later, random)
        losses = method.loss(batch, random), method.loss(later, random)
    assert torch.equal(one.predicted, two.predicted) and not torch.equal(one.target, two.target)
    assert torch.equal(losses[0]["action"], losses[1]["action"]) and losses[0]["latent"] != losses[1]["latent"]


def test_a_query_is_known_by_its_step_and_not_by_its_place():
    method, batch, _ = body(chunk=4, goal=False)
    context = method.context(batch, 0, None)
    query = method.query(context)
    assert query[0, 0, :, 0].tolist() == [1, 2, 3, 4]
    with torch.no_grad():
        said, order = method.decoder(context, query), torch.tensor([2, 0, 3, 1])
        assert torch.allclose(method.decoder(context, query[:, :, order]), said[:, :, order], atol=1e-6)
    apart = (said[:, 0, :, None] - said[:, 0, None]).abs().amax((0, 3))
    assert (apart + torch.eye(4) > 1e-4).all()


def test_goals_are_later_frames_of_the_same_window_all_alike_often():
    method, _, _ = body()
    rows, frames = 2000, 5
    proprio = (torch.arange(rows)[:, None] * 100 + torch.arange(frames))[..., None].expand(-1, -1, 3).float()
    goal = method.hindsight({"proprio": proprio}, Random(0, 1, torch.arange(rows)))["proprio"][:, 0, 0]
    assert torch.equal(goal // 100, torch.arange(rows).float())
    counts = torch.bincount((goal % 100).long(), minlength=frames)
    assert counts[0] == 0 and (counts[1:] - 500).abs().max() < 100


def test_goals_change_what_is_done_and_only_where_they_are_asked_for(made):
    method, batch, _ = made
    frame = {k: batch[k][:, :1] for k in ("image", "proprio")}
    with torch.no_grad():
        here, there = (method.act(frame, {"image": batch["image"][:, t : t + 1]}) for t in (0, 3))
        assert (here - there).abs().max() > 1e-3
        free = build(replace(method.config, goal=False))
        assert torch.equal(free.act(frame), free.act(frame, {"image": batch["image"][:, 3:]}))


@pytest.mark.parametrize("config", [
    BODY, replace(BODY, goal=False), replace(BODY, latent_weight=0.0),
    act_jepa.Config(act_jepa.ConvNet(image=16, widths=(8, 8)), action=4, chunk=3, width=16, depth=1, heads=2,
                    decoder_depth=1, predictor_depth=1),
    act_jepa.Config(act_jepa.ViT(image=16, patch=8, width=16, depth=1, heads=2), action=4, chunk=3, width=8, depth=1,
                    heads=2, decoder_depth=1, predictor_depth=1, goal=True),
    act_jepa.Config(act_jepa.ResNet(image=16, base=4, blocks=(1, 1)), action=4, chunk=1, width=16, depth=1, heads=2,
                    decoder_depth=1, predictor_depth=1),
])  # fmt: skip
def test_all_kinds_of_observations_keep_the_contract(made, config):
    batch = {k: v for k, v in made[1].items() if k != "proprio" or config.proprio}
    batch = {k: v for k, v in batch.items() if k != "image" or config.encoder is not None}
    assert check_method(build(config), batch)["tokens"] == (8, 4, config.width)


def test_single_frames_and_windows_have_the_same_latents(made):
    method, batch, _ = made
    with torch.no_grad():
        z = method.eval().encode(batch).x
        alone = method.encode({k: batch[k][:, 2] for k in ("image", "proprio")})
    assert torch.allclose(alone.x[:, 0], z[:, 2], atol=1e-5) and alone.pos.shape == (8, 1, 1)


def test_it_learns_a_chunk_that_the_observation_tells():
    method, _, _ = body(goal=False)
    way = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))

    def shown(seed: int) -> dict[str, torch.Tensor]:
        proprio = numbered(256, seed).normal("proprio", 3, 3)
        return {"index": torch.arange(256), "proprio": proprio, "action": (proprio[:, 0] @ way).unflatten(1, (2, 4))}

    optimizer, train, test = torch.optim.AdamW(method.parameters(), lr=3e-3), shown(0), shown(1)
    for _ in range(120):
        optimizer.zero_grad()
        method.energy(method.loss(train, numbered(256))).backward()
        optimizer.step()
        method.after_step(0.0)
    with torch.no_grad():
        error = (method.act({"proprio": test["proprio"][:, :1]}) - test["action"]).abs().mean()
    assert error < 0.35 * test["action"].abs().mean()


def test_what_does_not_fit_is_named(made):
    method, batch, random = made
    with pytest.raises(ShapeError, match=r"2 frames and 1 actions.*chunk of 2: use 3"):
        method.loss(
            {**{k: v[:, :2] for k, v in batch.items() if k != "index"}, "action": batch["action"][:, :1]}, random
        )
    with pytest.raises(ShapeError, match="1 actions"):
        method.loss({**batch, "action": batch["action"][:, :1]}, random)
    with pytest.raises(ShapeError, match=r"action has 5 numbers.*method.action"):
        method.loss({**batch, "action": torch.zeros(8, 3, 5)}, random)
    with pytest.raises(ShapeError, match="proprio is missing"):
        method.loss({k: v for k, v in batch.items() if k != "proprio"}, random)
    with pytest.raises(ShapeError, match="image is missing"):
        method.loss({k: v for k, v in batch.items() if k != "image"}, random)
    with pytest.raises(ShapeError, match="image is missing"):
        method.encode({"proprio": batch["proprio"]})
    with pytest.raises(ShapeError, match="built with goals"):
        method.act(batch)
    with pytest.raises(ShapeError, match="built with goals"):
        method.act(batch, {"proprio": batch["proprio"]})
    with pytest.raises(ConfigError, match="blind"):
        act_jepa.Config(None)
    with pytest.raises(ConfigError, match="multiple of 4"):
        act_jepa.Config(width=18, heads=2)
    with pytest.raises(ConfigError, match="chunk is 0"):
        act_jepa.Config(chunk=0)
    with pytest.raises(ConfigError, match="momentum"):
        act_jepa.Config(momentum=(0.9, 1.1))
