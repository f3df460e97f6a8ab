"""NumPy archives are read by rows without loading their arrays; episodes end where they should."""

import tracemalloc

import numpy as np
import pytest

from armillary.data.formats.npz import Archive
from armillary.data.trajectories import Keys, open_trajectories
from armillary.errors import DataError

from . import writers


def test_ogbench_with_its_test_file(tmp_path):
    train, test = writers.world(), writers.world((5, 8), seed=1)
    path = writers.ogbench(tmp_path / "maze-v0.npz", train)
    writers.ogbench(tmp_path / "maze-v0-val.npz", test)
    source = open_trajectories(tmp_path)
    assert source.recording.format == "ogbench" and source.recording.path == path
    assert source.recording.parts == ("train",) * 3 + ("test",) * 2
    assert source.columns["state"] == ("qpos", "qvel")
    for i, episode in enumerate(train + test):
        writers.same(source.read(i), episode)
        np.testing.assert_array_equal(source.read(i)["proprio"], episode["state"])


def test_visual_observations_are_the_image(tmp_path):
    truth = writers.world()
    source = open_trajectories(writers.ogbench(tmp_path / "visual.npz", truth, visual=True), size=16)
    assert source.columns["image"] == ("observations",) and "proprio" not in source.columns
    writers.same(source.read(1), truth[1])
    small = open_trajectories(tmp_path / "visual.npz", size=8)
    assert small.read(1)["image"].shape == (9, 8, 8, 3)
    assert "image" not in open_trajectories(tmp_path / "visual.npz", keys=Keys(image="none")).columns


def test_episodes_break_where_observations_do_not_follow(tmp_path):
    truth = writers.world()
    held = {"observations": np.concatenate([e["state"][:-1] for e in truth]),
            "next_observations": np.concatenate([e["state"][1:] for e in truth]),
            "actions": np.concatenate([e["action"] for e in truth])}  # fmt: skip
    np.savez(tmp_path / "a.npz", terminals=np.zeros(len(held["actions"]), bool), **held)
    source = open_trajectories(tmp_path / "a.npz")
    assert [len(source.read(i)["state"]) for i in range(len(source))] == [6, 8, 5]


def test_unmarked_ends_are_noted(tmp_path):
    held = writers.joined(writers.world())
    marks = held["terminals"].copy()
    marks[-1] = False
    np.savez(tmp_path / "a.npz", observations=held["state"], actions=held["action"], terminals=marks)
    assert "may be joined" in open_trajectories(tmp_path / "a.npz").notes[0]


def test_rows_are_read_in_any_order_with_little_memory(tmp_path):
    big = np.arange(400_000, dtype=np.float64).reshape(-1, 4)
    np.savez_compressed(tmp_path / "a.npz", big=big, words=np.array(["a"]), number=3)
    archive = Archive(tmp_path / "a.npz")
    assert set(archive.arrays) == {"big"}
    for first in (500, 90_000, 3):
        np.testing.assert_array_equal(archive.rows("big", first, first + 7), big[first : first + 7])
    archive = Archive(tmp_path / "a.npz")
    tracemalloc.start()
    for first in range(0, len(big), 1000):
        assert np.array_equal(archive.rows("big", first, first + 1000), big[first : first + 1000])
    assert tracemalloc.get_traced_memory()[1] < big.nbytes / 4
    tracemalloc.stop()


def test_damaged_archives_are_explained(tmp_path):
    path = writers.ogbench(tmp_path / "a.npz", writers.world())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cannot be read as .npz"):
        open_trajectories(path)
    np.savez(path, observations=np.zeros((3, 1)))
    with pytest.raises(DataError, match=r"no array `actions`, it holds observations"):
        open_trajectories(path)
