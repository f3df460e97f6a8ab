"""Images from folders or Parquet: decoded, cropped to a square, checked, and cached."""

from __future__ import annotations

import io
import logging
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from jaxtyping import Int64, Shaped, UInt8, UInt16
from PIL import Image, ImageOps
from torch import Tensor

from ...errors import ConfigError, DataError
from ...types import Batch
from ..dataset import checked
from ..statistics import image_statistics, pixel_moments
from .folders import open_folder
from .parquet import open_parquet, parquet_files
from .source import Source

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no format that runs another program to decode
MASKS = ("PNG", "BMP", "GIF", "TIFF", "PPM")  # no format that may change numbers
ORIENTATION = 0x112
# What Pillow raises on damaged files; found by flipping and cutting bytes of every format.
UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, IndexError, struct.error, zlib.error)
UNREADABLE += (Image.DecompressionBombError,)
TOLERATED = 3  # unreadable images that stop nothing, however small the data set
SAMPLED = 1000  # images from which mean and deviation are computed unless they are given
JUDGED = 1000  # the share of unreadable images is judged once so many (or all) were seen

log = logging.getLogger("armillary.data")


@dataclass(frozen=True)
class Images:
    """A folder of images, with or without a folder per class, or Parquet in Hugging Face's layout."""

    path: str = ""
    """Folder of images or of Parquet files; `train` and `test` parts are used where they exist."""
    size: int = 32
    """Height and width in pixels: the shorter side is resized to it, the middle is kept (of masks too)."""
    channels: int = 3
    """3 for RGB, 1 for grey."""
    image: str = "image"
    """Parquet column of the encoded images."""
    label: str = "label"
    """Parquet column of the classes."""
    mask: str = ""
    """Parquet column of the encoded masks, or folder of masks inside `path`, named as the images; "" for none."""
    foreground: bool = False
    """Every value of a mask above 0 is class 1, as for masks that number their objects."""
    mean: tuple[float, ...] = ()
    """Subtracted from values in [0, 1]; one number, or one per channel; measured on 1,000 train images unless given."""
    std: tuple[float, ...] = ()
    """Divided by afterwards; as `mean`."""
    max_bad: float = 0.01
    """Share of unreadable images above which reading stops; up to 3 never stop it unless this is 0."""
    max_pixels: int = 64_000_000
    """Images of more pixels are not decoded and count as unreadable."""
    cache_gb: float = 2.0
    """Decoded images are kept in memory when all of them fit into so many gigabytes."""

    def open(self, split: str) -> ImageDataset:
        """The images of one split.

        Raises:
            ConfigError: an impossible setting.
            DataError: the path is missing, or holds no images.
        """
        if self.size < 1 or self.channels not in (1, 3):
            raise ConfigError(f"size is {self.size}, channels {self.channels}: size must be positive, channels 1 or 3")
        if not 0 <= self.max_bad <= 1:
            raise ConfigError(f"max_bad is {self.max_bad}: it is a share, from 0 to 1")
        if bool(self.mean) != bool(self.std):
            raise ConfigError(f"mean is {self.mean}, std {self.std}: give both or neither")
        path = Path(self.path)
        if not self.path or not path.exists():
            raise DataError(
                f"there is no folder {self.path!r}: set data.path to a folder of images or of Parquet files"
            )
        try:
            source = self._source(path, split)
            known = self if self.mean else self._measured(source if split == "train" else self._source(path, "train"))
            return ImageDataset(known, source)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error}): give a folder that you may read") from None

    def _source(self, path: Path, split: str) -> Source:
        if parquet_files(path):
            return open_parquet(path, split, self.image, self.label, self.mask)
        return open_folder(path, split, self.mask)

    def _measured(self, train: Source) -> Images:
        """This with the mean and standard deviation of train images, evenly spread over the rows."""

        def pixels(row: int) -> UInt8[np.ndarray, "C h w"] | None:
            try:
                return decode(train.read(row), self.size, self.channels, self.max_pixels)
            except UNREADABLE:  # named and counted when the row is read for use
                return None

        rows = range(0, len(train.names), max(1, len(train.names) // SAMPLED))[:SAMPLED]
        with ThreadPoolExecutor(os.cpu_count()) as workers:
            read = [image for image in workers.map(pixels, rows) if image is not None]
        mean, std = pixel_moments(np.stack(read)) if read else ((0.5,), (0.25,))  # none is readable: soon said
        return replace(self, mean=mean, std=std)


def decode(data: bytes, size: int, channels: int = 3, max_pixels: int = 64_000_000) -> UInt8[np.ndarray, "C h w"]:
    """The middle square of an encoded image as uint8, its shorter side resized to `size` (bicubic, antialiased).

    EXIF orientation is applied, transparency is laid over white, 16 bits become 8, CMYK and palettes become RGB, and of
    an animation the first frame is taken. JPEGs are decoded at a reduced scale of at least twice `size`.
    Raises:
        one of `UNREADABLE`: the data are damaged, of another format, or of more than `max_pixels`.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > max_pixels:
            raise ValueError(f"{image.width} x {image.height} pixels are more than data.max_pixels = {max_pixels}")
        image.draft(None, (2 * size, 2 * size))  # type: ignore[arg-type]
        square = _flat(ImageOps.exif_transpose(image), "RGB" if channels == 3 else "L")
    if square.size != (size, size):
        side, width, height = min(square.size), *square.size
        left, top = (width - side) / 2, (height - side) / 2
        square = square.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.ascontiguousarray(np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1))


def decode_mask(
    data: bytes, image: bytes, size: int, foreground: bool = False, max_pixels: int = 64_000_000
) -> UInt16[np.ndarray, "h w"]:
    """The middle square of an encoded mask, its shorter side resized to `size`, each pixel that of the nearest one.

    The same square as `decode` takes of `image`, whose shape the mask must have. Of palettes the numbers are taken, not
    the colors; 16 bits are kept. foreground: every number above 0 becomes 1.
    Raises:
        one of `UNREADABLE`: the data are damaged, no single numbers, of a lossy format, or of another shape.
    """
    with Image.open(io.BytesIO(data), formats=MASKS) as mask, Image.open(io.BytesIO(image), formats=FORMATS) as shown:
        if mask.width * mask.height > max_pixels:
            raise ValueError(f"{mask.width} x {mask.height} pixels are more than data.max_pixels = {max_pixels}")
        turned = shown.getexif().get(ORIENTATION, 1) >= 5
        mask = ImageOps.exif_transpose(mask)
        width, height = shown.size[::-1] if turned else shown.size
        if mask.size != (width, height):
            raise ValueError(f"the mask has {mask.width} x {mask.height} pixels, its image {width} x {height}")
        if mask.mode not in ("1", "L", "P", "I", "I;16"):
            raise ValueError(f"the mask has mode {mask.mode}: each pixel needs one number, its class")
        number = np.asarray(mask).astype(np.int64)
    side = min(width, height)
    place = (np.arange(size) + 0.5) * side / size
    rows, columns = ((place + (length - side) / 2).astype(np.int64) for length in (height, width))
    picked = number[rows[:, None], columns]
    if not 0 <= picked.min() <= picked.max() < 1 << 16:
        raise ValueError(f"the mask holds {picked.min()} to {picked.max()}: classes are 0 to 65535")
    return ((picked > 0) if foreground else picked).astype(np.uint16)


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """The image in 8 bits, without transparency."""
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.int64)
        return Image.fromarray((deep.clip(0, 65535) // 257).astype(np.uint8)).convert(mode)
    if image.mode == "F":
        raise ValueError("the image holds floating-point numbers of unknown range")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


class ImageDataset:
    """Images in rows. `classes`: names of the labels, none where there are none. `bad`: reason by unreadable image.

    An unreadable image is replaced, with its label, by the next readable row: a function of the row alone. It is named
    in the log and counted; reading stops when more than `max_bad` of the images (of those seen, once 1000 were) are
    unreadable, though never for fewer than 4 unless `max_bad` is 0.
    """

    def __init__(self, config: Images, source: Source) -> None:
        self.config, self.source, self.classes = config, source, source.classes
        self.bad: dict[str, str] = {}
        self.statistics = image_statistics(config.mean, config.std, config.channels)
        n = len(source.names)
        self._seen = np.zeros(n, bool)
        self._stand_in = np.arange(n)  # the row that is shown for each row
        pixel = config.channels + (0 if source.mask is None else 2)  # bytes
        self._cache = self._space(n) if n * config.size**2 * pixel <= config.cache_gb * 1e9 else None
        self._workers = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="armillary-decode")
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.source.names)

    def batch(self, index: Int64[Tensor, " B"]) -> Batch:
        """The rows at `index`: image [B, C, h, w] uint8, index [B] and, where there are any, label [B], mask [B, h, w].

        Raises:
            DataError: too many images are unreadable, or none is readable.
        """
        rows = checked(index, len(self))
        if self._cache is None:
            held = self._decoded(rows)
            self._seen[rows] = True
        else:
            missing = np.unique(rows[~self._seen[rows]])
            if len(missing):
                for name, decoded in self._decoded(missing).items():
                    self._cache[name][missing] = decoded
                self._seen[missing] = True
            held = {name: cached[rows] for name, cached in self._cache.items()}
        batch = {"index": index, "image": torch.from_numpy(held["image"])}
        if "mask" in held:
            batch["mask"] = torch.from_numpy(held["mask"].astype(np.int64))
        if self.source.labels is not None:
            batch["label"] = torch.from_numpy(self.source.labels[self._stand_in[rows]])
        return batch

    def prepare(self, batch: Batch) -> Batch:
        """The batch with normalized float32 images; see `Statistics.prepare`."""
        return self.statistics.prepare(batch)

    def _space(self, n: int) -> dict[str, Shaped[np.ndarray, "n *shape"]]:
        """Room for the decoded images, and masks where there are any, of `n` rows."""
        size = self.config.size
        out: dict[str, np.ndarray] = {"image": np.empty((n, self.config.channels, size, size), np.uint8)}
        if self.source.mask is not None:
            out["mask"] = np.empty((n, size, size), np.uint16)
        return out

    def _decoded(self, rows: Int64[np.ndarray, " B"]) -> dict[str, Shaped[np.ndarray, "B *shape"]]:
        """Decode rows on all cores (Pillow releases the interpreter while it decodes)."""
        out = self._space(len(rows))
        parts = np.array_split(np.arange(len(rows)), min(len(rows), os.cpu_count() or 1))

        def fill(places: np.ndarray) -> None:
            for place in places:
                for name, decoded in self._row(int(rows[place])).items():
                    out[name][place] = decoded

        list(self._workers.map(fill, parts))  # raises what a worker raised
        return out

    def _row(self, row: int) -> dict[str, np.ndarray]:
        """Image, and mask where there is one, of a row, or else of the next row that can be read."""
        config, n, mask = self.config, len(self), self.source.mask
        for shown in ((row + further) % n for further in range(n)):
            if self.source.names[shown] in self.bad:
                continue
            try:
                data = self.source.read(shown)
                out = {"image": decode(data, config.size, config.channels, config.max_pixels)}
                if mask is not None:
                    out["mask"] = decode_mask(mask(shown), data, config.size, config.foreground, config.max_pixels)
            except UNREADABLE as error:
                self._count_bad(self.source.names[shown], f"{type(error).__name__}: {error}")
                continue
            self._stand_in[row] = shown
            return out
        raise DataError(f"none of the {n} images in {config.path} can be read, e.g. {next(iter(self.bad.items()))}")

    def _count_bad(self, name: str, reason: str) -> None:
        with self._lock:
            if name in self.bad:
                return
            self.bad[name] = reason
            log.warning("%s cannot be read and is replaced by the next image (%s)", name, reason)
            bad, judged, share = len(self.bad), max(int(self._seen.sum()), min(len(self), JUDGED)), self.config.max_bad
        if bad > (max(TOLERATED, share * judged) if share else 0):
            worst = "; ".join(f"{name} ({reason})" for name, reason in list(self.bad.items())[:5])
            raise DataError(
                f"{bad} of {judged} images in {self.config.path} cannot be read, more than data.max_bad = {share}: "
                f"{worst}. Mend or remove them, or raise data.max_bad."
            )
