"""The data's own test part is held out; without one it is the same share as ever."""

import numpy as np
import pytest

from armillary.data.dataset import held_out
from armillary.data.split import held_episodes, save_split
from armillary.errors import DataError


def test_without_a_file_the_hash_chooses(tmp_path):
    assert np.array_equal(held_episodes(tmp_path, 9, 0.3), held_out([str(i) for i in range(9)], 0.3))


def test_the_datas_own_part_comes_first_unless_nothing_is_to_be_held_out(tmp_path):
    held = np.isin(np.arange(9), (2, 5))
    save_split(tmp_path, held)
    assert np.array_equal(held_episodes(tmp_path, 9, 0.3), held)
    assert not held_episodes(tmp_path, 9, 0.0).any()


@pytest.mark.parametrize("text", ["", "{}", '{"test": [9]}', '{"test": "a"}', '{"test": [0.5]}', "[]"])
def test_damaged_files_are_explained(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DataError, match=r"does not name episodes of its store"):
        held_episodes(tmp_path, 9, 0.3)
