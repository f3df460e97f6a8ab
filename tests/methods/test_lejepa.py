"""LeJEPA: every view learns, equal views cost nothing, and both centers are as written."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from armillary.contracts import build
from armillary.errors import ConfigError
from armillary.functional.regularize import sigreg, unit_directions
from armillary.methods.image import lejepa
from armillary.nn.resnet import ResNet
from armillary.randomness import Random
from armillary.views.pixels import PixelViews


@pytest.fixture
def made():
    torch.manual_seed(0)
    return lejepa.tiny()


def test_gradient_reaches_every_view(made):
    """Also the mean that views are drawn to: nothing is stopped."""
    method, batch = made
    large = [batch["image"].clone().requires_grad_() for _ in range(2)]
    small = [batch["image"][..., :16, :16].clone().add(i).requires_grad_() for i in range(2)]
    z = method.project(large, small)
    (z - method.middle(z)).square()[3].mean().backward()  # the distance of one small view
    assert all(view.grad is not None and view.grad.abs().max() > 0 for view in (*large, small[1]))
    method.zero_grad()
    z = method.project(large, small)
    (z - method.middle(z)).square().mean().backward()
    assert small[0].grad is not None and small[0].grad.abs().max() > 0


def test_identical_views_have_no_prediction_term(made):
    method, batch = made
    still = PixelViews(crop_scale=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=0, jitter=0, gray=0, blur=0, solarize=0)
    config = replace(method.config, global_view=still, locals=0)
    terms = build(config).train().loss(batch, Random(0, 1, batch["index"]))
    assert terms["prediction"] < 1e-10
    assert terms["sigreg"] > 0.1
    other = build(replace(config, global_view=replace(still, crop_scale=(0.3, 1.0)))).train()
    assert other.loss(batch, Random(0, 1, batch["index"]))["prediction"] > 1e-4


def test_center_is_the_mean_of_the_global_views_or_of_all(made):
    method, _ = made
    z = torch.randn(4, 8, 8)
    assert torch.allclose(method.middle(z)[3], (z[0] + z[1]) / 2)
    released = build(replace(method.config, center="all"))
    assert torch.allclose(released.middle(z)[3], z.mean(0), atol=1e-6)
    expected = (z.mean(0) - z).square().mean()  # MINIMAL.md's invariance
    assert torch.allclose((z - released.middle(z)).square().mean(), expected)


def test_regularizer_is_the_mean_over_views_of_each_alone(made):
    method, batch = made
    random = Random(0, 1, batch["index"])
    z = method.views(batch, random).detach()
    directions = unit_directions(8, 32, random.shared("directions"))
    alone = torch.stack([sigreg(view, directions) for view in z]).mean()
    assert torch.allclose(method.loss(batch, random)["sigreg"], alone, rtol=1e-4)


def test_weights_share_the_energy(made):
    method, _ = made
    assert method.weights == {"prediction": 0.95, "sigreg": 0.05}
    assert build(replace(method.config, sigreg_weight=0.02)).weights["prediction"] == 0.98


def test_directions_are_new_in_each_step(made):
    _, batch = made
    one, two = (Random(0, step, batch["index"]).shared("directions") for step in (1, 2))
    assert not torch.equal(unit_directions(8, 4, one), unit_directions(8, 4, two))


def test_views_of_two_sizes_pass_through_a_residual_network(made):
    method, batch = made
    other = build(replace(method.config, encoder=ResNet(image=32, base=4))).train()
    assert other.views(batch, Random(0, 1, batch["index"])).shape == (4, 8, 8)
    assert other.encode(batch).x.shape[-1] == 32


def test_one_view_is_refused():
    with pytest.raises(ConfigError, match="views"):
        lejepa.Config(globals=1, locals=0)
