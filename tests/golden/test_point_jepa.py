"""Point-JEPA computes what the released code computed: groups, tokens, chain, targets, predictions, loss, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armillary.contracts import build
from armillary.functional.distance import layer_normalized, smooth_l1
from armillary.methods.points import point_jepa
from armillary.nn.tokenize.points import farthest_points, neighbours
from armillary.randomness import Random
from armillary.types import Masks, Tokens, gather
from armillary.views.runs import nearest_chain, runs, shared_runs

from .fixture import close, fill, golden, part

TOKENIZER = [("embedding.encoder.first_conv.", "local."), ("embedding.encoder.second_conv.", "joint.")]


@pytest.fixture
def released() -> tuple[point_jepa.PointJEPA, dict[str, Tensor], dict]:
    t, meta = golden("point-jepa/forward")
    c = meta["config"]
    config = point_jepa.Config(
        c["tokenizer_num_groups"], c["tokenizer_group_size"], width=c["encoder_dim"], depth=c["encoder_depth"],
        heads=c["encoder_heads"], predictor_width=c["predictor_embed_dim"], predictor_depth=c["predictor_depth"],
        beta=c["loss_beta"],
    )  # fmt: skip
    method = build(config).eval()
    fill(method.tokenizer, part(t, "param.tokenizer."), TOKENIZER, ignore=("num_batches_tracked",))
    fill(method.place, part(t, "param.positional_encoding."), [])
    fill(method.trunk, part(t, "param.student."), [])
    fill(method.teacher, part(t, "param.teacher."), [("ema_model.", "module.")])
    predictor = part(t, "param.predictor.", ())
    names = [("predictor_embed", "into"), ("predictor_proj", "out"), ("positional_encoding", "place"),
             ("predictor.blocks", "blocks"), ("predictor.norm", "norm")]  # fmt: skip
    fill(method.predictor, predictor, names, ignore=("predictor_norm",))
    return method, t, meta


def test_groups_equal_the_released_ones(released):
    method, t, _ = released
    index = farthest_points(t["points"], method.config.groups, t["fps_start"])
    assert torch.equal(index, t["fps_index"])
    near = neighbours(t["points"], gather(t["points"], index), method.config.group_size)
    assert torch.equal(near.sort(-1).values, t["knn_index_sorted"])


def test_tokens_and_chain_equal_the_released_ones(released):
    method, t, _ = released
    tokens = method.tokenizer(t["points"], t["fps_start"])
    close(tokens.pos, t["centers_fps_order"])
    close(tokens.x, t["tokens_fps_order"])
    chain = nearest_chain(tokens.pos)
    assert torch.equal(chain, t["order_iterative_nearest_min_start"])
    close(tokens.take(chain).x, t["tokens"])


def objective(method: point_jepa.PointJEPA, t: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    tokens = method.tokenizer(t["points"], t["fps_start"])
    tokens = tokens.take(nearest_chain(tokens.pos))
    size = len(t["points"])
    masks = Masks(t["context_index"].expand(size, -1), t["target_index"].expand(size, -1, -1))
    return method.predict(tokens, masks)


def test_targets_predictions_and_loss_equal_the_released_ones(released):
    method, t, _ = released
    predicted, target = objective(method, t)
    close(target.transpose(0, 1), t["target_blocks"])
    close(predicted.transpose(0, 1), t["predictions"])
    close(smooth_l1(predicted, target, method.config.beta), t["loss_eval"])
    tokens = Tokens(t["tokens"], t["centers"])
    close(layer_normalized(method.teacher.module.hidden(tokens, method.place(tokens.pos))), t["teacher_full_normed"])
    seen = tokens.take(t["context_index"].expand(len(t["points"]), -1))
    close(method.trunk(seen, method.place(seen.pos)).x, t["context_encoding"])


def test_gradients_equal_the_released_ones(released):
    method, t, _ = released
    smooth_l1(*objective(method, t), method.config.beta).backward()
    pairs = {
        "positional_encoding.0.weight": method.place[0].weight,
        "predictor.predictor_proj.weight": method.predictor.out.weight,
        "student.blocks.0.attn.qkv.weight": method.trunk.blocks[0].attn.qkv.weight,
        "tokenizer.second_conv.3.bias": method.tokenizer.joint[3].bias,
    }
    for name, parameter in pairs.items():
        close(parameter.grad, t[f"grad.{name}"], rtol=1e-3, atol=1e-4 * float(t[f"grad.{name}"].abs().max()))


def test_teacher_moves_as_released(released):
    method, t, _ = released
    teacher, student = method.teacher.module.blocks[0].attn.qkv.weight, method.trunk.blocks[0].attn.qkv.weight
    with torch.no_grad():
        teacher.copy_(t["ema.teacher_before"])
        student.copy_(t["ema.student"])
    first, last = method.config.momentum
    method.after_step(float((t["ema.decay_used"] - first) / (last - first)))
    close(method.teacher.module.blocks[0].attn.qkv.weight, t["ema.teacher_after"], atol=1e-7)


def columns(context: Tensor, targets: Tensor) -> Tensor:
    """[target block size, unique target tokens, context size, span of the context] of one draw."""
    span = context.max() - context.min() + 1
    return torch.tensor([targets.shape[-1], len(targets.unique()), len(context), int(span)], dtype=torch.float64)


@pytest.mark.parametrize("sampler", ["released", "unbiased"])
def test_statistics_of_the_sampler_equal_the_released_ones(sampler):
    t, meta = golden("point-jepa/sampler_stats")
    c, count, draws = meta["config"], int(meta["tokens"]), int(meta["draws"])
    settings = (c["targets"], tuple(c["target_ratio"]), tuple(c["context_ratio"]))
    generator, rows = torch.Generator().manual_seed(0), []
    for step in range(draws):
        if sampler == "released":
            masks = shared_runs(count, 1, generator, *settings)
        else:
            masks = runs(count, Random(0, step, torch.tensor([step])), *settings)
        rows.append(columns(masks.context[0], masks.targets[0]))
    found = torch.stack(rows)
    bound = 4 * t["columns_std"].double() * (1 / draws + 1 / int(meta["draws"])) ** 0.5
    gap = (found.mean(0) - t["columns_mean"].double()).abs()
    if (
        sampler == "unbiased"
    ):  # one context size per step: the same targets, a context within a token of the released mean
        assert (gap[:2] <= bound[:2]).all(), (found.mean(0), t["columns_mean"])
        assert gap[2] <= 1.5, (found.mean(0), t["columns_mean"])
        return
    assert (gap <= bound).all(), (found.mean(0), t["columns_mean"])
    sizes = torch.bincount(found[:, 2].long(), minlength=count + 1) / draws
    wanted = t["context_size_hist"].double() / t["context_size_hist"].sum()
    assert (sizes - wanted).abs().sum() / 2 < 0.05
