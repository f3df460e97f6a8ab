"""Parquet tables with numbered episodes; the real human demonstrations are in this format."""

import numpy as np
import pytest

from armillary.data.formats.table import Rows
from armillary.data.trajectories import open_trajectories
from armillary.errors import DataError

from . import writers

pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")


def test_parts_are_read_by_row_groups(tmp_path):
    train, test = writers.world(), writers.world((5, 8), seed=1)
    writers.table(tmp_path / "train.parquet", train)
    writers.table(tmp_path / "test.parquet", test, first=7)
    source = open_trajectories(tmp_path)
    assert source.recording.format == "table" and source.recording.parts == ("test",) * 2 + ("train",) * 3
    assert source.recording.names[0] == "7 of test.parquet"
    for i, episode in enumerate(test + train):
        read = source.read(i)
        writers.same(read, episode)
        np.testing.assert_array_equal(read["proprio"], episode["state"])
        np.testing.assert_array_equal(read["reward"], episode["state"][:, 0])


def test_rows_across_groups(tmp_path):
    file = Rows(writers.table(tmp_path / "a.parquet", writers.world()))
    assert file.count == 22
    for first, stop in ((0, 22), (3, 9), (8, 12), (21, 22)):
        steps = file.take(first, stop, ["episode", "step"]).column("step").to_numpy()
        np.testing.assert_array_equal(steps, file.column("step")[first:stop])


def test_missing_and_scattered_frames_are_explained(tmp_path):
    path = writers.table(tmp_path / "a.parquet", writers.world())
    whole = pq.read_table(path)
    pq.write_table(pa.concat_tables([whole.slice(0, 3), whole.slice(4)]), path)
    with pytest.raises(DataError, match=r"episode 0 of .* goes from frame 2 to 4"):
        open_trajectories(path).read(0)
    pq.write_table(pa.concat_tables([whole.slice(3), whole.slice(0, 3)]), path)
    with pytest.raises(DataError, match=r"steps of episode 0 .* do not lie together"):
        open_trajectories(path)
    pq.write_table(whole.drop_columns(["episode"]), path)
    with pytest.raises(DataError, match=r"no column that numbers episodes"):
        open_trajectories(path)


def test_ragged_lists_are_explained(tmp_path):
    columns = {"episode": [0, 0, 0], "action": [[1.0], [2.0, 3.0], [1.0]], "state": [1.0, 2.0, 3.0]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"action of episode 0 .* has 1 to 2 numbers a row"):
        open_trajectories(tmp_path / "a.parquet").read(0)


def test_human_demonstrations_of_the_door(shared):
    source = open_trajectories(shared / "data" / "adroit_door")
    assert len(source) == 20 and source.recording.parts.count("test") == 4
    episodes = [source.read(i) for i in range(20)]
    assert sum(len(e["state"]) for e in episodes) == 4428 + 1017
    assert {e["state"].shape[1] for e in episodes} == {39} and {e["action"].shape[1] for e in episodes} == {28}
