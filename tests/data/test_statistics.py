"""Normalization is what was saved, for images, actions and macro-actions."""

import numpy as np
import pytest
import torch

from armillary.data.statistics import Statistics, moments
from armillary.errors import DataError, ShapeError

STATISTICS = Statistics({"image": (0.5,), "action": (1.0, -2.0)}, {"image": (0.25,), "action": (2.0, 0.5)})


def test_macro_actions_are_normalized_like_their_parts():
    raw = torch.randn(3, 4, 6)  # 3 raw actions of 2 numbers
    joined = STATISTICS.normalize("action", raw)
    apart = STATISTICS.normalize("action", raw.unflatten(-1, (3, 2))).flatten(-2)
    assert torch.equal(joined, apart)
    assert torch.allclose(joined[0, 0, 3], (raw[0, 0, 3] + 2) / 0.5)
    with pytest.raises(ShapeError, match="width 5"):
        STATISTICS.normalize("action", torch.zeros(1, 5))


def test_prepare_changes_images_and_actions_and_nothing_else():
    batch = {
        "image": torch.randint(0, 256, (2, 3, 1, 4, 4), dtype=torch.uint8),
        "action": torch.randn(2, 2, 2),
        "state": torch.randn(2, 3, 2),
    }
    kept = {key: value.clone() for key, value in batch.items()}
    prepared = STATISTICS.prepare(batch)
    assert torch.allclose(prepared["image"], (batch["image"] / 255 - 0.5) / 0.25, atol=1e-6)
    assert torch.equal(prepared["state"], batch["state"])
    assert all(torch.equal(batch[key], kept[key]) for key in batch)  # pure
    assert prepared.keys() == batch.keys() | {"normalization"}
    again = STATISTICS.prepare({"image": prepared["image"]})
    assert torch.equal(again["image"], prepared["image"])  # a float image is prepared already


def test_prepared_images_carry_what_brings_their_pixels_back():
    statistics = Statistics({"image": (0.4, 0.5, 0.6)}, {"image": (0.2, 0.3, 0.4)})
    pixels = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    prepared = statistics.prepare({"image": pixels})
    assert prepared["normalization"].shape == (5, 2, 3)
    mean, std = prepared["normalization"][..., None, None].unbind(1)
    assert torch.allclose((prepared["image"] * std + mean) * 255, pixels.float(), atol=1e-3)
    assert "normalization" not in statistics.prepare({"image": prepared["image"]})  # float already: left alone


def test_saved_statistics_are_loaded_exactly(tmp_path):
    exact = Statistics({"action": (1 / 3, np.pi)}, {"action": (1e-30, 7.0)})
    exact.save(tmp_path / "statistics.json")
    assert Statistics.load(tmp_path / "statistics.json") == exact


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"mean": {"a": [0]}, "std": {"a": [0]}}', '{"mean": {"a": [0]}, "std": {"b": [1]}}',
     '{"mean": {"a": [NaN]}, "std": {"a": [1]}}', '{"mean": {"a": ["x"]}, "std": {"a": [1]}}', '{"mean": 1, "std": 2}'],
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path, text):
    (tmp_path / "statistics.json").write_text(text)
    with pytest.raises(DataError, match="statistics"):
        Statistics.load(tmp_path / "statistics.json")


def test_a_constant_column_is_not_divided_by_zero():
    mean, std = moments(np.column_stack([np.full(9, 3.0), np.arange(9.0)]).astype(np.float32))
    assert mean == (3.0, 4.0) and std[0] == 1.0 and abs(std[1] - np.arange(9.0).std()) < 1e-12


def test_tensors_are_those_that_normalize():
    mean, std = STATISTICS.tensors("action")
    raw = torch.randn(5, 2)
    assert mean.dtype == std.dtype == torch.float32
    assert torch.equal((raw - mean) / std, STATISTICS.normalize("action", raw))
