"""A conversion is there whole or not at all, keeps what the source says, and its report finds what is planted."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from armillary.data.actions import ActionSpec
from armillary.data.convert import Conversion, convert, prepared
from armillary.data.dataset import held_out, open_data
from armillary.data.episodes import Episodes
from armillary.data.store import open_columns
from armillary.data.trajectories import open_trajectories
from armillary.errors import ConfigError, DataError

from .formats import writers

LONG = tuple(range(12, 32))


def mended(source, change):
    """The source with every episode's columns changed by a function."""
    recording = source.recording
    changed = replace(recording, load=lambda i, name: change(i, name, recording.load(i, name)))
    return replace(source, recording=changed)


@pytest.fixture
def source(tmp_path):
    return open_trajectories(writers.ogbench(tmp_path / "a.npz", writers.world(LONG), visual=True), size=16)


def test_the_store_holds_the_source_and_opens(tmp_path, source):
    truth = writers.world(LONG)
    report = convert(source, tmp_path / "store")
    index, columns = open_columns(tmp_path / "store")
    assert index.lengths.tolist() == list(LONG) and report["steps"] == sum(LONG) - len(LONG)
    for i, episode in enumerate(truth):
        rows = slice(index.offsets[i], index.offsets[i] + LONG[i])
        np.testing.assert_array_equal(columns["image"][rows], episode["image"].transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(columns["action"][rows][:-1], episode["action"])
        np.testing.assert_array_equal(columns["state"][rows], episode["state"])
    dataset = open_data(Episodes(path=str(tmp_path / "store"), window=3))
    batch = dataset.prepare(dataset.batch(torch.arange(4)))
    assert batch["image"].shape == (4, 3, 3, 16, 16) and batch["action"].shape == (4, 2, 2)
    assert json.loads((tmp_path / "store" / "report.json").read_text()) == report


def test_means_and_ranges_are_of_the_training_episodes_alone(tmp_path, source):
    report = convert(source, tmp_path / "store", Conversion(validation=0.2))
    test = held_out([str(i) for i in range(len(LONG))], 0.2)
    assert report["held_out"]["episodes"] == np.flatnonzero(test).tolist() and test.sum() == 4
    actions = np.concatenate([e["action"] for e, t in zip(writers.world(LONG), test, strict=True) if not t])
    spec = ActionSpec.load(tmp_path / "store")
    np.testing.assert_allclose(spec.mean, actions.mean(0), rtol=1e-5)
    np.testing.assert_allclose(spec.low, actions.min(0))
    dataset = open_data(Episodes(path=str(tmp_path / "store"), test_share=0.2))
    np.testing.assert_allclose(dataset.statistics.mean["action"], spec.mean)


def test_the_sources_own_split_is_kept(tmp_path):
    train, test = writers.world(LONG), writers.world((9, 8), seed=1)
    writers.ogbench(tmp_path / "a.npz", train)
    writers.ogbench(tmp_path / "a-val.npz", test)
    report = convert(open_trajectories(tmp_path / "a.npz"), tmp_path / "store")
    assert json.loads((tmp_path / "store" / "split.json").read_text()) == {"test": [20, 21]}
    assert report["held_out"]["by"] == "the source's own split"
    np.testing.assert_allclose(
        ActionSpec.load(tmp_path / "store").mean, np.concatenate([e["action"] for e in train]).mean(0), rtol=1e-5
    )


def test_healthy_data_raise_no_warning(tmp_path, source):
    report = convert(source, tmp_path / "store")
    assert report["warnings"] == [] and report["alignment"]["best"] == 0 and report["repeated"] == 0


@pytest.mark.parametrize("shift", [-1, 1])
def test_misaligned_actions_are_found_and_mended(tmp_path, source, shift):
    wrong = mended(source, lambda i, name, x: np.roll(x, shift, 0) if name == "actions" else x)
    report = convert(wrong, tmp_path / "a")
    assert f"shifted by {shift:+d}" in report["warnings"][0] and f"--shift {shift}" in report["warnings"][0]
    right = convert(wrong, tmp_path / "b", Conversion(shift=shift))
    assert right["warnings"] == [] and right["alignment"]["explained"]["0"] > 0.95


def test_shifted_actions_stand_before_what_they_make():
    frames, action = np.arange(5.0)[:, None], np.arange(5.0)[:, None] * 10
    reward = np.arange(5.0)
    straight, _ = prepared({"state": frames, "action": action, "reward": reward}, "it")
    assert straight["action"].ravel().tolist() == [0, 10, 20, 30] and straight["reward"].tolist() == [0, 0, 1, 2, 3]
    led, _ = prepared({"state": frames, "action": action}, "it", 1)
    assert led["state"].ravel().tolist() == [0, 1, 2, 3, 4] and led["action"].ravel().tolist() == [10, 20, 30, 40]
    late, _ = prepared({"state": frames, "action": action}, "it", -1)
    assert late["state"].ravel().tolist() == [1, 2, 3, 4] and late["action"].ravel().tolist() == [0, 10, 20]
    between, _ = prepared({"state": frames, "action": action[:4]}, "it", 1)
    assert between["state"].ravel().tolist() == [0, 1, 2, 3] and between["action"].ravel().tolist() == [10, 20, 30]
    assert prepared({"state": frames, "action": action[:4]}, "it", -1)[0]["action"].ravel().tolist() == [0, 10, 20]


def test_planted_faults_are_reported(tmp_path, source):
    def change(i, name, x):
        if name == "actions":
            return np.c_[np.clip(2 * x[:, :1], -0.5, 0.5), x[:, 1:], np.full((len(x), 1), 3.0)]
        return np.repeat(x[::2], 2, 0)[: len(x)] if name == "observations" else x

    report = convert(mended(source, change), tmp_path / "store", Conversion(window=14))
    said = " ".join(report["warnings"])
    assert "never change: a2" in said and "often at the lowest or highest value: a0" in said and "a1" not in said
    assert "of frames equal the one before" in said and "2 episodes are shorter than a window of 14" in said
    assert report["action"][2]["constant"] and report["action"][0]["saturated"] > 0.5


def test_actions_without_effect_are_reported(tmp_path, source):
    noise = np.random.default_rng(5)
    wrong = mended(source, lambda i, name, x: noise.normal(size=x.shape) if name == "actions" else x)
    assert "hardly help" in convert(wrong, tmp_path / "store")["warnings"][0]


def test_a_last_action_that_is_nan_is_left_out_with_a_note(tmp_path):
    path = writers.stable_worldmodel(tmp_path / "a.h5", writers.world(LONG))
    report = convert(open_trajectories(path, size=16), tmp_path / "store")
    assert "last action of 20 episodes was NaN" in report["notes"][0]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda n, x: x[:-2] if n == "actions" else x, r"episode 3 .* do not fit \(.*state 15, action 13 rows"),
        (lambda n, x: x[:-1] if n == "observations" else x, r"\(image 14, .* all need one row for each frame"),
        (lambda n, x: np.where(np.arange(len(x)) == 4, np.nan, x.T).T if n == "actions" else x,
         "action of episode 3 .* is NaN or infinite at step 4, number 0: only the last"),
        (lambda n, x: np.where(np.arange(len(x)) == 6, np.inf, x.T).T if n == "qpos" else x,
         "state of episode 3 .* is NaN or infinite at step 6"),
    ],
    ids=["misaligned", "missing frame", "NaN inside", "infinite state"],
)  # fmt: skip
def test_wrong_episodes_are_named_and_nothing_is_left(tmp_path, source, change, message):
    wrong = mended(source, lambda i, name, x: change(name, x) if i == 3 else x)
    with pytest.raises(DataError, match=message):
        convert(wrong, tmp_path / "out" / "store")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interruption_leaves_nothing_and_what_a_killed_one_left_is_replaced(tmp_path, source):
    def interrupt(done, total):
        if done == 5:
            raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out" / "store", tell=interrupt)
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "out" / "store.part").mkdir()
    (tmp_path / "out" / "store.part" / "image.npy.part").write_bytes(b"half")
    convert(source, tmp_path / "out" / "store")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["store"]


def test_a_store_that_is_there_is_kept(tmp_path, source):
    convert(source, tmp_path / "store")
    before = (tmp_path / "store" / "index.json").read_bytes()
    with pytest.raises(DataError, match="is there already"):
        convert(source, tmp_path / "store")
    assert (tmp_path / "store" / "index.json").read_bytes() == before
    (tmp_path / "empty").mkdir()
    convert(source, tmp_path / "empty")  # an empty folder is no store


def test_short_episodes_are_left_out_and_too_short_ones_refused(tmp_path, source):
    report = convert(source, tmp_path / "store", Conversion(shortest=20))
    assert report["episodes"] == 12 and "8 episodes of fewer than 20 frames" in report["notes"][-1]
    assert open_columns(tmp_path / "store")[0].seeds[0] == 8  # its number in the source
    with pytest.raises(DataError, match=r"no episode of .* has 99 frames: lower --shortest"):
        convert(source, tmp_path / "other", Conversion(shortest=99))
    with pytest.raises(DataError, match="do not fit into episodes of at most 31"):
        open_data(Episodes(path=str(tmp_path / "store"), window=40))


@pytest.mark.parametrize(
    "wrong", [{"validation": 1.0}, {"shift": 2}, {"shortest": 1}, {"window": 0}, {"frame_rate": -1.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        Conversion(**wrong)


def test_human_demonstrations_of_the_door(shared, tmp_path):
    report = convert(open_trajectories(shared / "data" / "adroit_door"), tmp_path / "door")
    assert report["episodes"] == 20 and report["steps"] == 4428 + 1017 - 20
    assert report["alignment"]["best"] == 0 and report["held_out"]["share"] == 0.2
    dataset = open_data(Episodes(path=str(tmp_path / "door"), window=11), "test")
    batch = dataset.prepare(dataset.batch(torch.arange(3)))
    assert batch["proprio"].shape == (3, 11, 39) and batch["action"].shape == (3, 10, 28)
