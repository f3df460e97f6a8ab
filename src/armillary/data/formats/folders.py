"""Folders of image files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from ...errors import DataError, suggest
from .source import TEST_NAMES, Source

LOSSLESS = (".png", ".bmp", ".gif", ".tif", ".tiff", ".pgm")  # of masks, whose numbers are classes
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def open_folder(path: Path, split: str, mask: str = "") -> Source:
    """The image files below `path`, sorted by name; `path/train` and `path/test` (or val) where they exist.

    The first folder below each part is the class of an image; there are labels when every image lies in such a folder
    and there are at least 2 of them. Without a test part a tenth of the images is held out, see `Source.part`.
    mask: a folder of masks, relative to `path`, in which `a/b.jpg` of the images has `a/b.png` (or another lossless
    format); files in it are no images. "" for none.
    Raises:
        DataError: there are no image files, the test part has a class that the train part lacks, or an image no mask.
    """
    masks = (path / mask).resolve() if mask else None
    train = path / "train" if (path / "train").is_dir() else path
    test = next((path / name for name in TEST_NAMES if train != path and (path / name).is_dir()), None)
    names = _image_files(train, masks)
    parts = {name.split("/", 1)[0] for name in names if "/" in name}
    labelled = len(parts) > 1 and all("/" in name for name in names)
    classes = tuple(sorted(parts)) if labelled else ()
    if test is None or split == "train":
        whole = _source(train, names, classes, _masks(masks, train.relative_to(path), names))
        return whole.part(split) if test is None else whole
    names = _image_files(test, masks)
    return _source(test, names, classes, _masks(masks, test.relative_to(path), names))


def _masks(root: Path | None, part: Path, names: list[str]) -> Callable[[int], bytes] | None:
    """A function from a row to its encoded mask; None without a folder of masks."""
    if root is None:
        return None
    if not root.is_dir():
        raise DataError(f"there is no folder of masks {root}: set data.mask to a folder inside data.path")
    found = {str(PurePosixPath(name).with_suffix("")): name for name in _image_files(root, None, LOSSLESS)}
    wanted = [(part / name).with_suffix("").as_posix() for name in names]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} images have no mask, the first is {missing[0]}: put {missing[0]}.png into "
            f"{root}, or remove these images"
        )
    return lambda row: (root / found[wanted[row]]).read_bytes()


def _source(root: Path, names: list[str], classes: tuple[str, ...], mask: Callable[[int], bytes] | None) -> Source:
    def read(row: int) -> bytes:
        return (root / names[row]).read_bytes()

    if not classes:
        return Source(names, read, mask=mask)
    place = {name: i for i, name in enumerate(classes)}
    strange = sorted({name.split("/", 1)[0] for name in names} - place.keys())
    if strange:
        raise DataError(
            f"{root} holds {strange[0]!r}, which is no class of the train part: {suggest(strange[0], classes)}"
        )
    return Source(names, read, np.array([place[name.split("/", 1)[0]] for name in names], np.int64), classes, mask)


def _image_files(root: Path, without: Path | None = None, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """Paths of image files relative to `root`, sorted; links to folders are followed, each folder once.

    without: a folder that is left out.
    """
    found: list[str] = []
    others: Counter[str] = Counter()
    seen: set[str] = set()
    for folder, below, files in os.walk(root, onerror=_stop, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen or real == str(without):
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in suffixes and not name.startswith("."):
                found.append(Path(folder, name).relative_to(root).as_posix())
            else:
                others[suffix or name] += 1
    if not found:
        held = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(4)) or "nothing"
        raise DataError(f"no images in {root} (it holds {held}): give image files ({' '.join(suffixes)}) or Parquet")
    return sorted(found)


def _stop(error: OSError) -> None:
    """A folder that may not be read must not be skipped in silence, as `os.walk` would."""
    raise error
