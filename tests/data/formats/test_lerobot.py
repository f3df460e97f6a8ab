"""LeRobot versions 2 and 3: rows from Parquet, frames from the right place of the right video."""

import json
import shutil

import numpy as np
import pytest

from armillary.data.formats.lerobot import video_frames
from armillary.data.trajectories import Keys, open_trajectories
from armillary.errors import DataError

from . import writers

pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
pytest.importorskip("av")
NEAR = 4  # of 255: what the codec may change of the mean of a frame


def shades(image):
    """The mean red of each frame, by which frames are told apart."""
    return image[..., 0].mean((1, 2))


@pytest.fixture(scope="module", params=[2, 3])
def written(request, tmp_path_factory):
    truth = writers.world((7, 9, 6))
    return writers.lerobot(tmp_path_factory.mktemp("robot") / "a", truth, request.param), truth, request.param


def test_rows_names_rate_and_videos(written):
    path, truth, _ = written
    source = open_trajectories(path, size=16)
    assert source.recording.format == "lerobot" and source.recording.frame_rate == 10
    assert source.action_names == ("left", "right") and source.columns["proprio"] == ("observation.state",)
    assert source.columns["image"] == (writers.CAMERAS[0],) and writers.CAMERAS[1] in source.notes[0]
    for i in (2, 0, 1):
        read = source.read(i)
        writers.same(read, truth[i], pixels=255)
        assert np.abs(shades(read["image"]) - shades(truth[i]["image"])).max() <= NEAR
        assert np.abs(shades(read["image"])[1:] - shades(truth[i]["image"])[:-1]).max() > 3 * NEAR  # one frame off
        np.testing.assert_array_equal(read["proprio"], truth[i]["state"])


def test_the_second_camera(written):
    path, truth, _ = written
    source = open_trajectories(path, keys=Keys(image=writers.CAMERAS[1]), size=16)
    assert np.abs(255 - shades(source.read(1)["image"]) - shades(truth[1]["image"])).max() <= NEAR


def test_missing_videos_rows_and_frames_are_named(written, tmp_path):
    path, _, version = written
    shutil.copytree(path, tmp_path / "b")
    index = tmp_path / "b" / "meta"
    if version == 2:
        lines = (index / "episodes.jsonl").read_text().replace('"length": 9', '"length": 12')
        (index / "episodes.jsonl").write_text(lines)
    else:
        file = index / "episodes/chunk-000/file-000.parquet"
        rows = pq.read_table(file).to_pylist()
        rows[1]["length"] = 12
        pq.write_table(pa.Table.from_pylist(rows), file)
    source = open_trajectories(tmp_path / "b", keys=Keys(image="none"))
    with pytest.raises(DataError, match=r"episode 1 has 9 rows in .*, the index says 12"):
        source.read(1)
    shutil.rmtree(tmp_path / "b" / "videos")
    with pytest.raises(DataError, match=r"which is not there: copy the data set again"):
        open_trajectories(tmp_path / "b").read(0)


def test_a_video_that_is_too_short_or_damaged(tmp_path):
    image = writers.world((6,))[0]["image"]
    writers.video(tmp_path / "a.mp4", image, 10)
    assert len(video_frames(tmp_path / "a.mp4", 0.2, 4, 10, 16, "it")) == 4
    with pytest.raises(DataError, match=r"it has 8 steps, its video lacks 2 frames from 6 on"):
        video_frames(tmp_path / "a.mp4", 0.0, 8, 10, 16, "it")
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"cannot be decoded"):
        video_frames(tmp_path / "a.mp4", 0.0, 8, 10, 16, "it")


def test_other_versions_and_damaged_indexes_are_explained(written, tmp_path):
    shutil.copytree(written[0], tmp_path / "b")
    file = tmp_path / "b" / "meta" / "info.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"total_episodes": 4}))
    with pytest.raises(DataError, match=r"index of .* has 3 episodes, info.json says 4"):
        open_trajectories(tmp_path / "b")
    file.write_text(json.dumps(told | {"codebase_version": "v1.6"}))
    with pytest.raises(DataError, match=r"is LeRobot version v1.6: v2 and v3 are read"):
        open_trajectories(tmp_path / "b")
    file.write_text("{}")
    with pytest.raises(DataError, match=r"is damaged"):
        open_trajectories(tmp_path / "b")
