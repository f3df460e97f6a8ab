"""Three formats of HDF5 files are read episode by episode; wrong ones are explained."""

import numpy as np
import pytest

from armillary.data.trajectories import Keys, open_trajectories
from armillary.errors import DataError

from . import writers

h5py = pytest.importorskip("h5py")


@pytest.mark.parametrize("old", [False, True])
def test_stable_worldmodel_in_both_layouts(tmp_path, old):
    truth = writers.world()
    source = open_trajectories(writers.stable_worldmodel(tmp_path / "a.h5", truth, old), size=16)
    assert source.recording.format == "stable-worldmodel" and len(source) == 3
    assert source.columns["image"] == ("pixels",) and source.columns["proprio"] == ("proprio",)
    for i, episode in enumerate(truth):
        read = source.read(i)
        writers.same(read, episode)
        np.testing.assert_array_equal(read["proprio"], episode["state"])
        assert np.isnan(read["action"][-1]).all()  # as it is in the file


def test_stable_worldmodel_with_missing_frames_is_refused(tmp_path):
    path = writers.stable_worldmodel(tmp_path / "a.h5", writers.world(), old=True)
    with h5py.File(path, "a") as file:
        file["step_idx"][9:16] += 1
    with pytest.raises(DataError, match=r"step_idx of episode 1 .* jumps to 3: frames are missing"):
        open_trajectories(path)
    writers.stable_worldmodel(path, writers.world())
    with h5py.File(path, "a") as file:
        file["ep_offset"][1] += 1
    with pytest.raises(DataError, match=r"does not follow from ep_len"):
        open_trajectories(path)


def test_robomimic_in_numeric_order_with_its_split_and_rate(tmp_path):
    truth = writers.world(tuple(range(5, 17)))
    source = open_trajectories(writers.robomimic(tmp_path / "a.hdf5", truth, valid=(2, 10)), size=16)
    assert source.recording.format == "robomimic" and source.recording.frame_rate == 20
    assert source.recording.names[2] == "demo_2" and source.recording.names[11] == "demo_11"
    assert [i for i, part in enumerate(source.recording.parts) if part == "test"] == [2, 10]
    assert source.columns["image"] == ("obs/agentview_image",) and "hand_image" in source.notes[0]
    read = source.read(10)
    writers.same(read, truth[10])
    np.testing.assert_array_equal(read["state"], truth[10]["state"])
    np.testing.assert_array_equal(read["proprio"], truth[10]["state"][:, [0, 1, 2, 0]])


def test_an_episode_without_a_column_is_named(tmp_path):
    path = writers.robomimic(tmp_path / "a.hdf5", writers.world())
    with h5py.File(path, "a") as file:
        del file["data/demo_1/states"]
    source = open_trajectories(path)
    with pytest.raises(DataError, match=r"demo_1 of .* has no 'states', which demo_0 has"):
        source.read(1)


def test_d4rl_ends_at_timeouts_and_joins_positions_and_velocities(tmp_path):
    truth = writers.world()
    source = open_trajectories(writers.d4rl(tmp_path / "a.hdf5", truth))
    assert source.recording.format == "d4rl" and len(source) == 3
    assert source.columns["state"] == ("infos/qpos", "infos/qvel") and source.columns["proprio"] == ("observations",)
    for i, episode in enumerate(truth):
        read = source.read(i)
        writers.same(read, episode)
        np.testing.assert_array_equal(read["state"], episode["state"])
    assert source.read(1)["reward"].tolist() == list(range(7, 16))


def test_images_may_come_with_channels_first(tmp_path):
    truth = writers.world()
    path = writers.stable_worldmodel(tmp_path / "a.h5", truth)
    with h5py.File(path, "a") as file:
        image = file["pixels"][:]
        del file["pixels"]
        file["pixels"] = image.transpose(0, 3, 1, 2)
    writers.same(open_trajectories(path, size=16).read(2), truth[2])


def test_damaged_and_unknown_files_are_explained(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"no such thing")
    with pytest.raises(DataError, match=r"cannot be read as HDF5"):
        open_trajectories(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["words"] = np.zeros(3)
    with pytest.raises(DataError, match=r"it holds words\). Known: stable-worldmodel"):
        open_trajectories(tmp_path / "b.h5")


def test_columns_of_other_lengths_are_named(tmp_path):
    path = writers.stable_worldmodel(tmp_path / "a.h5", writers.world())
    with h5py.File(path, "a") as file:
        action = file["action"][:-1]
        del file["action"]
        file["action"] = action
    with pytest.raises(DataError, match=r"action of .* has 21 rows"):
        open_trajectories(path)
    with pytest.raises(DataError, match=r"proprio.*' holds numbers|cannot be the image"):
        open_trajectories(path, keys=Keys(image="proprio", action=("proprio",)))
