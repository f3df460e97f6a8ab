"""Folders of image files."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from ...errors import DataError, suggest
from .source import TEST_NAMES, Source

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def open_folder(path: Path, split: str) -> Source:
    """The image files below `path`, sorted by name; `path/train` and `path/test` (or val) where they exist.

    The first folder below each part is the class of an image; there are labels when every image lies in such a folder
    and there are at least 2 of them. Without a test part a tenth of the images is held out, see `Source.part`.
    Raises:
        DataError: there are no image files, or the test part has a class that the train part lacks.
    """
    train = path / "train" if (path / "train").is_dir() else path
    test = next((path / name for name in TEST_NAMES if train != path and (path / name).is_dir()), None)
    names = _image_files(train)
    parts = {name.split("/", 1)[0] for name in names if "/" in name}
    labelled = len(parts) > 1 and all("/" in name for name in names)
    classes = tuple(sorted(parts)) if labelled else ()
    if test is None:
        return _source(train, names, classes).part(split)
    return _source(train, names, classes) if split == "train" else _source(test, _image_files(test), classes)


def _source(root: Path, names: list[str], classes: tuple[str, ...]) -> Source:
    def read(row: int) -> bytes:
        return (root / names[row]).read_bytes()

    if not classes:
        return Source(names, read)
    place = {name: i for i, name in enumerate(classes)}
    strange = sorted({name.split("/", 1)[0] for name in names} - place.keys())
    if strange:
        raise DataError(
            f"{root} holds {strange[0]!r}, which is no class of the train part: {suggest(strange[0], classes)}"
        )
    return Source(names, read, np.array([place[name.split("/", 1)[0]] for name in names], np.int64), classes)


def _image_files(root: Path) -> list[str]:
    """Paths of image files relative to `root`, sorted; links to folders are followed, each folder once."""
    found: list[str] = []
    others: Counter[str] = Counter()
    seen: set[str] = set()
    for folder, below, files in os.walk(root, onerror=_stop, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES and not name.startswith("."):
                found.append(Path(folder, name).relative_to(root).as_posix())
            else:
                others[suffix or name] += 1
    if not found:
        held = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(4)) or "nothing"
        raise DataError(f"no images in {root} (it holds {held}): give image files ({' '.join(SUFFIXES)}) or Parquet")
    return sorted(found)


def _stop(error: OSError) -> None:
    """A folder that may not be read must not be skipped in silence, as `os.walk` would."""
    raise error
