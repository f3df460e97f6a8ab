"""Every method there is keeps the contract; the check itself catches what it claims to catch."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest
import torch

import armillary.methods
from armillary.contracts import Method, build, check_dynamics, check_method, method_class
from armillary.diagnostics.forecasts import forecast_measures
from armillary.errors import ConfigError
from armillary.methods.control import dino_wm, fast_lewm, hwm, jepa_wm, lewm, pldm, value_guided, vjepa2_ac
from armillary.methods.image import ijepa
from armillary.randomness import Random

FILES = sorted(p for p in Path(armillary.methods.__file__).parent.glob("*/*.py") if p.stem != "__init__")
NAMES = [f"armillary.methods.{p.parent.name}.{p.stem}" for p in FILES]


@pytest.mark.parametrize("name", NAMES)
def test_method_keeps_its_contract(name):
    torch.manual_seed(0)
    found = check_method(*importlib.import_module(name).tiny())
    assert found["terms"]


@pytest.mark.parametrize("name", NAMES)
def test_loss_falls_on_one_batch(name):
    torch.manual_seed(0)
    method, batch = importlib.import_module(name).tiny()
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=2e-3)
    seen = []
    for _ in range(30):
        energy = method.train().energy(method.loss(batch, Random(0, 1, batch["index"])))
        energy.backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(energy.item())
    assert seen[-1] < seen[0]


@pytest.mark.parametrize("name", NAMES)
def test_changing_a_row_changes_the_loss(name):
    torch.manual_seed(0)
    method, batch = importlib.import_module(name).tiny()
    before = method.energy(method.loss(batch, Random(0, 1, batch["index"])))
    changed = {k: v.clone() for k, v in batch.items()}
    for key in ("image", "points"):
        if key in changed:
            changed[key][0] = changed[key][0].flip(-1) * 2
    assert not torch.equal(before, method.energy(method.loss(changed, Random(0, 1, batch["index"]))))


@pytest.mark.parametrize("name", NAMES)
def test_a_forecast_can_be_measured_and_names_the_place_of_each_target(name):
    torch.manual_seed(0)
    method, batch = importlib.import_module(name).tiny()
    same = {k: v if k == "index" else v[:1].expand_as(v) for k, v in batch.items()}
    with torch.no_grad():
        forecast = method.eval().forecast(batch, Random(0, 0, batch["index"]))
        repeated = method.forecast(same, Random(0, 0, batch["index"]))
    if forecast is None:
        return
    found = forecast_measures(forecast)
    assert all(math.isfinite(value) for value in found.values()) and "target_std" in found
    if forecast.place is None or name.endswith("iwm"):  # whose targets are seen through another view each
        return
    for place in repeated.place.unique():  # one input: a target is a function of its place
        there = repeated.target[repeated.place == place]
        assert torch.allclose(there, there[:1].expand_as(there), atol=1e-4), f"targets at place {place} differ"
    assert len(repeated.place.unique()) > 1


@pytest.mark.parametrize("name", NAMES)
def test_method_is_built_the_same_from_its_seed(name):
    torch.manual_seed(0)
    config = importlib.import_module(name).tiny()[0].config
    one, two, other = build(config, 1), build(config, 1), build(config, 2)
    states = [m.state_dict() for m in (one, two, other)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert any(not torch.equal(states[0][k], states[2][k]) for k in states[0])


@pytest.mark.parametrize("world_model", [dino_wm, fast_lewm, hwm, jepa_wm, lewm, pldm, value_guided, vjepa2_ac])
def test_world_model_keeps_the_dynamics_contract(world_model):
    torch.manual_seed(0)
    method, batch = world_model.tiny()
    context = {"image": batch["image"][:, :2], "action": batch["action"][:, :1]}
    check_dynamics(method.eval(), context, batch["action"][:, 1])


class Leaky(ijepa.IJEPA):
    """A method whose teacher gets a gradient."""

    def __init__(self, config: ijepa.Config):
        super().__init__(config)
        self.unused = torch.nn.Parameter(torch.zeros(3))


def test_check_names_a_parameter_without_gradient():
    torch.manual_seed(0)
    method, batch = ijepa.tiny()
    with pytest.raises(AssertionError, match="unused"):
        check_method(Leaky(method.config), batch)


class Restless(ijepa.IJEPA):
    """A method whose after_step moves the encoder."""

    def after_step(self, progress: float) -> None:
        with torch.no_grad():
            self.encoder.trunk.norm.weight.mul_(0.5)


def test_check_names_what_after_step_may_not_move():
    torch.manual_seed(0)
    method, batch = ijepa.tiny()
    with pytest.raises(AssertionError, match=r"encoder\.trunk\.norm\.weight"):
        check_method(Restless(method.config), batch)


class Careless(ijepa.IJEPA):
    """A method that draws from the global generator."""

    def loss(self, batch, random):
        noisy = {**batch, "image": batch["image"] + torch.randn_like(batch["image"])}
        return super().loss(noisy, random)


def test_check_finds_global_randomness():
    torch.manual_seed(0)
    method, batch = ijepa.tiny()
    with pytest.raises(AssertionError, match="not a function of its inputs"):
        check_method(Careless(method.config), batch)


def test_energy_refuses_terms_without_weight():
    method, _ = ijepa.tiny()
    with pytest.raises(ConfigError, match="one weight"):
        method.energy({"prediction": torch.zeros(()), "stray": torch.zeros(())})


def test_config_without_a_method_beside_it_is_refused():
    with pytest.raises(ConfigError, match="exactly one Method"):
        method_class(object())
    assert issubclass(method_class(ijepa.Config()), Method)
