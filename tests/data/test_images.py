"""Every kind of image becomes the same kind of tensor; bad ones are counted and replaced; folders are read."""

import logging
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from armillary.data.dataset import open_data
from armillary.data.formats.images import UNREADABLE, Images, decode
from armillary.errors import ConfigError, DataError

from .conftest import encoded, picture

RED = (200, 30, 40)


def plain(mode: str, color, size=(20, 10)) -> Image.Image:
    return Image.new(mode, size, color)


def with_palette() -> Image.Image:
    return plain("RGB", RED).quantize(4)


def sixteen_bit() -> Image.Image:
    return Image.fromarray(np.full((10, 20), 40000, np.uint16))


KINDS = {
    "rgb": (encoded(plain("RGB", RED)), RED),
    "grey": (encoded(plain("L", 77)), (77, 77, 77)),
    "one bit": (encoded(plain("1", 1)), (255, 255, 255)),
    "palette": (encoded(with_palette()), RED),
    "gif palette": (encoded(with_palette(), "GIF"), RED),
    "half transparent": (encoded(plain("RGBA", (0, 0, 0, 128))), (127, 127, 127)),
    "transparent": (encoded(plain("LA", (0, 0))), (255, 255, 255)),
    "transparent palette": (encoded(with_palette(), "PNG", transparency=0), (255, 255, 255)),
    "transparent color": (encoded(plain("RGB", RED), "PNG", transparency=RED), (255, 255, 255)),
    "cmyk": (encoded(plain("CMYK", (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0)),
    "cmyk tiff": (encoded(plain("CMYK", (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
    "16 bit": (encoded(sixteen_bit()), (155, 155, 155)),
    "16 bit tiff": (encoded(sixteen_bit(), "TIFF"), (155, 155, 155)),
    "1x1": (encoded(plain("RGB", RED, (1, 1))), RED),
    "1x500": (encoded(plain("RGB", RED, (1, 500))), RED),
    "webp": (encoded(plain("RGB", RED), "WEBP", lossless=True), RED),
    "bmp": (encoded(plain("RGB", RED), "BMP"), RED),
    "animated": (encoded(plain("RGB", RED), "GIF", save_all=True, append_images=[plain("RGB", (0, 0, 255))]), RED),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_image_is_decoded_to_8_bit_squares(kind, channels):
    data, color = KINDS[kind]
    pixels = decode(data, 6, channels)
    expected = color if channels == 3 else [np.dot(color, (0.299, 0.587, 0.114))]
    assert pixels.shape == (channels, 6, 6) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.array(expected).reshape(-1, 1, 1)).max() <= 2


def test_orientation_of_the_camera_is_applied():
    image = picture(0, (8, 8))
    exif = Image.Exif()
    exif[0x112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    turned = decode(encoded(image, "PNG", exif=exif), 8)
    assert np.array_equal(turned, np.rot90(decode(encoded(image), 8), -1, axes=(1, 2)))


def test_an_image_of_the_right_size_is_not_resampled():
    image = picture(1, (16, 16))
    assert np.array_equal(decode(encoded(image), 16), np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (200, 100)])
def test_the_middle_square_is_kept(size):
    image = picture(2, size)
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    middle = image.resize((24, 24), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    assert np.array_equal(decode(encoded(image), 24), np.asarray(middle).transpose(2, 0, 1))


def test_shrinking_is_antialiased():
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32)))
    pixels = decode(encoded(stripes), 8, 1)
    assert np.abs(pixels.astype(int) - 127).max() < 20  # picking pixels would give 0 or 255


def test_large_jpegs_decoded_at_a_reduced_scale_look_the_same():
    smooth = picture(3, (16, 12)).resize((640, 480), Image.Resampling.BICUBIC)
    full = smooth.resize((32, 32), Image.Resampling.BICUBIC, box=(80, 0, 560, 480))
    pixels = decode(encoded(smooth, "JPEG", quality=95), 32)
    assert np.abs(pixels.astype(int) - np.asarray(full).transpose(2, 0, 1)).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_cut_images_are_refused(kind):
    whole = encoded(picture(4, (40, 40)), kind)
    for share in (0.0, 0.1, 0.5, 0.9):
        with pytest.raises(UNREADABLE):
            decode(whole[: int(len(whole) * share)], 8)


def test_other_formats_and_too_many_pixels_are_refused_before_decoding():
    with pytest.raises(UNREADABLE):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 8)
    with pytest.raises(UNREADABLE, match=r"400 x 300 pixels are more than data\.max_pixels = 1000"):
        decode(encoded(picture(0, (400, 300))), 8, 3, max_pixels=1000)


def test_a_folder_per_class_gives_labels(image_folder):
    train, test = (open_data(Images(path=str(image_folder), size=8), split) for split in ("train", "test"))
    assert train.classes == test.classes == ("cat", "dog")
    assert len(train) == 18 and len(test) == 2
    assert not set(train.source.names) & set(test.source.names)
    batch = train.batch(torch.arange(len(train)))
    assert [train.classes[i] for i in batch["label"]] == [name.split("/")[0] for name in train.source.names]


def test_parts_of_their_own_are_used(image_folder, tmp_path):
    root = tmp_path / "parts"
    shutil.copytree(image_folder, root / "train")
    (root / "val" / "dog").mkdir(parents=True)
    (root / "val" / "dog" / "a.png").write_bytes(encoded(picture(7)))
    train, test = (open_data(Images(path=str(root), size=8), split) for split in ("train", "test"))
    assert len(train) == 20 and len(test) == 1
    assert test.batch(torch.tensor([0]))["label"].tolist() == [1]  # a dog, as the train part counts
    (root / "val" / "dgo").mkdir()
    (root / "val" / "dgo" / "a.png").write_bytes(encoded(picture(7)))
    with pytest.raises(DataError, match="did you mean dog"):
        open_data(Images(path=str(root), size=8), "test")


def test_a_flat_folder_has_no_labels(image_folder):
    dataset = open_data(Images(path=str(image_folder / "cat"), size=8))
    assert dataset.classes == () and "label" not in dataset.batch(torch.tensor([0]))


def spoil(folder, names):
    for name in names:
        file = folder / name
        file.write_bytes(file.read_bytes()[:40])


@pytest.mark.parametrize("cache_gb", [2.0, 0.0])
def test_bad_images_are_replaced_by_the_next_row_whatever_the_batch(image_folder, cache_gb, caplog):
    spoil(image_folder, ["cat/3.png", "cat/4.png", "dog/9.png"])
    config = Images(path=str(image_folder), size=8, cache_gb=cache_gb)
    every, single = open_data(config), open_data(config)
    rows = torch.arange(len(every))
    with caplog.at_level(logging.WARNING, "armillary.data"):
        batch = every.batch(rows)
    names = every.source.names
    bad = [i for i, name in enumerate(names) if name in ("cat/3.png", "cat/4.png", "dog/9.png")]
    assert set(every.bad) == {names[i] for i in bad} and len(bad) >= 2
    assert all(any(name in message for message in caplog.messages) for name in every.bad)
    for i in bad:
        shown = next(j % len(every) for j in range(i, i + len(every)) if j % len(every) not in bad)
        assert torch.equal(batch["image"][i], batch["image"][shown])
        assert batch["label"][i] == batch["label"][shown]
    for i in rows.flip(0):  # one at a time, in another order
        alone = single.batch(i[None])
        assert torch.equal(alone["image"][0], batch["image"][i]) and alone["label"][0] == batch["label"][i]
        assert alone["index"].tolist() == [int(i)]


def test_too_many_bad_images_stop_with_their_names(image_folder):
    spoil(image_folder, [f"cat/{i}.png" for i in range(8)])
    with pytest.raises(DataError, match=r"of 18 images.*data.max_bad = 0.01: cat/.*raise data.max_bad"):
        open_data(Images(path=str(image_folder), size=8)).batch(torch.arange(18))
    lenient = open_data(Images(path=str(image_folder), size=8, max_bad=0.5))
    assert len(lenient.batch(torch.arange(18))["image"]) == 18
    strict = open_data(Images(path=str(image_folder), size=8, max_bad=0.0))
    with pytest.raises(DataError, match="1 of 18"):
        strict.batch(torch.arange(18))


def test_a_folder_of_bad_images_only_says_so(image_folder):
    spoil(image_folder, [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(10)])
    with pytest.raises(DataError, match="none of the 18 images"):
        open_data(Images(path=str(image_folder), size=8, max_bad=1.0)).batch(torch.arange(18))


def test_cached_and_uncached_rows_are_the_same(image_folder):
    index = torch.tensor([5, 1, 5, 17])
    cached = open_data(Images(path=str(image_folder), size=8))
    first = cached.batch(index)["image"]
    again = cached.batch(index)["image"]
    uncached = open_data(Images(path=str(image_folder), size=8, cache_gb=0.0)).batch(index)["image"]
    assert torch.equal(first, again) and torch.equal(first, uncached)
    again += 1
    assert torch.equal(cached.batch(index)["image"], first)  # a caller cannot spoil the cache


def test_links_in_a_circle_are_followed_once(image_folder):
    (image_folder / "dog" / "more").symlink_to(image_folder)
    assert len(open_data(Images(path=str(image_folder), size=8))) == 18


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", "there is no folder"),
        (lambda p: (p / "empty").mkdir() or p / "empty", "no images in .*it holds nothing"),
        (lambda p: (p / "one.png").write_bytes(b"x") and p / "one.png", "Not a directory"),
        (lambda p: (p / "a.txt").write_text("x") and p, r"no images in .*it holds 1 \.txt.*\.jpg"),
    ],
)
def test_a_wrong_path_is_explained(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        open_data(Images(path=str(make(tmp_path))))


def test_impossible_settings_are_refused(image_folder):
    path = str(image_folder)
    for config in (Images(path, size=0), Images(path, channels=2), Images(path, max_bad=2.0)):
        with pytest.raises(ConfigError):
            open_data(config)
    with pytest.raises(DataError, match="do not fit 1 channels"):
        open_data(Images(path, channels=1, mean=(0.1, 0.2, 0.3), std=(0.25,)))


def test_prepared_images_have_the_given_mean_and_std(image_folder):
    dataset = open_data(Images(path=str(image_folder), size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0)))
    batch = dataset.batch(torch.arange(4))
    wanted = batch["image"].double() / 255
    wanted = (wanted - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.5, 0.25, 2.0])[:, None, None]
    assert torch.allclose(dataset.prepare(batch)["image"].double(), wanted, atol=1e-6)


def test_unless_told_images_are_normalized_by_the_train_images_own_mean_and_deviation(image_folder):
    train = open_data(Images(path=str(image_folder), size=8))
    image = train.prepare(train.batch(torch.arange(len(train))))["image"].double()
    assert torch.allclose(image.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5)
    assert torch.allclose(image.std((0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-5)
    test = open_data(Images(path=str(image_folder), size=8), "test")
    assert test.statistics == train.statistics
    with pytest.raises(ConfigError, match="give both or neither"):
        open_data(Images(path=str(image_folder), mean=(0.5,)))


def test_cifar10_opens(shared):
    dataset = open_data(Images(path=str(shared / "data" / "cifar10"), size=32), "test")
    batch = dataset.batch(torch.tensor([0, 4999]))
    assert len(dataset) == 5000 and batch["image"].shape == (2, 3, 32, 32)
    assert len(dataset.classes) == 10 and dataset.classes[0] == "airplane"
