"""Generated images in three classes that differ by color, and contenders that are small enough for tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from armillary.randomness import numbered

TINY = "method.encoder.width=24,method.encoder.depth=1,method.encoder.heads=2,batch=8"
IJEPA = f"ijepa[{TINY},method.predictor_width=16,method.predictor_depth=1,method.predictor_heads=2]"
SUPERVISED = f"supervised[{TINY}]"


def draw(folder: Path, count: int, seed: int = 0, classes: tuple[str, ...] = ("blue", "green", "red")) -> None:
    """`count` noisy images of 16 pixels per class, in a folder per class ("" is the folder itself)."""
    noise = numbered(count * len(classes), seed).uniform("pixels", 3, 16, 16) * 220
    for i, image in enumerate(noise):
        name = classes[i % len(classes)]
        image[{"red": 0, "green": 1, "blue": 2}.get(name, 0)] += 30
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.to(torch.uint8).movedim(0, -1).numpy()).save(folder / name / f"{i:03d}.png")


@pytest.fixture(scope="session")
def colored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 train and 30 test images with labels."""
    folder = tmp_path_factory.mktemp("images") / "colored"
    draw(folder / "train", 20)
    draw(folder / "test", 10, seed=1)
    return folder
