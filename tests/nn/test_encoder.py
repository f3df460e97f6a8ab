"""Encoders: kept tokens are those asked for, wrong images are refused in words, initialization is what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from armillary.errors import ConfigError, ShapeError
from armillary.nn.encoder import ConvNet, ViT, encoder
from armillary.nn.norm import BatchNorm
from armillary.nn.resnet import ResNet
from armillary.randomness import numbered

SMALL = ViT(image=32, patch=8, width=32, depth=2, heads=2)


def test_only_kept_tokens_enter_the_trunk():
    net, image = encoder(SMALL).eval(), numbered(3).normal("i", 3, 32, 32)
    keep = torch.tensor([[0, 5], [3, 2], [15, 1]])
    kept = net(image, keep)
    assert kept.x.shape == (3, 2, 32) and kept.pos[2, 0].tolist() == [3.0, 3.0]
    changed = image.clone()
    changed[0, :, 8:, 16:] += 1  # patches 6, 7 and below: none is kept in row 0 but patch 5 is untouched
    assert torch.allclose(net(changed, keep).x[0], kept.x[0], atol=1e-5)


def test_order_of_kept_tokens_does_not_matter():
    net, image = encoder(SMALL).eval(), numbered(1).normal("i", 3, 32, 32)
    one, two = net(image, torch.tensor([[1, 7, 9]])).x, net(image, torch.tensor([[9, 1, 7]])).x
    assert torch.allclose(one[:, [2, 0, 1]], two, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 30, 32), (3, 32, 31), (1, 32, 32), (3, 0, 32)])
def test_wrong_images_are_refused_with_what_to_do(shape):
    with pytest.raises(ShapeError, match=r"multiple of the patch|channels"):
        encoder(SMALL)(torch.zeros(1, *shape))


def test_image_side_must_fit_patch_and_halvings():
    with pytest.raises(ConfigError, match="not a multiple of patch"):
        ViT(image=30, patch=8)
    with pytest.raises(ConfigError, match="reduced"):
        ConvNet(image=20, widths=(8, 8, 8))
    with pytest.raises(ConfigError, match="heads"):
        encoder(ViT(image=32, patch=8, width=32, depth=1, heads=5))


def test_released_initialization_has_std_002_and_zero_biases():
    net = encoder(ViT(image=32, patch=8, width=192, depth=2, heads=3))
    for name, p in net.named_parameters():
        if "norm" in name:
            continue
        if p.ndim > 1:
            assert abs(p.std() - 0.02) < 0.002, name
        elif name.endswith("bias"):
            assert p.abs().max() == 0, name


def test_vector_of_the_convolutional_network_is_its_last_map():
    net = encoder(ConvNet(image=16, widths=(4, 8))).eval()
    image = numbered(2).normal("i", 3, 16, 16)
    tokens = net(image)
    assert tokens.x.shape == (2, 16, 8) and net.vector(image).shape == (2, net.out_width)
    assert torch.allclose(tokens.x.transpose(1, 2).flatten(1), net.vector(image), atol=1e-6)


@pytest.mark.parametrize("config", [ConvNet(image=16, widths=(4, 8)), ResNet(image=16, base=4, blocks=(1, 1))])
def test_other_channels_are_refused_in_words(config):
    gray = torch.zeros(2, 1, 16, 16)
    for read in (encoder(config), encoder(config).vector):
        with pytest.raises(ShapeError, match="1 channels, the encoder was built for 3"):
            read(gray)


def test_vector_of_the_convolutional_network_needs_images_of_its_size():
    net = encoder(ConvNet(image=16, widths=(4, 8)))
    assert net(torch.zeros(2, 3, 32, 32)).x.shape == (2, 64, 8)  # cells of any size
    with pytest.raises(ShapeError, match=r"images are \(32, 32\) pixels"):
        net.vector(torch.zeros(2, 3, 32, 32))


def test_batch_norm_equals_torch():
    ours, theirs = BatchNorm(5), torch.nn.BatchNorm1d(5)
    for _ in range(3):
        x = torch.randn(16, 5) * 3 + 1
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x))
    with pytest.raises(ShapeError, match="at least 2 rows"):
        ours.train()(torch.zeros(1, 5))


def test_hidden_patches_are_replaced_and_keep_their_place():
    net, image = encoder(SMALL).eval(), numbered(2).normal("i", 3, 32, 32)
    hidden = torch.zeros(2, 16, dtype=torch.bool)
    hidden[0, 3] = hidden[0, 9] = True
    token = torch.randn(32)
    plain, masked = net.embed(image), net.embed(image, hidden, token)
    assert torch.equal(masked.x[~hidden], plain.x[~hidden])
    torch.testing.assert_close(masked.x[0, [3, 9]], token + net.position[[3, 9]])


@pytest.mark.parametrize("class_token", [False, True])
def test_one_pass_gives_vector_tokens_and_layers(class_token):
    net = encoder(replace(SMALL, class_token=class_token)).eval()
    image = numbered(2).normal("i", 3, 32, 32)
    vector, tokens = net.both(net.embed(image))
    torch.testing.assert_close(vector, net.vector(image))
    torch.testing.assert_close(tokens.x, net(image).x)
    first, last = net.layers(image, 2)
    assert first.shape == last.shape == (2, 16, 32)
    torch.testing.assert_close(net.trunk.norm(last), tokens.x)
    assert len(net.layers(image, 1)) == 1
