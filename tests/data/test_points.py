"""Clouds are scaled, cut to a fixed random part, and checked."""

import numpy as np
import pytest
import torch

from armillary.data.dataset import open_data
from armillary.data.formats.points import Points
from armillary.errors import ConfigError, DataError


def write(folder, points, split="train", **arrays):
    np.savez(folder / f"{split}.npz", points=points, **arrays)
    return str(folder)


def test_integers_are_scaled_and_labels_named(tmp_path):
    points = np.random.default_rng(0).integers(-32767, 32768, (3, 10, 3)).astype(np.int16)
    path = write(tmp_path, points, label=np.array([1, 0, 1], np.int16), class_names=np.array(["brick", "plate"]))
    dataset = open_data(Points(path, points=10))
    batch = dataset.batch(torch.tensor([2, 0]))
    assert batch["points"].dtype == torch.float32 and batch["label"].tolist() == [1, 1]
    assert torch.equal(batch["points"], torch.from_numpy(points[[2, 0]].astype(np.float32) / 32767))
    assert dataset.classes == ("brick", "plate") and dataset.prepare(batch) is batch


def test_larger_clouds_give_a_fixed_random_part_of_their_points(tmp_path):
    points = np.random.default_rng(0).standard_normal((4, 200, 3))
    path = write(tmp_path, points)
    part = open_data(Points(path, points=50)).batch(torch.arange(4))["points"].numpy()
    assert np.array_equal(part, open_data(Points(path, points=50)).batch(torch.arange(4))["points"].numpy())
    place = [np.flatnonzero((points[0].astype(np.float32) == p).all(1))[0] for p in part[0]]
    assert len(set(place)) == 50 and 60 < np.mean(place) < 140  # not the first ones


@pytest.mark.parametrize(
    ("points", "more", "message"),
    [
        (np.zeros((2, 5, 3)), {}, "have 5 points, fewer than data.points = 8"),
        (np.zeros((2, 9, 2)), {}, r"has shape \(2, 9, 2\)"),
        (np.zeros((0, 9, 3)), {}, "at least one cloud"),
        (np.full((2, 9, 3), np.nan), {}, "2 clouds of .* hold NaN or infinity, the first is row 0"),
        (np.zeros((2, 9, 3), np.int32), {}, "holds int32"),
        (np.zeros((2, 9, 3)), {"label": np.zeros(3, int)}, "2 integers are needed"),
        (np.zeros((2, 9, 3)), {"label": np.array([0, 1]), "class_names": np.array(["a"])}, "1 names"),
    ],
)
def test_wrong_arrays_are_explained(tmp_path, points, more, message):
    with pytest.raises(DataError, match=message):
        open_data(Points(write(tmp_path, points, **more), points=8))


def test_wrong_files_are_explained(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        open_data(Points(str(tmp_path)), "test")
    (tmp_path / "train.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DataError, match="cannot be read"):
        open_data(Points(str(tmp_path)))
    np.savez(tmp_path / "train.npz", points=np.array([{"code": 1}], dtype=object))  # would be unpickled
    with pytest.raises(DataError, match="cannot be read"):
        open_data(Points(str(tmp_path)))
    with pytest.raises(ConfigError):
        open_data(Points(str(tmp_path), points=0))


def test_ldraw_shapes_open(shared):
    dataset = open_data(Points(str(shared / "data" / "ldraw_shapes")))
    batch = dataset.batch(torch.arange(8))
    assert len(dataset) == 769 and batch["points"].shape == (8, 1024, 3) and len(dataset.classes) == 14
    assert 0.9 < batch["points"].norm(dim=-1).amax() <= 1.001  # unit radius
