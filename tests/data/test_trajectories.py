"""The format is found from the path, the columns from their names; what is wrong is said with what there is."""

import importlib

import numpy as np
import pytest

from armillary.data.trajectories import FORMATS, Keys, detect, open_trajectories
from armillary.errors import ConfigError, DataError

from .formats import writers

pytest.importorskip("h5py")


def test_every_format_is_recognized(tmp_path):
    truth = writers.world()
    made = {
        "stable-worldmodel": writers.stable_worldmodel(tmp_path / "a.h5", truth),
        "robomimic": writers.robomimic(tmp_path / "b.hdf5", truth),
        "d4rl": writers.d4rl(tmp_path / "c.hdf5", truth),
        "ogbench": writers.ogbench(tmp_path / "d.npz", truth),
        "minari": writers.minari(tmp_path / "e", truth),
        "frames": writers.frames(tmp_path / "f", truth),
        "table": writers.table(tmp_path / "g" / "train.parquet", truth),
    }
    (tmp_path / "h" / "meta").mkdir(parents=True)
    (tmp_path / "h" / "meta" / "info.json").write_text("{}")
    (tmp_path / "i" / "meta" / "episode_ends").mkdir(parents=True)
    made |= {"lerobot": tmp_path / "h", "diffusion-policy": tmp_path / "i"}
    assert made.keys() == FORMATS.keys()
    assert {name: detect(path)[0] for name, path in made.items()} == {name: name for name in made}


def test_unknown_things_are_listed_beside_what_is_known(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "b.txt").write_text("words")
    with pytest.raises(DataError, match=r"it holds 2 \.txt\)\. Known: stable-worldmodel .* Or say which with --format"):
        open_trajectories(tmp_path)
    with pytest.raises(DataError, match=r"it ends in '\.txt'"):
        open_trajectories(tmp_path / "a.txt")
    with pytest.raises(DataError, match="there is nothing at"):
        open_trajectories(tmp_path / "c")
    with pytest.raises(ConfigError, match="did you mean minari"):
        open_trajectories(tmp_path, "minary")
    for name in ("x", "y"):
        writers.ogbench(tmp_path / f"{name}.npz", writers.world())
    with pytest.raises(DataError, match=r"holds 2 files of trajectories, e\.g\. x\.npz"):
        open_trajectories(tmp_path)


def test_unknown_keys_are_corrected(tmp_path):
    path = writers.stable_worldmodel(tmp_path / "a.h5", writers.world())
    with pytest.raises(DataError, match=r"no column 'pixel' for image: did you mean pixels\? It holds"):
        open_trajectories(path, keys=Keys(image="pixel"))
    with pytest.raises(DataError, match="no column 'speed' for action"):
        open_trajectories(path, keys=Keys(action=("speed",)))
    with pytest.raises(DataError, match="holds images: it cannot be the state"):
        open_trajectories(path, keys=Keys(state=("pixels",)))
    with pytest.raises(ConfigError, match="size is -1"):
        open_trajectories(path, size=-1)


def test_without_actions_or_observations_nothing_can_be_done(tmp_path):
    np.savez(tmp_path / "a.npz", actions=np.zeros((4, 2)), terminals=np.ones(4))
    with pytest.raises(DataError, match="shows nothing but actions"):
        open_trajectories(tmp_path / "a.npz")
    writers.table(tmp_path / "b.parquet", writers.world())
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(tmp_path / "b.parquet").drop_columns(["action"]), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"no actions under a usual name, it holds observation \[3\], reward"):
        open_trajectories(tmp_path / "b.parquet")


def test_joined_columns_of_other_lengths_are_named(tmp_path):
    path = writers.robomimic(tmp_path / "a.hdf5", writers.world())
    import h5py

    with h5py.File(path, "a") as file:
        short = file["data/demo_1/obs/robot0_eef_pos"][:-2]
        del file["data/demo_1/obs/robot0_eef_pos"]
        file["data/demo_1/obs/robot0_eef_pos"] = short
    with pytest.raises(DataError, match=r"columns of proprio of episode demo_1 .* differ in length: .*eef_pos 7, "):
        open_trajectories(path).read(1)


@pytest.mark.parametrize("package, extra", [("h5py", "data"), ("zarr", "data"), ("pyarrow.parquet", "data")])
def test_a_missing_package_names_its_extra(tmp_path, monkeypatch, package, extra):
    truth = writers.world()
    write, path = {
        "h5py": (writers.d4rl, tmp_path / "a.h5"),
        "zarr": (writers.replay, tmp_path / "a"),
        "pyarrow.parquet": (writers.table, tmp_path / "a.parquet"),
    }[package]
    write(path, truth)
    real = importlib.import_module

    def without(name: str, *rest: object):
        if name == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(DataError, match=rf"needs {package}: pip install 'armillary\[{extra}\]'"):
        open_trajectories(path)
