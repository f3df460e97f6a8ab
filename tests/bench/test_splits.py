"""Labeled, partly labeled, unlabeled and masked folders: who trains, who judges, and what is refused in words."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from armillary.bench.splits import Splits, check, open_splits
from armillary.commands.bench import about
from armillary.data.formats.images import Images
from armillary.errors import DataError
from armillary.recipes.run import Probe

from .conftest import draw

FEW = Probe(neighbors=3)


def opened(folder: Path, **changes: object) -> Splits:
    return open_splits(Images(str(folder), size=16, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("unlabeled", ["", "unlabeled", "Unlabelled"])
def test_partly_labeled_images_all_train_and_the_labeled_ones_judge(tmp_path: Path, unlabeled: str):
    draw(tmp_path / "train", 20)
    draw(tmp_path / "train", 140, seed=2, classes=(unlabeled,))
    draw(tmp_path / "test", 5, seed=1)
    splits = opened(tmp_path)
    check(splits, FEW)
    assert splits.classes == ("blue", "green", "red") and splits.partly
    assert (len(splits.images), len(splits.labeled), len(splits.test)) == (200, 60, 15)
    assert "label" not in splits.images.batch(torch.arange(2))
    assert len(splits.trained_on(supervised=False, tuning=False)) == 200
    assert len(splits.trained_on(supervised=True, tuning=False)) == 60
    assert any("60 of 200" in line for line in about(splits, FEW))
    assert splits.fingerprint()["labeled"] == 60
    names = [splits.images.source.names[i] for i in splits.places.tolist()]
    assert names == list(splits.labeled.source.names)


def test_tuning_holds_out_labeled_images_however_few_there_are(tmp_path: Path):
    for labels in (2, 4, 20):
        folder = tmp_path / str(labels)
        draw(folder / "train", labels)
        draw(folder / "train", 300, seed=2, classes=("unlabeled",))
        draw(folder / "test", 2, seed=1)
        splits = opened(folder)
        assert len(splits.asked(True)) == max(1, round(0.1 * 3 * labels))
        assert len(splits.known(True)) + len(splits.asked(True)) == 3 * labels
        assert int(splits.held.sum()) == len(splits.asked(True)) + 30
    assert any("little more than chance" in line for line in about(splits, FEW))


def test_nothing_that_tuning_judges_by_is_trained_on_or_a_test_image(colored: Path):
    splits = opened(colored)
    assert not splits.partly
    judged, fitted = (part.rows for part in (splits.asked(True), splits.known(True)))  # type: ignore[union-attr]
    assert not set(judged.tolist()) & set(fitted.tolist()) and len(judged) + len(fitted) == 60
    for supervised in (False, True):
        assert torch.equal(splits.trained_on(supervised, tuning=True).rows, fitted)  # type: ignore[union-attr]
    assert splits.asked(False) is splits.test and splits.known(False) is splits.labeled


def test_single_class_folder_has_no_labels_and_is_compared_without(tmp_path: Path):
    draw(tmp_path / "images", 30, classes=("red",))
    splits = opened(tmp_path / "images")
    check(splits, FEW)
    assert splits.classes == () and splits.labeled is splits.images
    said = about(splits, Probe(kinds=("linear", "retrieval")))
    assert "accuracy stays unknown" in said[0] and "retrieval" in said[1]


def parquet(path: Path, labels: list[int], seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = []
    for value in np.random.default_rng(seed).integers(0, 255, len(labels)):
        out = io.BytesIO()
        Image.new("RGB", (16, 16), (int(value), 0, 0)).save(out, "PNG")
        images.append(out.getvalue())
    pq.write_table(pa.table({"image": images, "label": labels}), path)


def test_parquet_of_a_single_class_is_refused_in_words(tmp_path: Path):
    parquet(tmp_path / "train.parquet", [1] * 20)
    parquet(tmp_path / "test.parquet", [1] * 4)
    with pytest.raises(DataError, match=r"all 20 labeled train images are of class '1'.* at least 2 classes"):
        check(opened(tmp_path), FEW)


def test_test_part_without_labels_is_refused_before_anything_is_trained(tmp_path: Path):
    parquet(tmp_path / "train.parquet", [0, 1] * 10)
    parquet(tmp_path / "test.parquet", [-1] * 4)
    with pytest.raises(DataError, match=r"none of the 4 test images .* has a label"):
        opened(tmp_path)
    parquet(tmp_path / "train.parquet", [-1] * 20)  # nobody has one
    assert opened(tmp_path).classes == ()


def test_fewer_labeled_images_than_neighbors_are_refused(colored: Path):
    splits = opened(colored)
    check(splits, Probe(neighbors=54))  # of 60, 6 are held out
    with pytest.raises(DataError, match="54 labeled train images are fewer than the 55 neighbors"):
        check(splits, Probe(neighbors=55))
    with pytest.raises(DataError, match="10 labeled train images are fewer"):
        check(splits, Probe(neighbors=11, train=10))


def test_further_probes_that_cannot_be_are_refused_before_anything_is_trained(colored: Path, tmp_path: Path):
    splits = opened(colored)
    with pytest.raises(DataError, match=r"segmentation needs masks: set data\.mask"):
        check(splits, Probe(kinds=("segmentation",), neighbors=3))
    with pytest.raises(DataError, match="21 labeled images of each class are needed, there are 20 of 'blue'"):
        check(splits, Probe(kinds=("low_shot",), shots=(0.1, 21.0), neighbors=3))
    check(splits, Probe(kinds=("low_shot", "clinical"), shots=(0.1, 20.0), neighbors=3))
    draw(tmp_path / "one" / "train", 20)
    draw(tmp_path / "one" / "test", 4, classes=("red",))
    with pytest.raises(DataError, match="all test images are of class 'red'"):
        check(opened(tmp_path / "one"), Probe(kinds=("clinical",), neighbors=3))


def test_images_of_mixed_sizes_and_modes_become_alike(tmp_path: Path):
    draw(tmp_path / "mixed", 12)
    shapes = [("L", (40, 20)), ("RGBA", (17, 90)), ("P", (16, 16)), ("CMYK", (300, 200)), ("1", (9, 9))]
    for i, (mode, size) in enumerate(shapes):
        suffix = "tif" if mode == "CMYK" else "png"
        Image.new("RGB", size, (200, 10 * i, 0)).convert(mode).save(tmp_path / "mixed" / "red" / f"odd{i}.{suffix}")
    splits = opened(tmp_path / "mixed")
    assert len(splits.images) + len(splits.test) == 41
    assert splits.images.batch(torch.arange(len(splits.images)))["image"].shape[1:] == (3, 16, 16)
    assert not splits.images.bad
    single = opened(tmp_path / "mixed", channels=1)
    assert single.images.batch(torch.arange(4))["image"].shape == (4, 1, 16, 16)


def test_fingerprint_tells_the_name_and_no_place(colored: Path, tmp_path: Path):
    moved = Path(shutil.copytree(colored, tmp_path / "elsewhere" / colored.name))
    told = opened(colored).fingerprint()
    assert told == opened(moved).fingerprint() and "/" not in str(told)


def test_one_image_is_too_few(tmp_path: Path):
    draw(tmp_path / "train", 1, classes=("",))
    draw(tmp_path / "test", 1, classes=("",))
    with pytest.raises(DataError, match="1 train and 1 test images"):
        check(opened(tmp_path), FEW)
