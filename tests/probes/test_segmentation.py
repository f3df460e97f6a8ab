"""Pixels are counted as loops count them; tokens that tell the class of their place are read without a mistake."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from armillary.data.dataset import open_data
from armillary.data.formats.images import Images
from armillary.errors import ConfigError, DataError, ShapeError
from armillary.functional.position import grid
from armillary.probes import report as reports
from armillary.probes import segmentation as module
from armillary.probes.extract import Features, extract, raw_patches
from armillary.probes.report import paired
from armillary.probes.segmentation import confusions, patch_shares, segmentation


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch):
    """Fewer resamples than users get; what is claimed here holds for both."""
    monkeypatch.setattr(reports, "RESAMPLES", 200)


def scenes(n: int, side: int = 4, patch: int = 4, classes: int = 3, noise: float = 0.3, seed: int = 0) -> Features:
    """Masks of uniform patches, and tokens that hold the class of their patch, blurred by noise."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(0, classes, (n, side, side), generator=generator)
    mask = cells.repeat_interleave(patch, 1).repeat_interleave(patch, 2)
    x = torch.eye(classes)[cells].flatten(1, 2) + noise * torch.randn(n, side**2, classes, generator=generator)
    index = torch.arange(n)
    return Features(x, mask.int(), index, index, grid(side, side).expand(n, -1, -1))


def small_things(n: int, side: int = 3, seed: int = 0) -> Features:
    """Masks whose classes change within tokens of 4 x 4 pixels, which know the class of each of their quarters."""
    generator = torch.Generator().manual_seed(seed)
    quarters = torch.randint(0, 2, (n, 2 * side, 2 * side), generator=generator)
    known = quarters.view(n, side, 2, side, 2).transpose(2, 3).flatten(1, 2).flatten(2).float()  # [n, N, 4]
    index = torch.arange(n)
    mask = quarters.repeat_interleave(2, 1).repeat_interleave(2, 2)
    return Features(known, mask.int(), index, index, grid(side, side).expand(n, -1, -1))


def test_what_is_smaller_than_a_token_needs_cells():
    train, test = small_things(60), small_things(30, seed=1)
    coarse, fine = segmentation(train, test), segmentation(train, test, cells=2)
    assert fine.score > 0.8 > 0.7 > coarse.score  # enlarging blurs the borders of pixels
    assert fine.settings["cells"] == 2 and coarse.settings["cells"] == 1
    with pytest.raises(ConfigError, match="5 cells in each of 3x3 tokens"):
        segmentation(train, test, cells=5)


@pytest.mark.parametrize("shape", [(8, 8), (10, 7)])  # cells of equal size, and of unequal ones
def test_shares_of_cells_equal_loops(shape):
    mask = torch.randint(0, 5, (3, *shape), generator=torch.Generator().manual_seed(0)).int()
    found = patch_shares(mask, 4, 2, 4, ignore=4)
    for i in range(3):
        held = [[[] for _ in range(2)] for _ in range(4)]
        for r in range(shape[0]):
            for c in range(shape[1]):
                held[r * 4 // shape[0]][c * 2 // shape[1]].append(int(mask[i, r, c]))
        for cell, values in enumerate(v for row in held for v in row):
            assert found[i, cell].tolist() == pytest.approx([values.count(k) / len(values) for k in range(4)])


@pytest.mark.parametrize("pixels", [1, 1 << 24])
def test_confusions_equal_loops_at_the_resolution_of_the_mask(pixels, monkeypatch):
    monkeypatch.setattr(module, "PIXELS", pixels)
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 4, 3, 3, generator=generator)
    mask = torch.randint(0, 5, (3, 9, 12), generator=generator).int()
    found = confusions(maps, mask, ignore=4)
    answer = F.interpolate(maps, (9, 12), mode="bilinear").argmax(1)
    for i in range(3):
        counts = torch.zeros(4, 4, dtype=torch.int64)
        for r in range(9):
            for c in range(12):
                if mask[i, r, c] != 4:
                    counts[mask[i, r, c], answer[i, r, c]] += 1
        assert torch.equal(found[i], counts)


def test_figures_equal_loops_over_pixels():
    train, test = scenes(40, noise=1.0), scenes(20, noise=1.0, seed=1)
    test.y[:, :3] = 255
    report = segmentation(train, test)
    assert report.measure == "mean IoU" and (report.train, report.test) == (40, 20)
    assert report.score == pytest.approx(sum(report.details["iou"]) / 3)
    assert 0.3 < report.score < report.details["pixel_accuracy"] < 1
    low, high = report.interval
    assert low < report.score < high and report.rows.shape == (20,)
    for value, (start, end) in zip(report.details["iou"], report.details["iou_interval"], strict=True):
        assert start < value < end
    common = int(train.y.flatten().bincount().argmax())
    known = test.y[test.y != 255]
    assert report.chance == pytest.approx(float((known == common).float().mean()) / 3)


def test_tokens_that_tell_their_class_are_read_and_more_noise_is_worse():
    train, test = scenes(40, noise=0.0), scenes(20, noise=0.0, seed=1)
    good = segmentation(train, test)
    # Bilinear enlargement blurs the borders of patches of 4 pixels, so that even the truth is not met everywhere.
    assert good.score > 0.7
    bad = segmentation(scenes(40, noise=1.5), scenes(20, noise=1.5, seed=1))
    low, high = paired(good, replace(bad, index=good.index))
    assert 0 < low < good.score - bad.score < high
    whole = scenes(20, patch=1, noise=0.0), scenes(10, patch=1, noise=0.0, seed=1)
    assert segmentation(*whole).score == 1.0


def test_ignored_pixels_count_neither_in_fitting_nor_in_scoring():
    train, test = scenes(40), scenes(20, seed=1)
    wrong = [replace(part, y=torch.where(torch.arange(16) < 8, part.y, 11)) for part in (train, test)]
    report = segmentation(*wrong, ignore=11)
    assert len(report.details["iou"]) == 3
    spoiled = replace(wrong[1], x=torch.where((torch.arange(16) % 4 > 2)[:, None], 99.0, wrong[1].x))
    assert segmentation(wrong[0], spoiled, ignore=11).score == report.score
    assert len(segmentation(*wrong, ignore=255).details["iou"]) == 12


def test_two_classes_have_a_foreground():
    report = segmentation(scenes(30, classes=2), scenes(20, classes=2, seed=1))
    assert report.details["foreground_iou"] == report.details["iou"][1]
    low, high = report.details["foreground_iou_interval"]
    assert low <= report.details["foreground_iou"] <= high


def test_classes_that_do_not_occur_have_no_iou():
    train = scenes(30)
    train = replace(train, y=torch.where(train.y == 2, 3, train.y))
    test = scenes(20, seed=1)
    report = segmentation(train, replace(test, y=torch.where(test.y == 2, 3, test.y)))
    assert report.details["iou"][2] is None and report.details["iou_interval"][2] is None and report.score > 0.5


def test_tokens_may_come_in_any_order_and_few_of_them_suffice():
    train, test = scenes(30), scenes(20, seed=1)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    mixed = [replace(part, x=part.x[:, order], pos=part.pos[:, order]) for part in (train, test)]
    report = segmentation(train, test)
    assert segmentation(*mixed).score == pytest.approx(report.score, abs=0.02)
    assert segmentation(train, test, patches=100).score == pytest.approx(report.score, abs=0.1)
    assert torch.equal(segmentation(train, test).rows, report.rows)


def test_the_strength_is_chosen_on_train_images_alone():
    train, test = scenes(30), scenes(20, seed=1)
    settings = segmentation(train, test).settings
    assert segmentation(train, replace(test, y=test.y.roll(1, 0))).settings == settings
    assert settings["validation"][str(settings["strength"])] == max(settings["validation"].values())


def test_wrong_input_is_explained():
    train, test = scenes(10), scenes(5, seed=1)
    with pytest.raises(ShapeError, match="pool=False"):
        segmentation(train.pooled(), test)
    with pytest.raises(ShapeError, match="do not say where"):
        segmentation(replace(train, pos=None), test)
    with pytest.raises(ShapeError, match="15 tokens do not fill a grid of 4 x 4"):
        segmentation(*(replace(part, x=part.x[:, 1:], pos=part.pos[:, 1:]) for part in (train, test)))
    with pytest.raises(DataError, match="are no masks"):
        segmentation(replace(train, y=torch.arange(10)), test)
    with pytest.raises(DataError, match="all pixels of the train masks are of class 0"):
        segmentation(replace(train, y=torch.zeros_like(train.y)), test)
    with pytest.raises(DataError, match="every pixel of the test masks is 255"):
        segmentation(train, replace(test, y=torch.full_like(test.y, 255)))
    with pytest.raises(DataError, match="1 train image"):
        segmentation(scenes(1), test)
    with pytest.raises(DataError, match="features are NaN"):
        segmentation(replace(train, x=train.x * torch.nan), test)
    with pytest.raises(ConfigError, match="patches is 0"):
        segmentation(train, test, patches=0)


def test_street_scenes_are_read_a_little_from_the_pixels_of_patches(shared):
    data = Images(path=str(shared / "data" / "camvid"), size=40, mask="mask")
    train, test = (
        extract(raw_patches("image", 10, 10), open_data(data, s), "mask", 60, pool=False) for s in ("train", "test")
    )
    assert train.x.shape == (60, 100, 48) and train.y.shape == (60, 40, 40)
    report = segmentation(train, test, ignore=11, patches=2000, strengths=(1e-1, 1e-2))
    assert len(report.details["iou"]) == 11 and report.score > 1.5 * report.chance
