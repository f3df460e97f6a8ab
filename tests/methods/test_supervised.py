"""Supervised training: rows without label count for nothing, labels that are no class are refused."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ConfigError, DataError
from armillary.methods.rivals import supervised
from armillary.randomness import Random


@pytest.fixture
def made():
    torch.manual_seed(0)
    return supervised.tiny()


def loss(method: supervised.Supervised, batch: dict) -> torch.Tensor:
    return method.loss(batch, Random(0, 1, batch["index"]))["classification"]


def test_rows_without_label_count_for_nothing(made):
    method, batch = made
    label = batch["label"].clone()
    label[3:] = -1
    labeled = {key: value[:3] for key, value in batch.items()}
    torch.testing.assert_close(loss(method, {**batch, "label": label}), loss(method, labeled))


def test_a_batch_without_any_label_moves_nothing(made):
    method, batch = made
    value = loss(method, {**batch, "label": torch.full((8,), -1)})
    value.backward()
    assert value == 0 and all(p.grad.abs().max() == 0 for p in method.parameters())


@pytest.mark.parametrize("label", [4, -2])
def test_a_label_that_is_no_class_is_refused(made, label):
    method, batch = made
    with pytest.raises(DataError, match=r"labels from .* the method has 4 classes.*set method\.classes"):
        loss(method, {**batch, "label": torch.full((8,), label)})


def test_a_single_class_is_refused_in_words():
    with pytest.raises(ConfigError, match="nothing to tell apart"):
        supervised.Config(classes=1)


def test_data_without_labels_are_refused_in_words(made):
    method, batch = made
    with pytest.raises(DataError, match="class folders or a label column"):
        loss(method, {key: value for key, value in batch.items() if key != "label"})
