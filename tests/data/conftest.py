"""Small real data: a folder of PNG images in two classes, and Parquet files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """A random RGB image of width x height `size`."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **settings: object) -> bytes:
    """The image as a file of `kind`."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """20 images, 10 of each of the classes `cat` and `dog`."""
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "images" / name / f"{i}.png").write_bytes(encoded(picture(i if name == "cat" else 100 + i)))
    return tmp_path / "images"
