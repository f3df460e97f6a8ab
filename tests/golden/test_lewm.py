"""LeWM computes what stable-worldmodel computed: latents, predictions, losses, gradients, rollout and cost."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from armillary.contracts import build
from armillary.functional.distance import squared
from armillary.functional.regularize import sigreg
from armillary.methods.control import lewm
from armillary.nn.encoder import ViT

from .fixture import close, fill, golden, part

RENAMES = [
    ("encoder.embeddings.patch_embeddings.projection", "encoder.tokenizer.proj"),
    ("encoder.embeddings.position_embeddings", "encoder.position"),
    ("encoder.embeddings.cls_token", "encoder.class_token"),
    ("encoder.layernorm.", "encoder.trunk.norm."), ("encoder.layers.", "encoder.trunk.blocks."),
    ("attention.o_proj", "attn.proj"), ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
    ("projector.net.", "project."), ("pred_proj.net.", "project_prediction."),
    ("action_encoder.patch_embed", "embed_action.0"), ("action_encoder.embed.0", "embed_action.1"),
    ("action_encoder.embed.2", "embed_action.3"), ("predictor.pos_embedding", "predictor.position"),
    ("predictor.transformer.norm", "predictor.norm"), ("predictor.transformer.layers.", "predictor.blocks."),
    ("adaLN_modulation.1", "modulation"), ("attn.norm.", "attn_norm."), ("attn.to_qkv", "attn.qkv"),
    ("attn.to_out.0", "attn.proj"), ("mlp.net.0", "mlp_norm"), ("mlp.net.1", "fc1"), ("mlp.net.4", "fc2"),
]  # fmt: skip


@pytest.fixture
def released() -> tuple[lewm.LeWM, dict[str, Tensor], dict]:
    t, meta = golden("lewm/tiny_forward_loss")
    state = part(t, "state_dict.", ())
    width, vit_width = state["projector.net.3.weight"].shape[0], state["encoder.embeddings.cls_token"].shape[-1]
    patch = state["encoder.embeddings.patch_embeddings.projection.weight"].shape[-1]
    prose, predictor_prose = meta["config"].split(";")[:2]
    heads = int(re.findall(r"(\d+) heads", prose)[0])
    predictor = dict(re.findall(r"(heads|dim_head) (\d+)", predictor_prose))
    depth = len({key.split(".")[2] for key in state if key.startswith("encoder.layers.")})
    blocks = len({key.split(".")[3] for key in state if key.startswith("predictor.transformer.layers.")})
    ratio = state["encoder.layers.0.mlp.fc1.weight"].shape[0] / vit_width
    config = lewm.Config(
        ViT(t["pixels"].shape[-1], patch, vit_width, depth, heads, ratio, position="learned", class_token=True,
            norm_eps=1e-12),
        width=width, action=t["action"].shape[-1], action_width=state["action_encoder.patch_embed.weight"].shape[0],
        history=int(meta["history"]), rollout=int(meta["preds"]), depth=blocks, heads=int(predictor["heads"]),
        head_width=int(predictor["dim_head"]), hidden=state["pred_proj.net.0.weight"].shape[0], dropout=0.0,
        sigreg_weight=float(meta["lam"]),
    )  # fmt: skip
    method = build(config).eval()
    state.pop("projector.net.1.num_batches_tracked"), state.pop("pred_proj.net.1.num_batches_tracked")
    table = state.pop("encoder.embeddings.position_embeddings")
    state["encoder.class_position"] = table[0, 0]
    state["encoder.embeddings.position_embeddings"] = table[0, 1:]
    for key in [k for k in state if k.endswith(("q_proj.weight", "q_proj.bias"))]:
        thirds = [state.pop(key.replace("q_proj", third)) for third in ("q_proj", "k_proj", "v_proj")]
        state[key.replace("attention.q_proj", "attn.qkv")] = torch.cat(thirds)
    fill(method, state, RENAMES)
    return method, t, meta


def losses(method: lewm.LeWM, t: dict[str, Tensor]) -> tuple[Tensor, ...]:
    z = method.latents(t["pixels"])
    predicted, target = method.unrolled(z, t["action"])
    term = squared(predicted, target)
    regularizer = sigreg(z.transpose(0, 1), t["A_raw"] / t["A_raw"].norm(dim=0), method.config.knots)
    return z, predicted, term, regularizer, term + method.config.sigreg_weight * regularizer


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_latents_predictions_and_losses_equal_the_released_ones(released, mode):
    method, t, _ = released
    z, predicted, term, regularizer, total = losses(method.train(mode == "train"), t)
    close(z, t[f"{mode}.emb"])
    close(predicted, t[f"{mode}.pred"])
    close(term, t[f"{mode}.pred_loss"])
    close(regularizer, t[f"{mode}.sigreg"])
    close(total, t[f"{mode}.loss"])


def test_gradients_equal_the_released_ones_through_both_sides(released):
    method, t, _ = released
    losses(method.train(), t)[-1].backward()
    pairs = {
        "action_encoder.patch_embed.weight": method.embed_action[0].weight,
        "encoder.embeddings.cls_token": method.encoder.class_token,
        "pred_proj.net.3.bias": method.project_prediction[3].bias,
        "predictor.pos_embedding": method.predictor.position,
        "predictor.transformer.layers.0.adaLN_modulation.1.weight": method.predictor.blocks[0].modulation.weight,
        "projector.net.0.weight": method.project[0].weight,
    }
    for name, parameter in pairs.items():
        wanted = t[f"grad.{name}"]
        close(parameter.grad, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_action_embedding_equals_the_released_one(released):
    method, t, _ = released
    close(method.embed_action(t["action"]), t["eval.act_emb"])


def test_rollout_and_goal_cost_equal_the_released_ones(released):
    from armillary.planning.rollout import rollout

    method, t, _ = released
    batch, samples, horizon = t["rollout.candidates"].shape[:3]
    start = {"image": t["rollout.pixels"], "action": t["rollout.candidates"].new_zeros(batch, 0, t["action"].shape[-1])}
    with torch.no_grad():
        state = tuple(x.repeat_interleave(samples, 0) for x in method.start(start))
        found = rollout(method, state, t["rollout.candidates"].flatten(0, 1)).unflatten(0, (batch, samples))
    close(found, t["rollout.predicted_emb"][:, :, 1:])
    cost = (found[:, :, -1] - t["rollout.goal_emb"]).square().sum(-1)
    close(cost, t["rollout.cost_sum_sq_last"])
    assert found.shape[2] == horizon
