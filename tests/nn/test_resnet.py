"""The residual network against torchvision's published sizes and its own promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from armillary.errors import ConfigError
from armillary.nn.heads import mlp
from armillary.nn.norm import BatchNorm
from armillary.nn.resnet import ResidualNetwork, ResNet
from armillary.nn.teacher import EMA


def test_resnet18_has_the_published_number_of_parameters():
    large = ResidualNetwork(ResNet(image=224, stem="large"))
    assert sum(p.numel() for p in large.parameters()) == 11_689_512 - 513_000  # without the classifier of 1,000 classes


@pytest.mark.parametrize(("image", "stem", "side"), [(32, "small", 4), (96, "large", 3), (40, "small", 5)])
def test_tokens_are_the_cells_of_the_last_map(image, stem, side):
    config = ResNet(image=image, base=8, stem=stem)
    network = ResidualNetwork(config).eval()
    x = torch.randn(2, 3, image, image)
    tokens = network(x)
    assert config.side == side and tokens.x.shape == (2, side**2, network.out_width) and network.out_width == 64
    assert torch.allclose(tokens.x.mean(1), network.vector(x), atol=1e-5)
    assert tokens.pos[0, -1].tolist() == [side - 1, side - 1]


def test_stage_without_blocks_is_refused():
    with pytest.raises(ConfigError, match="blocks"):
        ResNet(blocks=())


def test_batch_norm_of_maps_is_torchs():
    ours, theirs, x = BatchNorm(5, axis=1), nn.BatchNorm2d(5), torch.randn(4, 5, 3, 2)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6) and torch.allclose(ours.running_var, theirs.running_var)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-6)
    assert list(BatchNorm(5, affine=False).parameters()) == []


def test_mlp_ends_as_asked():
    plain = mlp((4, 8, 8, 3), "plain norm")
    assert [type(m).__name__ for m in plain] == ["Linear", "BatchNorm", "ReLU"] * 2 + ["Linear", "BatchNorm"]
    assert plain[-2].bias is None and plain[-1].weight is None
    assert mlp((4, 3))[0].bias is not None and mlp((4, 3), bias=False)[0].bias is None


def test_teacher_follows_the_mode_only_when_asked_and_keeps_its_own_averages():
    source = nn.Sequential(nn.Linear(3, 4), BatchNorm(4))
    still, moving = EMA(source).train(), EMA(source, training=True).train()
    assert not still.module.training and moving.module.training and not moving.eval().module.training
    moving.train()
    source(torch.randn(8, 3))
    before = moving.module[1].running_mean.clone()
    moving.update(source, 0.5)
    still.update(source, 0.5)
    assert torch.equal(moving.module[1].running_mean, before)
    assert torch.equal(still.module[1].running_mean, source[1].running_mean)
    out = moving(torch.randn(8, 3))
    assert not out.requires_grad and out.mean(0).abs().max() < 1e-5  # the batch's own statistics
