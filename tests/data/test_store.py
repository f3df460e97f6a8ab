"""A store is there in full or not at all, and says what is wrong with it."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from armillary.data.store import EpisodeWriter, open_columns
from armillary.errors import DataError, ShapeError


def episodes(count=2, length=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randint(0, 256, (count, length, 3, 4, 4), dtype=torch.uint8, generator=generator),
        "action": torch.randn(count, length - 1, 2, generator=generator),
        "state": torch.randn(count, length, 3, generator=generator),
    }


def test_what_was_appended_is_read_back(tmp_path):
    first, second = episodes(2, 5), episodes(1, 7, seed=1)
    with EpisodeWriter(tmp_path, "a world", frame_rate=10.0) as writer:
        writer.append(first, seeds=[11, 12])
        writer.append(second)
    index, columns = open_columns(tmp_path)
    assert index.lengths.tolist() == [5, 5, 7] and index.offsets.tolist() == [0, 5, 10]
    assert index.seeds == (11, 12, 2) and index.environment == "a world" and index.frame_rate == 10.0
    for key in ("image", "state"):
        expected = torch.cat([first[key].flatten(0, 1), second[key].flatten(0, 1)]).numpy()
        assert np.array_equal(columns[key], expected)
    assert np.array_equal(columns["action"][5:9], first["action"][1].numpy())
    assert not columns["action"][[4, 9, 16]].any()  # the last action of an episode is unused and 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["action.npy", "image.npy", "index.json", "state.npy"]
    assert np.array_equal(np.load(tmp_path / "image.npy"), columns["image"])  # an ordinary NumPy file


def test_the_header_has_room_for_many_frames(tmp_path):
    with EpisodeWriter(tmp_path) as writer:
        for _ in range(120):
            writer.append({"state": torch.zeros(10, 9, 1)})
    assert np.load(tmp_path / "state.npy").shape == (10800, 1)


def test_an_interrupted_collection_is_no_store_and_can_be_begun_again(tmp_path):
    with pytest.raises(KeyboardInterrupt), EpisodeWriter(tmp_path) as writer:
        writer.append(episodes())
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="no finished episode store"):
        open_columns(tmp_path)
    with EpisodeWriter(tmp_path) as writer:
        writer.append(episodes())
    assert len(open_columns(tmp_path)[0].lengths) == 2


def test_a_killed_collection_is_recognized(tmp_path):
    script = """
        import os, signal, sys, torch
        from armillary.data.store import EpisodeWriter
        with EpisodeWriter(sys.argv[1]) as writer:
            writer.append({"state": torch.zeros(100, 100, 8)})
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL and list(tmp_path.glob("*.part"))
    with pytest.raises(DataError, match="interrupted collection lies there: collect again"):
        open_columns(tmp_path)
    with EpisodeWriter(tmp_path) as writer:
        writer.append(episodes())
    assert open_columns(tmp_path)[0].frames == 10 and not list(tmp_path.glob("*.part"))


def test_a_finished_store_is_not_overwritten(tmp_path):
    with EpisodeWriter(tmp_path) as writer:
        writer.append(episodes())
    with pytest.raises(DataError, match="choose another folder"):
        EpisodeWriter(tmp_path)


def test_nothing_of_bad_episodes_is_stored(tmp_path):
    bad = episodes()
    bad["action"][1, 2, 0] = torch.nan
    with EpisodeWriter(tmp_path) as writer:
        writer.append(episodes(seed=3))
        with pytest.raises(DataError, match="action of episode 3 holds NaN or infinity at step 2"):
            writer.append(bad)
    assert np.array_equal(open_columns(tmp_path)[1]["state"], episodes(seed=3)["state"].flatten(0, 1).numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": torch.zeros(2, 5, 2)}, r"action is \(2, 5, 2\): \[2, 4, A\] is needed"),
        ({"image": torch.zeros(2, 5, 3, 4, 4)}, "uint8"),
        ({"state": torch.zeros(2, 6, 3)}, r"the same \[E, T\]"),
        ({"state": torch.zeros(2, 5, 9)}, "they must agree"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path, change, message):
    with EpisodeWriter(tmp_path) as writer:
        writer.append(episodes())
        with pytest.raises(ShapeError, match=message):
            writer.append(episodes() | change)
    assert open_columns(tmp_path)[0].frames == 10


def test_no_episodes_are_no_store(tmp_path):
    with pytest.raises(DataError, match="no episodes were added"), EpisodeWriter(tmp_path):
        pass


def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path):
    script = """
        import resource, signal, sys, torch
        from armillary.data.store import EpisodeWriter
        from armillary.errors import DataError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            with EpisodeWriter(sys.argv[1]) as writer:
                writer.append({"state": torch.zeros(10, 10, 8)})
                try:
                    writer.append({"state": torch.zeros(1000, 10, 8)})
                except DataError:
                    pass  # who goes on after a failed write must not get a store with a hole
        except DataError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert str(tmp_path) in done.stdout and not (tmp_path / "index.json").exists()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_reported(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot be made"):
        EpisodeWriter(tmp_path / "store")


def test_a_file_in_the_way_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        EpisodeWriter(tmp_path / "file" / "store")


def damage(name, change):
    def apply(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return apply


def set_index(**values):
    return damage("index.json", lambda data: json.dumps(json.loads(data) | values).encode())


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage("image.npy", lambda data: data[:-1]), "its index says"),
        (damage("image.npy", lambda data: b"x" * len(data)), "is damaged"),
        (damage("index.json", lambda data: data[:-9]), "is damaged"),
        (set_index(version=2), "version 2, this version reads 1"),
        (set_index(lengths=[5, 6]), "its index says otherwise"),
        (set_index(offsets=[0, 4]), "contradicts itself"),
        (lambda folder: (folder / "state.npy").unlink(), "has 0 bytes"),
        (lambda folder: (folder / "index.json").unlink(), "interrupted collection"),
    ],
)
def test_damage_is_found(tmp_path, harm, message):
    with EpisodeWriter(tmp_path) as writer:
        writer.append(episodes())
    harm(tmp_path)
    with pytest.raises(DataError, match=message):
        open_columns(tmp_path)
