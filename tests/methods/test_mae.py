"""MAE: the encoder sees visible patches only, the loss hidden ones only."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from armillary.contracts import build
from armillary.errors import ConfigError
from armillary.functional.pixels import patch_normalized, patchify
from armillary.methods.rivals import mae
from armillary.nn.encoder import ViT
from armillary.randomness import Random

PATCH = 8


@pytest.fixture
def made():
    torch.manual_seed(0)
    return mae.tiny()


def overwritten(image: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The image with noise in the patches at `index`."""
    out = image.clone()
    for row, places in enumerate(index.tolist()):
        for place in places:
            top, left = place // 4 * PATCH, place % 4 * PATCH
            out[row, :, top : top + PATCH, left : left + PATCH] = torch.randn(3, PATCH, PATCH)
    return out


def test_reconstruction_does_not_depend_on_hidden_pixels(made):
    method, batch = made
    visible, hidden = method.masks(batch, Random(0, 1, batch["index"]))
    before = method.reconstruct(batch["image"], visible, hidden)
    after = method.reconstruct(overwritten(batch["image"], hidden), visible, hidden)
    assert torch.allclose(before, after, atol=1e-6)
    assert not torch.allclose(
        before, method.reconstruct(overwritten(batch["image"], visible), visible, hidden), atol=1e-3
    )


def test_encoder_gets_a_quarter_of_the_patches(made):
    method, batch = made
    lengths = []
    method.encoder.trunk.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].x.shape[1]))
    method.loss(batch, Random(0, 1, batch["index"]))
    method.encode(batch)
    assert lengths == [1 + 4, 1 + 16]  # with the class token


def test_loss_is_the_error_of_hidden_patches_alone(made, monkeypatch):
    method, batch = made
    monkeypatch.setattr(mae, "resized_crop", lambda image, *_, **__: image)
    random = Random(0, 1, batch["index"])
    visible, hidden = method.masks(batch, random)
    target = patch_normalized(patchify(batch["image"], PATCH))
    full = torch.zeros_like(target).scatter(
        1, hidden[..., None].expand(-1, -1, target.shape[2]), method.reconstruct(batch["image"], visible, hidden)
    )
    each = (full - target).square().mean(-1)
    weight = torch.ones_like(each).scatter(1, visible, 0.0)
    torch.testing.assert_close(method.loss(batch, random)["reconstruction"], (each * weight).sum() / weight.sum())


@pytest.mark.parametrize("normalize", [False, True])
def test_loss_of_the_released_predictions_is_the_released_loss(golden, monkeypatch, normalize):
    t = load_file(golden / "image-video" / "baseline_losses.safetensors")
    config = mae.Config(ViT(image=16, patch=4, width=16, depth=1, heads=2), 16, 1, 2, normalize=normalize)
    method, total = build(config), 0.0
    monkeypatch.setattr(mae, "resized_crop", lambda image, *_, **__: image)
    for row, mask in enumerate(t["in/mae/mask"].bool()):  # one image at a time: they hide 10 and 9 patches
        hidden, visible = (index.nonzero().T for index in (mask, ~mask))
        predicted = t["in/mae/pred"][row, hidden]
        monkeypatch.setattr(mae, "random_masks", lambda *_, split=(visible, hidden): split)
        monkeypatch.setattr(method.decoder, "forward", lambda seen, query, out=predicted: out[:, None])
        batch = {"index": torch.tensor([row]), "image": t["in/mae/imgs"][row : row + 1]}
        total += hidden.numel() * method.loss(batch, Random(0, 1, batch["index"]))["reconstruction"]
    wanted = t[f"out/mae/loss_normpix{int(normalize)}"]
    torch.testing.assert_close(total / t["in/mae/mask"].sum(), wanted, rtol=1e-4, atol=2e-5)


def test_masks_split_the_patches_and_change_with_sample_and_step(made):
    method, batch = made
    visible, hidden = method.masks(batch, Random(0, 1, batch["index"]))
    assert torch.equal(torch.cat([visible, hidden], 1).sort(1).values, torch.arange(16).expand(8, -1))
    assert len(visible.sort(1).values.unique(dim=0)) > 1
    assert not torch.equal(visible, method.masks(batch, Random(0, 2, batch["index"]))[0])


def test_order_of_visible_patches_does_not_matter(made):
    method, batch = made
    visible, hidden = method.masks(batch, Random(0, 1, batch["index"]))
    one, two = (method.reconstruct(batch["image"], index, hidden) for index in (visible, visible.flip(1)))
    assert torch.allclose(one, two, atol=1e-5)


def test_class_token_goes_through_the_decoder(made):
    method, batch = made
    visible, hidden = method.masks(batch, Random(0, 1, batch["index"]))
    places = []
    method.decoder.place.register_forward_pre_hook(lambda _, inputs: places.append(inputs[0]))
    method.reconstruct(batch["image"], visible, hidden)
    assert places[0].shape[1] == 5 and places[0][:, 0].eq(-1).all() and places[0][:, 1:].ge(0).all()
    without = build(replace(method.config, encoder=replace(method.config.encoder, class_token=False)))
    assert without.reconstruct(batch["image"], visible, hidden).shape == (8, 12, 3 * PATCH**2)


def test_sharing_everything_or_nothing_is_refused(made):
    method, batch = made
    with pytest.raises(ConfigError, match=r"mask is 1\.5"):
        replace(method.config, mask=1.5)
    for mask in (0.0, 0.99, 1.0):  # 0.99 leaves none of 16 patches
        with pytest.raises(ConfigError, match="hide at least 1, and not all"):
            replace(method.config, mask=mask)
    for mask in (0.01, 0.9):  # 15 and 1 of 16 stay
        terms = build(replace(method.config, mask=mask)).loss(batch, Random(0, 1, batch["index"]))
        assert terms["reconstruction"].isfinite()
