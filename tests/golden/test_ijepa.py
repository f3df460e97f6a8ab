"""I-JEPA computes what the released code computed."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from armillary.contracts import build
from armillary.functional.distance import layer_normalized, smooth_l1
from armillary.functional.position import grid, sincos
from armillary.methods.image import ijepa
from armillary.nn.encoder import VisionTransformer, ViT
from armillary.types import Masks, Tokens, gather
from armillary.views.blocks import released_blocks

from .fixture import ROOT, close, fill, fill_predictor, fill_vit, golden, part


def method_of(config: dict) -> ijepa.IJEPA:
    vit = ViT(config["img"], config["patch"], config["dim"], config["depth"], config["heads"])
    sizes = {"predictor_width": config["pdim"], "predictor_depth": config["pdepth"], "predictor_heads": config["heads"]}
    return build(ijepa.Config(vit, crop_scale=(1.0, 1.0), **sizes)).eval()


@pytest.fixture
def released() -> tuple[ijepa.IJEPA, dict[str, Tensor]]:
    tensors, meta = golden("image-video/ijepa_tiny")
    method = method_of(meta["config"])
    fill_vit(method.encoder, part(tensors, "encoder/"))
    fill_vit(method.teacher.module, part(tensors, "target_encoder/"))
    fill_predictor(method.predictor, part(tensors, "predictor/"))
    return method, tensors


def test_encoder_equals_the_released_one(released):
    method, t = released
    close(method.encoder.embed(t["in/imgs"]).x, t["out/tokens_after_pos_embed"])
    embedded = method.encoder.embed(t["in/imgs"]).x
    close(method.encoder.trunk.blocks[0](embedded), t["out/encoder_block0"])
    close(method.encoder(t["in/imgs"]).x, t["out/encoder_full"])
    close(method.encoder(t["in/imgs"], t["in/A/masks_enc"][0]).x, t["out/A/encoder_masked"])


@pytest.mark.parametrize("case", ["A", "B"])
def test_predictions_and_losses_equal_the_released_ones(released, case):
    method, t = released
    targets = t[f"in/{case}/masks_pred"].transpose(0, 1)  # [B, M, K]
    contexts = t[f"in/{case}/masks_enc"]
    found, wanted = [], []
    for context in contexts:
        predicted, target = method.predict(t["in/imgs"], Masks(context, targets))
        found.append(predicted)
        wanted.append(target)
    # released order: target mask, context mask, sample
    predicted = torch.stack(found).permute(2, 0, 1, 3, 4).flatten(0, 2)
    target = torch.stack(wanted).permute(2, 0, 1, 3, 4).flatten(0, 2)
    close(predicted, t[f"out/{case}/predictor"])
    close(target, t[f"out/{case}/target"])
    close(smooth_l1(predicted, target), t[f"out/{case}/loss_smooth_l1"])
    close((predicted - target).abs().mean(), t[f"out/{case}/loss_l1"])
    close((predicted - target).square().mean(), t[f"out/{case}/loss_l2"])


def test_gradients_equal_the_released_ones(released):
    method, t = released
    masks = Masks(t["in/A/masks_enc"][0], t["in/A/masks_pred"].transpose(0, 1))
    smooth_l1(*method.predict(t["in/imgs"], masks)).backward()
    close(method.encoder.trunk.blocks[0].attn.qkv.weight.grad, t["grad/A/encoder.blocks.0.attn.qkv.weight"])
    close(method.encoder.tokenizer.proj.weight.grad, t["grad/A/encoder.patch_embed.proj.weight"])
    close(method.predictor.mask_token.grad, t["grad/A/predictor.mask_token"])
    close(method.predictor.into.weight.grad, t["grad/A/predictor.predictor_embed.weight"])


def test_norm_epsilons_are_those_of_the_release(released):
    """At a hundredth of the token scale a wrong epsilon changes outputs by 1e-2 and more."""
    method, t = released
    probes, meta = golden("image-video/norm_eps_probes")
    scale = meta["config"]["scale"]
    with torch.no_grad():
        for module in (method.encoder.tokenizer.proj, method.predictor.into):
            module.weight.mul_(scale)
            module.bias.mul_(scale)
        method.encoder.position.mul_(scale)
        method.predictor.mask_token.mul_(scale)
    place = method.predictor.place.forward
    method.predictor.place.forward = lambda pos: place(pos) * scale
    close(method.encoder(t["in/imgs"]).x, probes["out/ijepa/encoder_scaled"])
    targets = t["in/A/masks_pred"].transpose(0, 1)
    pos = method.encoder.embed(t["in/imgs"]).pos
    context = Tokens(t["out/A/encoder_masked"], gather(pos, t["in/A/masks_enc"][0]))
    found = method.predictor(context, gather(pos, targets))
    close(found.transpose(0, 1).flatten(0, 1), probes["out/ijepa/predictor_scaled"])


def test_target_norm_epsilon(released):
    video, _ = golden("image-video/norm_eps_probes")
    tokens, _ = golden("image-video/vjepa2_tiny")
    close(layer_normalized(tokens["out/encoder_full"] * 0.01), video["out/target_layer_norm"])


def test_positions_equal_the_released_tables(released):
    """V-JEPA's tables hold the row first; I-JEPA's the column first, which `encoder` above proves."""
    tables, _ = golden("image-video/sincos_tables")
    checked = 0
    for name, table in tables.items():
        if not name.startswith("sincos2d/"):
            continue
        side = round(len(table) ** 0.5)
        if table.shape[1] % 4 == 0:
            close(sincos(grid(side, side), table.shape[1]), table, atol=1e-5)
            checked += 1
    assert checked >= 2
    for name, table in tables.items():
        if name.startswith("sincos1d/"):
            close(sincos(torch.arange(len(table))[:, None].float(), table.shape[1]), table, atol=1e-5)


def test_masks_of_the_released_sampler_are_exact():
    tensors, meta = golden("image-video/mask_samplers")
    for name in ("ijepa_b1", "ijepa_b16"):
        config = meta["config"][name]
        side = config["input_size"] // config["patch_size"]
        places = torch.Generator().manual_seed(config["global_seed"])
        for step in range(3):
            masks = released_blocks(
                side, side, config["batch"], step, places, config["npred"], tuple(config["pred_mask_scale"]),
                tuple(config["aspect_ratio"]), tuple(config["enc_mask_scale"]), config["min_keep"],
            )  # fmt: skip
            assert torch.equal(masks.context, tensors[f"{name}/exact/iter{step}/enc"][0])
            assert torch.equal(masks.targets, tensors[f"{name}/exact/iter{step}/pred"].transpose(0, 1))


RENAMES = [
    ("embeddings.patch_embeddings.projection", "tokenizer.proj"), ("encoder.layer.", "trunk.blocks."),
    ("attention.output.dense", "attn.proj"), ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
    ("intermediate.dense", "mlp.fc1"), ("output.dense", "mlp.fc2"), ("layernorm.", "trunk.norm."),
]  # fmt: skip


def transformers_vit(folder: str, prefix: str = "") -> tuple[VisionTransformer, dict[str, Tensor], dict[str, Tensor]]:
    path = ROOT / "image-video" / folder
    if not path.exists():
        pytest.skip(f"fixture {path} is absent")
    c = json.loads((path / "config.json").read_text())
    state = load_file(path / "model.safetensors")
    vit = ViT(
        c["image_size"], c["patch_size"], c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"],
        c["intermediate_size"] / c["hidden_size"], position="learned", norm_eps=c["layer_norm_eps"],
    )  # fmt: skip
    body = {key.removeprefix(prefix): value for key, value in state.items() if not key.startswith("classifier")}
    merged = {}
    for key, value in body.items():
        if ".attention.attention.query." in key:
            thirds = [body[key.replace("query", third)] for third in ("query", "key", "value")]
            merged[key.replace("attention.attention.query", "attn.qkv")] = torch.cat(thirds)
        elif ".attention.attention." not in key and not key.startswith("pooler"):
            merged[key.replace("embeddings.position_embeddings", "position")] = value
    model = VisionTransformer(vit).eval()
    fill(model, merged, RENAMES)
    return model, load_file(path / "io.safetensors"), state


def test_encoder_equals_the_one_in_transformers():
    model, io, _ = transformers_vit("hf_ijepa_tiny")
    close(model.embed(io["in/pixel_values"]).x, io["out/hidden_states_0"])
    close(model(io["in/pixel_values"]).x, io["out/last_hidden_state"])
    close(model(io["in/pixel_values_larger"]).x, io["out/interpolated_last_hidden_state"])


def test_classifier_equals_the_one_in_transformers():
    model, io, state = transformers_vit("hf_ijepa_cls_tiny", "ijepa.")
    logits = model(io["in/pixel_values"]).pooled() @ state["classifier.weight"].T + state["classifier.bias"]
    close(logits, io["out/logits"])
