"""Straightened world models: a term where there is a weight, and nothing else anywhere where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from armillary.contracts import build, check_method
from armillary.data.formats.images import Images
from armillary.errors import ConfigError, ShapeError
from armillary.functional.trajectory import straightening
from armillary.methods.control import fast_lewm, lewm, pldm
from armillary.randomness import Random
from armillary.recipes import run as runs
from armillary.recipes.prefix import lewm_two_rooms_straight
from armillary.recipes.run import Run
from armillary.recipes.two_rooms import lewm_two_rooms

METHODS = pytest.mark.parametrize("module", [fast_lewm, lewm, pldm])


def losses(module, weight: float):
    config, batch = replace(module.tiny()[0].config, straighten_weight=weight), module.tiny()[1]
    method = build(config, seed=1)
    return method, batch, method.loss(batch, Random(0, 1, batch["index"]))


@METHODS
def test_weight_0_has_no_term_and_changes_no_bit_of_the_others(module):
    plain, _, terms = losses(module, 0.0)
    other, _, more = losses(module, 0.1)
    assert module.tiny()[0].config.straighten_weight == 0
    assert list(terms) == list(more)[:-1] == list(plain.weights) and list(more)[-1] == "straightening"
    assert all(torch.equal(terms[name], more[name]) for name in terms)
    plain.energy(terms).backward()
    sum(plain.weights[name] * more[name] for name in terms).backward()
    pairs = zip(plain.parameters(), other.parameters(), strict=True)
    assert all(torch.allclose(a.grad, b.grad, rtol=1e-5, atol=1e-8) for a, b in pairs)


@METHODS
def test_with_a_weight_the_energy_has_the_bends_of_the_encoded_windows(module):
    method, batch, terms = losses(module, 0.25)
    z = method.latents(batch["image"])
    assert torch.equal(terms["straightening"], straightening(z)) and terms["straightening"] > 0.3
    rest = sum(method.weights[name] * terms[name] for name in terms if name != "straightening")
    torch.testing.assert_close(method.energy(terms), rest + 0.25 * terms["straightening"])
    check_method(method, batch)


@METHODS
def test_a_run_that_was_written_before_there_was_a_weight_is_read(module, tmp_path: Path):
    run = Run(module.tiny()[0].config, Images("somewhere"), steps=1, batch=2)
    runs.save(tmp_path, run, "world")
    tree = json.loads((tmp_path / "run.json").read_text())
    del tree["values"]["method"]["straighten_weight"]
    (tmp_path / "run.json").write_text(json.dumps(tree))
    assert runs.load(tmp_path, run) == run


@METHODS
def test_what_does_not_fit_is_named(module):
    with pytest.raises(ConfigError, match="straighten_weight is -1"):
        losses(module, -1)
    config = replace(module.tiny()[0].config, straighten_weight=1.0)
    shorter = {fast_lewm: {"horizon": 1}, lewm: {"history": 1, "rollout": 1}, pldm: {"samples": "all"}}[module]
    batch = module.tiny()[1]
    batch = {**batch, "image": batch["image"][:, :2], "action": batch["action"][:, :1]}
    with pytest.raises(ShapeError, match="longer windows"):
        build(replace(config, **shorter)).loss(batch, Random(0, 1, batch["index"]))


def test_the_recipe_differs_in_the_weight_alone():
    run, base = lewm_two_rooms_straight(), lewm_two_rooms()
    assert run.method.straighten_weight == 0.1
    assert replace(run, method=replace(run.method, straighten_weight=0.0)) == base
