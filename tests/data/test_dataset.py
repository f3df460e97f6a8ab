"""Splits are functions of names; what is no data is refused with a hint."""

import numpy as np
import pytest
import torch

from armillary.data.dataset import Dataset, checked, held_out, open_data
from armillary.data.formats.images import Images
from armillary.errors import ConfigError, DataError


def test_held_out_rows_depend_on_the_names_and_not_on_their_order():
    names = [f"{i}.png" for i in range(500)]
    test = held_out(names, 0.1)
    shuffled = np.random.default_rng(0).permutation(500)
    assert test.sum() == 50
    assert np.array_equal(held_out([names[i] for i in shuffled], 0.1), test[shuffled])


def test_held_out_rows_spread_over_the_data():
    test = held_out([str(i) for i in range(5000)], 0.1)
    parts = test.reshape(5, -1).sum(1)  # 100 each expected, standard deviation 9.5
    assert parts.min() > 60 and parts.max() < 140


@pytest.mark.parametrize(("n", "share", "held"), [(1, 0.1, 0), (2, 0.1, 1), (3, 0.99, 2), (5, 0.0, 0)])
def test_both_parts_have_rows_where_there_are_two(n, share, held):
    assert held_out([str(i) for i in range(n)], share).sum() == held


def test_unknown_splits_and_configurations_are_refused():
    with pytest.raises(ConfigError, match="did you mean train"):
        open_data(Images(path="x"), "trian")
    with pytest.raises(ConfigError, match="dict describes no data"):
        open_data({"path": "x"})


def test_rows_outside_the_data_are_refused():
    for wrong in (-1, 3):
        with pytest.raises(DataError, match="rows are 0 to 2"):
            checked(torch.tensor([0, wrong]), 3)


def test_every_data_set_keeps_the_protocol(image_folder):
    dataset = open_data(Images(path=str(image_folder), size=8))
    assert isinstance(dataset, Dataset)
    index = torch.tensor([2, 0, 2])
    batch = dataset.batch(index)
    assert torch.equal(batch["index"], index)
    prepared = dataset.prepare(batch)
    assert prepared["image"].dtype == torch.float32 and batch["image"].dtype == torch.uint8
    assert torch.equal(prepared["image"][0], prepared["image"][2])
