"""Folders of frames with a CSV file, as anyone can write them; missing frames are named."""

import numpy as np
import pytest

from armillary.data.trajectories import Keys, open_trajectories
from armillary.errors import DataError

from . import writers


def test_frames_and_columns_that_begin_alike(tmp_path):
    truth = writers.world((7, 12, 6))
    source = open_trajectories(writers.frames(tmp_path / "drive", truth), size=16)
    assert source.recording.format == "frames" and source.recording.frame_rate == pytest.approx(5)
    assert source.action_names == ("action_x", "action_y")
    for i, episode in enumerate(truth):
        read = source.read(i)
        writers.same(read, episode)
        np.testing.assert_allclose(read["state"], episode["state"], rtol=1e-6)
        assert np.isnan(read["action"][-1]).all()


def test_a_column_names_the_frames(tmp_path):
    truth = writers.world()
    folder = writers.frames(tmp_path / "a", truth) / "episode_0"
    for i, file in enumerate(sorted(folder.glob("*.png"))):
        file.rename(folder / f"shot{90 - i}.png")
    lines = (folder / "steps.csv").read_text().splitlines()
    named = ["frame," + lines[0], *(f"shot{90 - i}.png,{line}" for i, line in enumerate(lines[1:]))]
    (folder / "steps.csv").write_text("\n".join(named))
    source = open_trajectories(folder, size=16)
    writers.same(source.read(0), truth[0])
    (folder / "shot88.png").unlink()
    with pytest.raises(DataError, match=r"names the frame shot88.png, which is not there"):
        source.read(0)


def test_missing_frames_and_wrong_tables_are_explained(tmp_path):
    path = writers.frames(tmp_path / "a", writers.world())
    source = open_trajectories(path, size=16)
    (path / "episode_1" / "frame_4.png").unlink()
    with pytest.raises(DataError, match=r"goes from frame_3.png to frame_5.png: frames are missing"):
        source.read(1)
    table = path / "episode_2" / "steps.csv"
    table.write_text(table.read_text().replace("time,", "time,extra,"))
    with pytest.raises(DataError, match=r"names 7 columns, but row 0 has 6 cells"):
        source.read(2)
    (path / "episode_0" / "more.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"holds 2 CSV files"):
        open_trajectories(path)
    (path / "episode_0" / "more.csv").unlink()
    first = path / "episode_0" / "steps.csv"
    first.write_text(first.read_text().replace("0.2,", "soon,"))
    with pytest.raises(DataError, match=r"column 'time' .* holds no number"):
        open_trajectories(path)


def test_a_csv_without_images_is_enough(tmp_path):
    (tmp_path / "run.csv").write_text("joint_0,joint_1,torque\n" + "0,1,2\n" * 4)
    source = open_trajectories(tmp_path, keys=Keys(action=("torque",), state=("joint",)))
    assert source.read(0)["state"].tolist() == [[0, 1]] * 4
