"""Diffusion policy's replay buffer, with its float images of 0 to 255."""

import shutil

import numpy as np
import pytest

from armillary.data.trajectories import open_trajectories
from armillary.errors import DataError

from . import writers

pytest.importorskip("zarr")


@pytest.mark.parametrize("packed", [False, True])
def test_replay_buffer_as_folder_and_as_zip(tmp_path, packed):
    truth = writers.world()
    path = writers.replay(tmp_path / "pusht.zarr", truth)
    if packed:
        path = shutil.make_archive(str(path), "zip", path)
    source = open_trajectories(path, size=16)
    assert source.recording.format == "diffusion-policy" and len(source) == 3
    assert source.columns["image"] == ("img",)
    for i, episode in enumerate(truth):
        writers.same(source.read(i), episode)
        np.testing.assert_array_equal(source.read(i)["state"], episode["state"])


def test_damaged_buffers_are_explained(tmp_path):
    path = writers.replay(tmp_path / "a.zarr", writers.world())
    shutil.rmtree(path / "data")
    with pytest.raises(DataError, match=r"is no replay buffer"):
        open_trajectories(path)
