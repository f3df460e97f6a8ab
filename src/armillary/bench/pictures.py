"""Pictures of a representation: what is near to what, and patch features in color."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from ..data.dataset import Dataset
from ..probes.extract import Encode, Features
from ..types import Batch
from .splits import Splits

QUERIES, NEIGHBORS = 6, 6  # test images that are shown, and the train images beside each
SIDE, GAP = 48, 4  # pixels of an image and between images
WHITE = 255


def neighbors(known: Features, asked: Features, splits: Splits, path: Path) -> None:
    """Write a PNG: in each row a test image, a gap, and the train images nearest to it by cosine."""
    places = _spread(len(asked.x))
    cosine = F.normalize(asked.x[places], dim=1) @ F.normalize(known.x, dim=1).T
    near = cosine.topk(min(NEIGHBORS, len(known.x)), dim=1).indices
    queries = _images(splits.asked(False), asked.index[places])
    found = [_images(splits.known(False), known.index[row]) for row in near]
    _save(path, [[query, None, *row] for query, row in zip(queries, found, strict=True)])


def patches(encode: Encode, splits: Splits, path: Path, device: torch.device) -> None:
    """Write a PNG: test images, and below each its patches in the colors of their three principal directions."""
    dataset = splits.asked(False)
    raw = dataset.batch(_spread(len(dataset)))
    with torch.no_grad():
        tokens = encode(dataset.prepare({key: value.to(device) for key, value in raw.items()}))
    x = tokens.x.float().cpu()
    side = round(x.shape[1] ** 0.5)
    if side * side != x.shape[1] or side < 2:
        return
    colors = principal(x).unflatten(1, (side, side)).numpy()
    _save(path, [list(_shown(raw)), list(colors)])


def principal(x: Float[Tensor, "B N D"]) -> UInt8[Tensor, "B N 3"]:
    """Tokens as colors: their first three principal directions over all of them, each stretched to 0 to 255."""
    flat = x.flatten(0, 1)
    centered = flat - flat.mean(0)
    _, _, directions = torch.linalg.svd(centered, full_matrices=False)
    directions = F.pad(directions[:3], (0, 0, 0, max(0, 3 - len(directions))))
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))  # the sign of a direction means nothing
    values = centered @ (directions * torch.where(largest < 0, -1.0, 1.0)).T
    low, high = values.quantile(torch.tensor([0.02, 0.98]), dim=0)
    scaled = ((values - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return (scaled * 255).to(torch.uint8).unflatten(0, x.shape[:2])


def _spread(n: int) -> Tensor:
    """The same few test images for everyone: from the middles of equal parts."""
    count = min(QUERIES, n)
    return (torch.arange(count) * 2 + 1) * n // (2 * count)


def _images(dataset: Dataset, index: Tensor) -> list[UInt8[np.ndarray, "h w c"]]:
    return _shown(dataset.batch(index))


def _shown(raw: Batch) -> list[UInt8[np.ndarray, "h w c"]]:
    image = raw["image"].expand(-1, 3, -1, -1) if raw["image"].shape[1] == 1 else raw["image"]
    return list(image.permute(0, 2, 3, 1).numpy())


def _save(path: Path, grid: list[list[np.ndarray | None]]) -> None:
    """Draw images in rows; None leaves a narrow gap."""
    height = len(grid) * (SIDE + GAP) - GAP
    width = max(sum(GAP * 3 if cell is None else SIDE + GAP for cell in row) for row in grid) - GAP
    sheet = Image.new("RGB", (width, height), (WHITE, WHITE, WHITE))
    for y, row in enumerate(grid):
        x = 0
        for cell in row:
            if cell is None:
                x += GAP * 3
                continue
            sheet.paste(Image.fromarray(cell).resize((SIDE, SIDE), Image.Resampling.NEAREST), (x, y * (SIDE + GAP)))
            x += SIDE + GAP
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    sheet.save(partial, "PNG", optimize=True)
    partial.replace(path)
