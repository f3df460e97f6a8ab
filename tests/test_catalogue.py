"""The catalogue says what the sources say, without importing them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from armillary import catalogue
from armillary.errors import ConfigError

RECIPES = [entry.name for entry in catalogue.recipes()]


def test_every_method_file_is_listed_with_its_family_and_paper():
    listed = {entry.name: entry for entry in catalogue.methods()}
    files = [p for p in (catalogue.PACKAGE / "methods").glob("*/*.py") if p.stem != "__init__"]
    assert listed.keys() == {p.stem for p in files}
    assert (listed["ijepa"].family, listed["ijepa"].paper) == ("image", "2301.08243")
    assert all("arXiv" not in entry.summary and entry.summary for entry in listed.values())


def test_a_method_without_a_paper_is_listed_with_none():
    assert {entry.name: entry.paper for entry in catalogue.methods()}["supervised"] == ""


def test_recipe_names_are_unique():
    assert len(set(RECIPES)) == len(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_listed_method_is_the_one_that_the_recipe_builds(name: str):
    entry = catalogue.recipe(name)
    run = getattr(importlib.import_module(f"armillary.recipes.{entry.file.stem}"), name)()
    assert entry.method == type(run.method).__module__.rpartition(".")[2]
    assert entry.summary


def test_recipes_are_public_functions_without_parameters_that_return_a_run(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def first() -> Run: ...\ndef second() -> 'Run[A, B]': ...\ndef third() -> recipes.Run[A]: ...\n"
        "def with_parameter(x) -> Run: ...\ndef _private() -> Run: ...\ndef other() -> Runner: ...\ndef bare(): ...\n"
    )
    assert catalogue.recipes_in(file) == ["first", "second", "third"]


def test_method_of_a_recipe_is_found_through_the_functions_that_it_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, text in {
        "methods/image/ijepa.py": '"""I-JEPA: predicts (arXiv 2301.08243)."""',
        "methods/rivals/plain.py": '"""A rival without a paper."""',
        "recipes/one.py": "def small() -> Run:\n    return Run(_config())\n\n"
        "def _config():\n    return ijepa.Config()\n",
        "recipes/two.py": "def large() -> Run:\n    'Large.'\n    return replace(small(), steps=2)\n\n"
        "def both() -> Run:\n    return Run(ijepa.Config(), plain.Config())\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(catalogue, "PACKAGE", tmp_path)
    found = {entry.name: entry.method for entry in catalogue.recipes()}
    assert found == {"small": "ijepa", "large": "ijepa", "both": ""}
    assert [entry.paper for entry in catalogue.methods()] == ["2301.08243", ""]


def test_an_unknown_recipe_names_its_neighbors():
    with pytest.raises(ConfigError, match=r"no recipe 'nothing_like_this'.*armillary list"):
        catalogue.recipe("nothing_like_this")


def test_every_verb_has_a_file_and_a_summary():
    assert [verb for verb in catalogue.VERBS if not catalogue.verb_summary(verb)] == []
