"""Masks lie exactly over their images: the same square, the same stand-ins, numbers untouched."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from armillary.data.dataset import open_data
from armillary.data.formats.images import UNREADABLE, Images, decode_mask
from armillary.errors import DataError

from .conftest import encoded, picture


def numbers(seed: int, size: tuple[int, int], high: int = 12, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, (size[1], size[0])).astype(kind)


def gray(array: np.ndarray) -> Image.Image:
    """The mask as an image whose pixels tell its numbers: 20 gray levels for each."""
    return Image.fromarray((array * 20).astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize("size", [(16, 16), (24, 16), (16, 26)])
def test_a_mask_of_the_same_size_is_cropped_like_its_image(size):
    mask = numbers(0, size)
    found = decode_mask(encoded(Image.fromarray(mask)), encoded(picture(0, size)), 16)
    top, left = ((size[1] - 16) // 2, (size[0] - 16) // 2)
    assert np.array_equal(found, mask[top : top + 16, left : left + 16])


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (200, 100)])
@pytest.mark.parametrize("side", [8, 24, 140])
def test_each_pixel_is_the_nearest_one_as_pillow_finds_it(size, side):
    mask = numbers(1, size)
    short = min(size)
    left, top = (size[0] - short) / 2, (size[1] - short) / 2
    box = (left, top, left + short, top + short)
    wanted = Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST, box=box)
    found = decode_mask(encoded(Image.fromarray(mask)), encoded(picture(0, size)), side)
    assert (found != np.asarray(wanted)).mean() < 0.02  # the middle between two may fall either way
    assert set(np.unique(found)) <= set(range(12))


def test_numbers_of_palettes_and_16_bits_are_kept_and_objects_become_foreground():
    image = encoded(picture(0, (20, 20)))
    palette = Image.fromarray(numbers(2, (20, 20), 5))
    palette.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    assert palette.mode == "P"
    assert np.array_equal(decode_mask(encoded(palette), image, 20), numbers(2, (20, 20), 5))
    deep = numbers(3, (20, 20), 60000, np.uint16)
    deep[:5] = 0
    assert np.array_equal(decode_mask(encoded(Image.fromarray(deep)), image, 20), deep)
    assert np.array_equal(decode_mask(encoded(Image.fromarray(deep)), image, 20, foreground=True), deep > 0)


def test_the_camera_may_have_been_turned():
    exif = Image.Exif()
    exif[0x112] = 6
    turned = encoded(picture(0, (16, 24)), "PNG", exif=exif)  # upright it is 24 wide and 16 high
    mask = numbers(4, (24, 16))
    assert np.array_equal(decode_mask(encoded(Image.fromarray(mask)), turned, 16), mask[:, 4:20])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (encoded(Image.fromarray(numbers(0, (10, 8)))), "the mask has 10 x 8 pixels, its image 12 x 10"),
        (encoded(picture(0, (12, 10))), "mode RGB: each pixel needs one number"),
        (encoded(Image.fromarray(numbers(0, (12, 10))), "JPEG"), "cannot identify"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, message):
    with pytest.raises(UNREADABLE, match=message):
        decode_mask(mask, encoded(picture(0, (12, 10))), 8)


def table(seeds: range) -> pa.Table:
    masks = [numbers(seed, (12, 10)) for seed in seeds]
    columns = {"image": [gray(mask) for mask in masks], "mask": [Image.fromarray(mask) for mask in masks]}
    return pa.table({name: [{"bytes": encoded(v), "path": None} for v in rows] for name, rows in columns.items()})


@pytest.mark.parametrize("cache_gb", [2.0, 0.0])
def test_parquet_holds_masks_beside_images(tmp_path, cache_gb):
    pq.write_table(table(range(6)), tmp_path / "train.parquet", row_group_size=2)
    pq.write_table(table(range(6, 9)), tmp_path / "test.parquet")
    config = Images(path=str(tmp_path), size=10, mask="mask", cache_gb=cache_gb)
    for split, n in (("train", 6), ("test", 3)):
        batch = open_data(config, split).batch(torch.arange(n).flip(0))
        assert batch["mask"].dtype == torch.int64 and batch["mask"].shape == (n, 10, 10)
        assert torch.equal(batch["mask"] * 20, batch["image"][:, 0].long())  # each lies over its own image
    assert "mask" not in open_data(Images(path=str(tmp_path), size=10)).batch(torch.arange(2))
    with pytest.raises(DataError, match=r"no column 'msk': did you mean mask\?"):
        open_data(Images(path=str(tmp_path), size=10, mask="msk"))
    both = open_data(Images(path=str(tmp_path), size=10, mask="mask", foreground=True)).batch(torch.arange(6))["mask"]
    assert both.unique().tolist() == [0, 1]


@pytest.mark.parametrize("cache_gb", [2.0, 0.0])
def test_a_row_whose_mask_is_damaged_is_replaced_with_its_image(tmp_path, cache_gb):
    whole = table(range(6)).to_pydict()
    whole["mask"][2]["bytes"] = whole["mask"][2]["bytes"][:30]
    pq.write_table(pa.table(whole), tmp_path / "train.parquet")
    pq.write_table(table(range(2)), tmp_path / "test.parquet")
    dataset = open_data(Images(path=str(tmp_path), size=10, mask="mask", cache_gb=cache_gb))
    batch = dataset.batch(torch.tensor([2, 3]))
    assert torch.equal(batch["image"][0], batch["image"][1]) and torch.equal(batch["mask"][0], batch["mask"][1])
    assert list(dataset.bad) == ["row 2"]


def folder(root, names):
    for seed, name in enumerate(names):
        mask = numbers(seed, (12, 10))
        for path, image in ((root / f"{name}.png", gray(mask)), (root / "masks" / f"{name}.png", mask)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(Image.fromarray(image) if isinstance(image, np.ndarray) else image))


@pytest.mark.parametrize("parts", [("",), ("train/", "val/"), ("train/cat/", "train/dog/", "test/cat/", "test/dog/")])
def test_folders_have_a_parallel_folder_of_masks(tmp_path, parts):
    folder(tmp_path, [f"{part}{i}" for part in parts for i in range(12)])
    config = Images(path=str(tmp_path), size=10, mask="masks")
    train, test = open_data(config), open_data(config, "test")
    for dataset in (train, test):
        batch = dataset.batch(torch.arange(len(dataset)))
        assert torch.equal(batch["mask"] * 20, batch["image"][:, 0].long())
    assert len(train) + len(test) == 12 * len(parts)
    assert ("label" in train.batch(torch.arange(2))) == ("cat" in parts[0])  # masks are no class


def test_missing_masks_are_explained(tmp_path):
    folder(tmp_path, [f"{i}" for i in range(5)])
    (tmp_path / "masks" / "3.png").unlink()
    with pytest.raises(DataError, match=r"1 of 5 images have no mask, the first is 3: put 3\.png into"):
        open_data(Images(path=str(tmp_path), size=10, mask="masks"))
    shutil.rmtree(tmp_path / "masks")
    with pytest.raises(DataError, match="there is no folder of masks"):
        open_data(Images(path=str(tmp_path), size=10, mask="masks"))


def test_street_scenes_and_nuclei_have_masks(shared):
    street = open_data(Images(path=str(shared / "data" / "camvid"), size=60, mask="mask"), "test")
    batch = street.batch(torch.tensor([0, 170]))
    assert len(street) == 171 and batch["mask"].shape == (2, 60, 60) and 4 < len(batch["mask"].unique()) <= 12
    cells = [
        Images(path=str(shared / "data" / "nuclei"), size=64, mask=m, foreground=True) for m in ("mask", "instances")
    ]
    one, other = (open_data(config).batch(torch.arange(5))["mask"] for config in cells)
    assert one.unique().tolist() == [0, 1] and torch.equal(one, other)  # instances above 0 are the foreground
