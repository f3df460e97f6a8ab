"""A run survives its file, and a file cannot say what a run does not know."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from armillary import catalogue
from armillary.commands import workspace
from armillary.data.formats.images import Images
from armillary.errors import CheckpointError, ConfigError
from armillary.methods.control import lewm
from armillary.methods.image import ijepa
from armillary.nn.encoder import ConvNet, ViT
from armillary.recipes import run as runs
from armillary.recipes.run import Run
from armillary.training.optim import Optim


def small() -> Run:
    config = ijepa.Config(ViT(image=32, patch=8, width=32, depth=1, heads=2), target_scale=(0.1, 0.2))
    return Run(config, Images("somewhere", size=32), steps=3, batch=4, optim=Optim(lr=1e-4))


def changed(folder: Path, **values: object) -> None:
    tree = json.loads((folder / "run.json").read_text())
    for name, value in values.items():
        *parts, last = name.split("__")
        place = tree["values"]
        for part in parts:
            place = place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    (folder / "run.json").write_text(json.dumps(tree))


def test_a_run_is_read_back_as_it_was(tmp_path: Path):
    run = replace(small(), seed=7, optim=Optim(lr=3e-5, betas=(0.9, 0.95)))
    runs.save(tmp_path, run, "small")
    assert runs.load(tmp_path, small()) == run


@pytest.mark.parametrize("name", [entry.name for entry in catalogue.recipes()])
def test_every_recipe_is_read_back_as_it_was(name: str, tmp_path: Path):
    run = workspace.find(name).run
    runs.save(tmp_path, run, name)
    assert runs.load(tmp_path, run) == run


def test_a_choice_of_classes_is_read_back_as_the_one_that_was_chosen(tmp_path: Path):
    for encoder in (ConvNet(image=64, widths=(8, 8)), ViT(image=64, patch=8)):
        run = Run(lewm.Config(encoder), Images(), steps=1, batch=2)
        runs.save(tmp_path, run, "world")
        assert runs.load(tmp_path, run) == run


def test_a_field_that_the_file_lacks_keeps_the_value_of_the_recipe(tmp_path: Path):
    runs.save(tmp_path, replace(small(), seed=5), "small")
    changed(tmp_path, optim__lr=None, method__encoder__width=None)
    assert runs.load(tmp_path, small()) == replace(small(), seed=5)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"optim__learning_rate": 0.1}, r"optim.learning_rate = 0.1"),
        ({"steps": "3"}, r"steps = '3'"),
        ({"steps": 1.5}, r"steps = 1.5"),
        ({"method__masks": "unknown"}, r"method.masks = 'unknown'"),
        ({"method__target_scale": [0.1]}, r"method.target_scale"),
        ({"method": {"encoder": {"class": "os.system"}}}, r"method.encoder"),
        ({"world": "os.system"}, r"world"),
    ],
)
def test_unknown_fields_and_wrong_types_are_refused_by_name(values: dict, found: str, tmp_path: Path):
    runs.save(tmp_path, small(), "small")
    changed(tmp_path, **values)
    with pytest.raises(ConfigError, match=found):
        runs.load(tmp_path, small())


def test_what_the_file_cannot_hold_is_refused_when_it_is_written(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"probe\.temperature"):
        runs.save(tmp_path, replace(small(), probe=runs.Probe(temperature=float("inf"))), "small")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"recipe": 3, "values": {}}', "[" * 100_000])
def test_a_damaged_file_is_named(text: str, tmp_path: Path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"run\.json"):
        runs.read(tmp_path)


def test_a_file_says_what_computed_the_run(tmp_path: Path):
    runs.save(tmp_path, small(), "small")
    told = runs.read(tmp_path)
    assert told["recipe"] == "small" and told["method"] == "ijepa" and told["seed"] == 0
    assert all(told[name] for name in ("version", "torch", "python", "threads", "machine"))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"seed": -1}])
def test_an_impossible_run_is_refused(wrong: dict):
    with pytest.raises(ConfigError, match="steps and batch must be 1 or more"):
        replace(small(), **wrong)


def test_a_full_disk_leaves_the_old_file_and_no_part_of_a_new_one(tmp_path: Path):
    runs.write_json(tmp_path / "report.json", {"old": True})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            runs.write_json(tmp_path / "report.json", {"new": "x" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert json.loads((tmp_path / "report.json").read_text()) == {"old": True}
