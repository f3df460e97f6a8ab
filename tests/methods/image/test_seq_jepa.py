"""seq-JEPA: the loss as the paper has it, actions that matter, a teacher that averages, views from a seed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from armillary.contracts import build, check_method
from armillary.diagnostics.equivariance import reciprocal_rank
from armillary.errors import ConfigError, DataError, ShapeError
from armillary.methods.image import seq_jepa
from armillary.nn.encoder import ViT
from armillary.randomness import Random
from armillary.views.pixels import PixelViews, draw

VIT = ViT(image=32, patch=4, width=24, depth=2, heads=2, init="xavier")
KINDS = {
    "changes": {},
    "changes of a ViT": {"encoder": VIT},
    "foveae anywhere": {"sequence": "saccades", "gaze": "anywhere"},
    "foveae by contrast": {"sequence": "saccades", "views": 4, "inhibition": 0.25},
    "foveae by attention": {"sequence": "saccades", "gaze": "attention", "encoder": VIT},
}


@pytest.fixture
def made():
    torch.manual_seed(0)
    method, batch = seq_jepa.tiny()
    return method.train(), batch, Random(0, 1, batch["index"])


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def variant(request):
    method, batch = seq_jepa.tiny()
    return build(replace(method.config, **request.param)).train(), batch, Random(0, 1, batch["index"])


def rows(batch: dict, index: list[int]) -> dict:
    return {key: value[index] for key, value in batch.items()}


# ---- an independent reference: numpy in float64, from the equations


def weights(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().double().numpy() for name, value in module.state_dict().items()}


def standard(x: np.ndarray, axis: int, eps: float = 1e-5) -> np.ndarray:
    mean = x.mean(axis, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis, keepdims=True) + eps)


def block(x: np.ndarray, w: dict[str, np.ndarray], heads: int) -> np.ndarray:
    """Post-norm: x = norm(x + attention(x)), then norm(x + W2 relu(W1 x)); one sequence [N, D], head by head."""
    qkv = x @ w["self_attn.in_proj_weight"].T + w["self_attn.in_proj_bias"]
    size, out = x.shape[1] // heads, []
    for head in range(heads):
        q, k, v = (qkv[:, part * x.shape[1] + head * size :][:, :size] for part in range(3))
        score = np.exp(q @ k.T / math.sqrt(size))
        out.append(score / score.sum(1, keepdims=True) @ v)
    x = x + np.concatenate(out, 1) @ w["self_attn.out_proj.weight"].T + w["self_attn.out_proj.bias"]
    x = standard(x, -1) * w["norm1.weight"] + w["norm1.bias"]
    inner = np.maximum(x @ w["linear1.weight"].T + w["linear1.bias"], 0)
    x = x + inner @ w["linear2.weight"].T + w["linear2.bias"]
    return standard(x, -1) * w["norm2.weight"] + w["norm2.bias"]


def reference(method: seq_jepa.SeqJEPA, features: np.ndarray, where: np.ndarray, target: np.ndarray) -> float:
    """The loss from f of the seen views [B, T, D], parameters of all views [B, T + 1, P] and the teacher's f."""
    actions = where[:, 1:] - where[:, :-1]
    code = actions @ weights(method.action)["0.weight"].T
    code = standard(code.reshape(-1, code.shape[-1]), 0).reshape(code.shape)
    whole = []
    for seen, told in zip(features, code, strict=True):
        pairs = [np.concatenate(pair) for pair in zip(seen, [*told[:-1], 0 * told[-1]], strict=True)]
        x = np.stack([weights(method.aggregator)["token"], *pairs])
        for layer in method.aggregator.blocks[:-1]:
            x = block(x, weights(layer), method.config.heads)
        last = weights(method.aggregator.blocks[-1])
        whole.append((standard(x, -1) * last["weight"] + last["bias"])[0])
    w = weights(method.predictor)
    hidden = np.concatenate([np.stack(whole), code[:, -1]], 1) @ w["0.weight"].T
    hidden = np.maximum(standard(hidden, 0) * w["1.weight"] + w["1.bias"], 0)
    guess = hidden @ w["3.weight"].T + w["3.bias"]
    cosine = (guess * target).sum(1) / np.linalg.norm(guess, axis=1) / np.linalg.norm(target, axis=1)
    return 1 - cosine.mean()


@pytest.mark.parametrize("views", [1, 2, 4])
def test_loss_equals_the_paper_s(views):
    torch.manual_seed(1)
    config = replace(seq_jepa.tiny()[0].config, views=views, depth=2)
    method, batch = build(config).train(), seq_jepa.tiny()[1]
    with torch.no_grad():
        for p in method.parameters():
            p.add_(0.1 * torch.randn_like(p))  # norms and the token away from where they begin
    random = Random(0, 1, batch["index"])
    looks, where = method.looks(batch, random, views, 1)
    assert looks.shape == (8, views + 1, 3, 32, 32) and where.shape == (8, views + 1, 9)
    features, target = method.features(looks[:, :-1]), method.targets(looks[:, -1:])[:, 0]
    expected = reference(method, *(x.detach().double().numpy() for x in (features, where, target)))
    assert method.loss(batch, random)["prediction"].item() == pytest.approx(expected, abs=2e-5)


# ---- actions


def test_actions_are_differences_of_what_was_drawn(made):
    method, batch, random = made
    _, where = method.looks(batch, random, 2, 1)
    one, two = (draw(random, method.config.seen, f"seen {k}") for k in range(2))
    last = draw(random, method.config.following, "following 0")
    action = where.diff(dim=1)
    assert torch.allclose(action[:, 0, :4], two.box - one.box)
    assert torch.allclose(action[:, 0, 4], two.brightness - one.brightness)
    assert torch.allclose(action[:, 1, 7], last.hue - two.hue)
    assert torch.allclose(action[:, 1, 8], last.blur - two.blur)
    untold = replace(one, flip=~one.flip, gray=~one.gray, solarize=~one.solarize)
    assert torch.equal(seq_jepa.parameters(untold), seq_jepa.parameters(one))


def test_actions_of_saccades_lead_from_fovea_to_fovea():
    """Each pixel of the image says where it is, so a fovea tells its own place."""
    config = replace(seq_jepa.tiny()[0].config, sequence="saccades", gaze="anywhere", fovea=0.25)
    method, batch = build(config), seq_jepa.tiny()[1]
    place = torch.arange(32.0) / 32
    batch["image"] = torch.stack([place[:, None].expand(32, 32), place.expand(32, 32), place.expand(32, 32)])
    batch["image"] = batch["image"].expand(8, -1, -1, -1)
    views, where = method.looks(batch, Random(0, 1, batch["index"]), 3, 1)
    assert views.shape == (8, 4, 3, 8, 8)
    assert torch.allclose(where.diff(dim=1), views[:, :, :2].mean((3, 4)).diff(dim=1), atol=1e-6)
    far = where[:, :, None] - where[:, None]
    apart = far.abs().amax(-1) + torch.eye(4)
    assert float(apart.min()) > 4 / 32  # half a fovea to each side is inhibited


def test_last_action_is_zero_in_the_sequence_and_reaches_the_prediction(made):
    method, batch, random = made
    method.eval()
    inputs = []
    method.aggregator.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    views, where = method.looks(batch, random, 3, 1)
    actions, width = where.diff(dim=1), method.config.encoder.width
    first = method.predict(views[:, :-1], actions)
    told = inputs[0][:, :, width:]
    assert not told[:, -1].any() and bool((told[:, :-1].abs().amax((0, 2)) > 1e-3).all())
    second = method.predict(views[:, :-1], actions + torch.tensor([0.0, 0.0, 1.0])[:, None])
    assert torch.equal(inputs[0], inputs[1])
    assert float((first - second).detach().norm(dim=1).min()) > 1e-3


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_every_action_and_every_view_matters(made, changed):
    method, batch, random = made
    method.eval()
    views, where = method.looks(batch, random, 3, 1)
    views, actions = views[:, :-1], where.diff(dim=1)
    before = method.predict(views, actions)
    other = actions.clone()
    other[:, changed] *= -1
    assert float((method.predict(views, other) - before).detach().norm(dim=1).min()) > 1e-4
    seen = views.clone()
    seen[:, changed] = seen[:, changed].flip(0)
    assert float((method.predict(seen, actions) - before).detach().norm(dim=1).min()) > 1e-5


def test_order_is_known_by_actions_alone(made):
    """Pairs of view and action may come in any order, views that trade their actions may not."""
    method, batch, random = made
    method = build(replace(method.config, depth=2)).eval()
    with torch.no_grad():
        for p in method.aggregator.parameters():
            p.mul_(2)  # far from an even mean of all tokens, in which a pair falls apart
    views, where = method.looks(batch, random, 4, 0)
    features, told = method.features(views), method.action(where.diff(dim=1))
    whole = method.aggregate(features, told)
    order = [2, 0, 1]
    pairs = method.aggregate(torch.cat([features[:, order], features[:, 3:]], 1), told[:, order])
    assert torch.allclose(pairs, whole, atol=1e-5)
    traded = method.aggregate(torch.cat([features[:, order], features[:, 3:]], 1), told)
    assert not torch.allclose(traded, whole, atol=1e-3)
    assert not torch.allclose(method.aggregate(features.flip(1), told), whole, atol=1e-3)


def test_actions_are_normalized_without_scale_or_shift(made):
    method, batch, random = made
    assert [tuple(p.shape) for p in method.action.parameters()] == [(8, 9)]
    action = method.looks(batch, random, 3, 1)[1].diff(dim=1)
    told = method.action(action)
    wide = method.action(action * 1000)  # their units do not matter, but for epsilon
    assert torch.allclose(wide.mean((0, 1)), torch.zeros(8), atol=1e-5)
    assert torch.allclose(wide.var((0, 1), correction=0), torch.ones(8), atol=1e-5)
    assert torch.allclose(wide, told, atol=0.03)


# ---- teacher


def test_target_gets_no_gradient(variant):
    method, batch, random = variant
    assert not method.targets(method.looks(batch, random, 1, 0)[0]).requires_grad
    method.loss(batch, random)["prediction"].backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.encoder.parameters())


def test_teacher_follows_in_closed_form_with_a_momentum_that_rises(made):
    method, _, _ = made
    start = method.teacher.module.norm.weight.clone()
    with torch.no_grad():
        method.encoder.norm.weight.fill_(3.0)
    method.after_step(0.0)  # 0.9
    method.after_step(0.5)  # halfway between 0.9 and 1
    assert torch.allclose(method.teacher.module.norm.weight, 0.9 * 0.95 * start + (1 - 0.9 * 0.95) * 3.0)
    before = method.teacher.module.norm.weight.clone()
    method.after_step(1.0)
    assert torch.equal(method.teacher.module.norm.weight, before)


def test_teacher_normalizes_by_its_own_batch(made):
    """Its features of a batch do not change with a running average, and those averages are its own."""
    method, batch, random = made
    views = method.looks(batch, random, 0, 1)[0]
    before, mean = method.targets(views), method.teacher.module.norm.running_mean.clone()
    assert torch.allclose(method.targets(views), before)
    assert not torch.equal(method.teacher.module.norm.running_mean, mean)
    assert not method.encoder.norm.running_mean.any()


# ---- views and what probes read


def test_every_kind_of_sequence_keeps_the_contract(variant):
    method, batch, _ = variant
    found = check_method(method, batch)
    assert found["teacher"] > 0 and found["tokens"] == (8, 1, method.config.width)


def test_views_of_a_row_are_the_same_in_any_batch(variant):
    method, batch, random = variant
    method.eval()
    views, where = method.looks(batch, random, 2, 2)
    for index in ([5, 1, 6], [3]):
        part = rows(batch, index)
        alone, there = method.looks(part, Random(0, 1, part["index"]), 2, 2)
        assert torch.allclose(alone, views[index], atol=1e-5) and torch.equal(there, where[index])
    other = method.looks(batch, Random(0, 2, batch["index"]), 2, 2)[1]
    assert float((other - where).abs().amax((1, 2)).min()) > 0


def test_views_of_a_sequence_differ(variant):
    method, batch, random = variant
    _, where = method.looks(batch, random, 3, 1)
    assert float(where.diff(dim=1).abs().amax(2).min()) > 0


def test_probes_read_the_aggregate_or_the_views(made):
    method, batch, _ = made
    method.eval()
    whole = method.encode(batch)
    assert whole.x.shape == (8, 1, 16) and whole.pos.shape == (8, 1, 1)
    assert torch.equal(method.encode(batch).x, whole.x)
    longer = build(replace(method.config, read_views=1)).eval()
    longer.load_state_dict(method.state_dict())
    assert not torch.allclose(longer.encode(batch).x, whole.x, atol=1e-3)
    view = build(replace(method.config, read="view")).eval()
    view.load_state_dict(method.state_dict())
    assert torch.equal(view.encode(batch).x, method.encoder(batch["image"]).x) and view.encode(batch).x.shape[1] == 256


def test_eyes_go_where_contrast_is():
    """Left halves are flat, so foveae are right of the middle or reach over it, unless they go anywhere."""
    config = replace(seq_jepa.tiny()[0].config, sequence="saccades", gaze="contrast", inhibition=0.0)
    batch = seq_jepa.tiny()[1]
    batch["image"][..., :16] = 0.5
    size = build(config).fovea(batch["image"])
    assert size == 11
    for gaze, low in (("contrast", (16 - size) / 32), ("anywhere", -0.001)):
        where = build(replace(config, gaze=gaze)).looks(batch, Random(0, 1, batch["index"]), 6, 0)[1]
        assert float(where[..., 1].min()) > low
    assert float(where[..., 1].min()) < (16 - size) / 32


def test_foveae_of_a_vit_are_whole_patches():
    method = build(replace(seq_jepa.tiny()[0].config, **KINDS["foveae by attention"]))
    assert [method.fovea(torch.zeros(1, 3, side, side)) for side in (8, 32, 64)] == [4, 12, 20]


# ---- equivariance


def test_a_model_that_ignores_actions_ranks_by_chance_and_training_makes_it_follow_them(made):
    """On eight images whose views differ in brightness alone; 8 copies, so chance is the mean of 1 .. 1 / 8, 0.34."""
    method, batch, _ = made
    light = PixelViews(crop_scale=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=0, jitter=1.0, brightness=0.8, contrast=0.0,
                       saturation=0.0, hue=0.0, gray=0.0, blur=0.0)  # fmt: skip
    method = build(replace(method.config, seen=light, following=light, views=2, momentum=(0.95, 1.0))).train()
    batch["image"] = batch["image"].clamp(-1.5, 1.5)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=5e-3)
    for step in range(160):
        method.energy(method.loss(batch, Random(0, step + 1, batch["index"]))).backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(step / 160)
    method.eval()
    random = Random(0, 0, batch["index"])
    found, wanted = method.copies(batch, random, 8)
    assert found.shape == wanted.shape == (8, 8, 8)
    assert torch.allclose(found.norm(dim=2), torch.ones(8, 8), atol=1e-5)
    with torch.no_grad():
        method.action[0].weight.zero_()
    deaf, same = method.copies(batch, random, 8)
    assert torch.equal(same, wanted) and torch.allclose(deaf, deaf[:, :1].expand_as(deaf), atol=1e-6)
    assert reciprocal_rank(deaf, wanted).mean().item() == pytest.approx(0.3397, abs=0.01)
    assert reciprocal_rank(found, wanted).mean() > 0.45


def test_possible_next_saccades_go_where_those_of_training_may():
    config = replace(seq_jepa.tiny()[0].config, sequence="saccades", gaze="anywhere", fovea=0.25, inhibition=1.0)
    method, batch = build(config), seq_jepa.tiny()[1]
    random, side = Random(0, 3, batch["index"]), batch["image"].shape[-1]
    size = method.fovea(batch["image"])
    where = method.looks(batch, random, 2, 0)[1]
    for copy in range(12):
        there = method.looks(batch, random.child(copy), 0, 1, where)[1]
        assert bool(((there - where).mul(side).round().abs().amax(-1) > size).all())


# ---- wrong input


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"heads": 3}, "16 together, no multiple of 3 heads"),
        ({"views": 0}, "views is 0"),
        ({"fovea": 1.5}, "fovea is 1.5"),
        ({"inhibition": -0.1}, "inhibition is -0.1"),
        ({"momentum": (0.9, math.nan)}, "momentum"),
        ({"read_views": -1}, "read_views is -1"),
        ({"following": PixelViews(size=16)}, r"following\.size 16"),
        ({"gaze": "attention"}, "which a ResNet has not"),
    ],
)
def test_impossible_settings_are_refused_in_words(wrong, words):
    with pytest.raises(ConfigError, match=words):
        replace(seq_jepa.tiny()[0].config, **wrong)


def test_wrong_batches_are_refused_in_words(made):
    method, batch, random = made
    with pytest.raises(DataError, match="no `normalization`"):
        method.loss({key: batch[key] for key in ("index", "image")}, random)
    with pytest.raises(ShapeError, match="at least 2 rows"):
        build(replace(method.config, views=1)).loss(rows(batch, [0]), Random(0, 1, batch["index"][:1]))
    with pytest.raises(ShapeError, match="1 channels"):
        method.loss({**batch, "image": batch["image"][:, :1], "normalization": batch["normalization"][..., :1]}, random)
