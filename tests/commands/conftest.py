"""Small real images, and a run that was trained on them from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from armillary.cli import main
from armillary.randomness import numbered

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_method.py"
SMALL = ["--batch", "8", "--steps", "6", "--method.encoder.widths", "4", "4", "4", "--method.width", "4",
         "--loop.save-every", "2", "--loop.log-every", "1", "--loop.monitor", "16"]  # fmt: skip


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two classes of 30 noisy images each: dark ones and bright ones."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = numbered(60, seed=3).uniform("pixels", 3, 32, 32) * 150
    for i, image in enumerate((noise + (torch.arange(60) % 2 * 100)[:, None, None, None]).to(torch.uint8)):
        path = folder / ("bright" if i % 2 else "dark") / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image.movedim(0, -1).numpy()).save(path)
    return folder


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recipe in a file of the user's own: the example, copied out of the checkout."""
    path = tmp_path_factory.mktemp("mine") / "my_method.py"
    path.write_text(EXAMPLE.read_text())
    return f"{path}:recipe"


@pytest.fixture(scope="session")
def flags(pictures: Path) -> list[str]:
    """What makes the example small, on the pictures."""
    return ["--data.path", str(pictures), *SMALL]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, recipe: str, flags: list[str]) -> Path:
    """The folder of a finished run; copy it before changing it."""
    folder = tmp_path_factory.mktemp("runs") / "example"
    assert main(["train", recipe, "--out", str(folder), *flags]) == 0
    return folder
