"""Minari's HDF5 storage: T actions and T + 1 observations, dictionaries of observations."""

import json

import numpy as np
import pytest

from armillary.data.trajectories import Keys, open_trajectories
from armillary.errors import DataError

from . import writers

pytest.importorskip("h5py")


def test_every_action_leads_to_an_observation(tmp_path):
    truth = writers.world(tuple(range(4, 16)))
    source = open_trajectories(writers.minari(tmp_path / "door-human-v2", truth))
    assert source.recording.format == "minari" and source.recording.names[2] == "episode_2"
    assert source.columns["proprio"] == source.columns["state"] == ("observations/observation",)
    for i in (0, 11):
        read = source.read(i)
        writers.same(read, truth[i], last=0)
        np.testing.assert_array_equal(read["state"], truth[i]["state"])
        assert len(read["reward"]) == len(read["action"])


def test_entries_of_a_dictionary_are_chosen_by_name(tmp_path):
    truth = writers.world()
    path = writers.minari(tmp_path / "a", truth)
    source = open_trajectories(path, keys=Keys(state=("observations/achieved_goal", "observations/observation")))
    assert source.read(0)["state"].shape == (7, 5)


def test_other_storages_and_missing_episodes_are_explained(tmp_path):
    path = writers.minari(tmp_path / "a", writers.world())
    (path / "data" / "metadata.json").write_text(json.dumps({"data_format": "hdf5", "total_episodes": 5}))
    with pytest.raises(DataError, match=r"holds 3 episodes, metadata.json says 5"):
        open_trajectories(path)
    (path / "data" / "main_data.hdf5").unlink()
    (path / "data" / "metadata.json").write_text(json.dumps({"data_format": "arrow"}))
    with pytest.raises(DataError, match=r"keeps its data as 'arrow': HDF5 is read"):
        open_trajectories(path)
