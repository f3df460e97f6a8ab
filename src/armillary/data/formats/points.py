"""Point clouds with classes, from NumPy archives."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from ...errors import ConfigError, DataError
from ...randomness import numbered
from ...types import Batch
from ..dataset import checked


@dataclass(frozen=True)
class Points:
    """A folder with train.npz and test.npz: `points` [N, n, 3], and optionally `label` [N] and `class_names`.

    int16 coordinates are divided by 32767, the others are taken as they are.
    """

    path: str = ""
    """Folder of train.npz and test.npz."""
    points: int = 1024
    """Points of a cloud: of larger clouds a fixed random part is used."""

    def open(self, split: str) -> PointDataset:
        """The clouds of one split.

        Raises:
            ConfigError: `points` is not positive.
            DataError: the file is missing or damaged, or its arrays do not fit.
        """
        if self.points < 1:
            raise ConfigError(f"points is {self.points}: a cloud needs at least 1")
        file = Path(self.path) / f"{split}.npz"
        if not self.path or not file.is_file():
            raise DataError(f"there is no file {file}: set data.path to a folder with train.npz and test.npz")
        try:
            with np.load(file, allow_pickle=False) as archive:
                held = {key: archive[key] for key in ("points", "label", "class_names") if key in archive}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{file} cannot be read ({error}): copy or make it again") from None
        if "points" not in held:
            raise DataError(f"{file} has no array `points` [N, n, 3]")
        classes = tuple(str(name) for name in held.get("class_names", ()))
        return PointDataset(_cloud(file, held["points"], self.points), _labels(file, held, classes), classes)


def _cloud(file: Path, points: np.ndarray, count: int) -> Float32[np.ndarray, "N n 3"]:
    if points.ndim != 3 or points.shape[2] != 3 or not len(points):
        raise DataError(f"`points` of {file} has shape {points.shape}: [N, n, 3] with at least one cloud is needed")
    if points.shape[1] < count:
        raise DataError(
            f"the clouds of {file} have {points.shape[1]} points, fewer than data.points = {count}: lower it"
        )
    if points.dtype == np.int16:
        scaled = points.astype(np.float32) / 32767
    elif np.issubdtype(points.dtype, np.floating):
        scaled = points.astype(np.float32)
    else:
        raise DataError(f"`points` of {file} holds {points.dtype}: int16 (for -1 to 1) or floating point is needed")
    wrong = np.flatnonzero(~np.isfinite(scaled).all((1, 2)))
    if len(wrong):
        raise DataError(f"{len(wrong)} clouds of {file} hold NaN or infinity, the first is row {wrong[0]}: remove them")
    if scaled.shape[1] == count:
        return scaled
    # The order of stored points may follow the surface, so the first ones would be one side of the shape.
    kept = numbered(len(scaled)).order("points", scaled.shape[1])[:, :count].numpy()
    return np.take_along_axis(scaled, kept[:, :, None], 1)


def _labels(file: Path, held: dict[str, np.ndarray], classes: tuple[str, ...]) -> Int64[np.ndarray, " N"] | None:
    if "label" not in held:
        return None
    label, clouds = held["label"], len(held["points"])
    if label.shape != (clouds,) or not np.issubdtype(label.dtype, np.integer):
        raise DataError(f"`label` of {file} is {label.dtype} {label.shape}: {clouds} integers are needed")
    if label.min() < 0 or (classes and label.max() >= len(classes)):
        raise DataError(f"`label` of {file} holds {label.min()} to {label.max()}, `class_names` {len(classes)} names")
    return label.astype(np.int64)


class PointDataset:
    """Clouds in rows: points [B, n, 3] float32 and, where there are classes, label [B]."""

    def __init__(
        self, points: Float32[np.ndarray, "N n 3"], labels: Int64[np.ndarray, " N"] | None, classes: tuple[str, ...]
    ) -> None:
        self.points, self.labels, self.classes = points, labels, classes

    def __len__(self) -> int:
        return len(self.points)

    def batch(self, index: Int64[Tensor, " B"]) -> Batch:
        """The clouds at `index`."""
        rows = checked(index, len(self))
        batch = {"index": index, "points": torch.from_numpy(self.points[rows])}
        if self.labels is not None:
            batch["label"] = torch.from_numpy(self.labels[rows])
        return batch

    def prepare(self, batch: Batch) -> Batch:
        """The batch as it is: clouds are stored as methods receive them."""
        return batch
