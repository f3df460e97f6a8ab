"""Who takes part: variants, and recipes fitted to the user's images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from armillary.bench.contenders import chosen, contender, described, everyone
from armillary.bench.flops import per_step
from armillary.bench.splits import Splits, open_splits
from armillary.commands.bench import _find
from armillary.contracts import build
from armillary.data.formats.images import Images
from armillary.errors import ConfigError
from armillary.recipes.run import Probe

from .conftest import draw


@pytest.fixture(scope="module")
def splits(colored: Path) -> Splits:
    return open_splits(Images(str(colored), size=32))


def sized(splits: Splits, size: int) -> Splits:
    return replace(splits, config=replace(splits.config, size=size))


def named(text: str, splits: Splits):
    return contender(text, _find, splits, Probe(neighbors=3))


def test_recipe_of_32_pixels_stays_as_it_is(splits: Splits):
    for name in ("lejepa", "ibot", "lejepa_resnet"):
        recipe = _find(f"{name}_cifar10")[0].method
        assert named(name, splits).run.method == recipe


def test_a_recipe_and_its_method_are_one_contender(splits: Splits):
    assert named("ijepa_cifar10", splits).name == "ijepa"
    assert named("ijepa_cifar10[method.masks=released]", splits).name == "ijepa[method.masks=released]"


@pytest.mark.parametrize(("size", "patch", "local"), [(64, 8, 32), (96, 12, 48), (48, 6, 24), (40, 5, 20)])
def test_larger_images_keep_the_tokens_of_image_and_views(size: int, patch: int, local: int, splits: Splits):
    method = named("lejepa", sized(splits, size)).run.method
    assert (method.encoder.image, method.encoder.patch, method.local_view.size) == (size, patch, local)  # type: ignore[attr-defined]
    method = named("lejepa_resnet", sized(splits, size)).run.method
    assert (method.encoder.image, method.local_view.size) == (size, local)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [28, 30, 36, 50, 60, 100])
def test_sizes_that_are_no_multiple_get_the_nearest_patch_and_views_of_whole_patches(size: int, splits: Splits):
    for name in everyone():
        method = named(name, sized(splits, size)).run.method
        build(method)
        patch = getattr(method.encoder, "patch", 1)  # type: ignore[attr-defined]
        assert (size % patch == 0 and 0.5 <= patch / (size / 8) <= 1.5) or patch == 1
        for view in (v for v in vars(method).values() if hasattr(v, "crop_scale") and getattr(v, "size", 0)):
            assert view.size % patch == 0 and (view.size == size or 0.3 * size <= view.size <= 0.7 * size)


@pytest.mark.parametrize("name", ["lejepa", "dino"])
def test_step_on_images_of_28_pixels_can_be_taken(name: str, tmp_path: Path):
    draw(tmp_path / "small", 6)
    splits = open_splits(Images(str(tmp_path / "small"), size=28))
    run = named(f"{name}[batch=4]", splits).run
    assert per_step(run, splits.images, steps=1) > 0


def test_size_that_no_patch_divides_is_told_in_words(splits: Splits):
    with pytest.raises(ConfigError, match="31 is not a multiple of patch 4"):
        build(named("ijepa", sized(splits, 31)).run.method)


def test_gray_images_and_classes_reach_the_method(splits: Splits):
    gray = replace(splits, config=replace(splits.config, channels=1))
    method = named("supervised_resnet", gray).run.method
    assert method.encoder.channels == 1 and method.classes == 3  # type: ignore[attr-defined]


def test_variant_changes_what_it_names_and_keeps_brackets_together(splits: Splits):
    one = named("ijepa[method.target_scale=[0.1, 0.2],optim.lr=1e-4,method.masks=released]", splits)
    assert one.run.method.target_scale == (0.1, 0.2) and one.run.optim.lr == 1e-4  # type: ignore[attr-defined]
    assert one.run.method.masks == "released" and one.method == "ijepa" and not one.supervised  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["data.size=64", "seed=3", "steps=3", "probe.train=3"])
def test_what_is_equal_for_everyone_cannot_be_changed_for_one(text: str, splits: Splits):
    with pytest.raises(ConfigError, match="is the same for all"):
        named(f"ijepa[{text}]", splits)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ijep", "did you mean ijepa"),
        ("ijepa[batch", "is no contender"),
        ("ijepa[batch]", "sets nothing"),
        ("ijepa[method.maks=released]", "maks"),
        ("ijepa[optim.lr=fast]", r"optim\.lr"),
        ("point_jepa_shapenet", "has no encoder of images"),
        ("/nowhere/my.py:recipe", "there is no file"),
    ],
)
def test_contender_that_cannot_be_is_told(text: str, words: str, splits: Splits):
    with pytest.raises(ConfigError, match=words):
        named(text, splits)


def test_supervised_is_left_out_without_labels_and_names_come_once(tmp_path: Path, splits: Splits):
    draw(tmp_path / "plain", 12, classes=("",))
    plain = open_splits(Images(str(tmp_path / "plain"), size=32))
    found, said = chosen(("ijepa", "supervised"), _find, plain, Probe())
    assert [one.name for one in found] == ["ijepa"] and said == ["supervised needs labels and is left out"]
    with pytest.raises(ConfigError, match=r"no method is left to compare \(supervised needs labels"):
        chosen(("supervised",), _find, plain, Probe())
    with pytest.raises(ConfigError, match="comes more than once"):
        chosen(("ijepa", "mae", "ijepa"), _find, splits, Probe())


RECIPE = """
from armillary import Run
from armillary.data.formats.images import Images
from armillary.methods.image import ijepa
from armillary.nn.encoder import ViT


def recipe() -> Run:
    sizes = ViT(image=32, patch=4, width=24, depth=1, heads=2)
    config = ijepa.Config(sizes, predictor_width=16, predictor_depth=1, predictor_heads=2)
    return Run(config, Images(), steps=10, batch=8)
"""


def test_name_of_a_file_of_the_users_own_tells_no_folder(tmp_path: Path, splits: Splits):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(RECIPE)
    text = f"{tmp_path}/a/mine.py:recipe[batch=4]"
    one = named(text, splits)
    assert one.name == "mine.py:recipe[batch=4]" and one.text == text and one.run.batch == 4 and one.sha256
    with pytest.raises(ConfigError, match="the name of two files"):
        chosen([f"{tmp_path}/{folder}/mine.py" for folder in "ab"], _find, splits, Probe(neighbors=3))


def test_backbone_is_told_in_a_word(splits: Splits):
    assert described(named("ijepa", splits).run.method.encoder) == "vit96x4/4"  # type: ignore[attr-defined]
    assert described(named("simclr", splits).run.method.encoder) == "resnet18/16"  # type: ignore[attr-defined]
    assert described(torch.nn.Linear(2, 2)) == "linear"
