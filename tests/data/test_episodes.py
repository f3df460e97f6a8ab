"""Windows hold the raw episode, never cross its ends, and train and test share no episode."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.data.dataset import open_data
from armillary.data.episodes import Episodes, EpisodeWriter
from armillary.data.statistics import Statistics
from armillary.errors import ConfigError, DataError

WIDTH = 2


def write(folder, lengths):
    """Episodes in which every number says where it is from: image and state hold (episode, step), actions too."""
    with EpisodeWriter(folder) as writer:
        for episode, length in enumerate(lengths):
            step = torch.arange(length)
            place = torch.stack([torch.full((length,), episode), step], 1)
            writer.append(
                {
                    "image": place.to(torch.uint8)[None, :, :, None, None].expand(-1, -1, -1, 2, 2),
                    "state": place.float()[None],
                    "action": (place.float() + torch.tensor([0.25, 0.5]))[None, :-1],
                }
            )
    return str(folder)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=2, max_size=8),
    window=st.integers(1, 5),
    skip=st.integers(1, 3),
)
def test_windows_are_all_the_windows_of_the_episodes_of_their_split(lengths, window, skip):
    span = (window - 1) * skip
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), lengths)
        seen = {}
        for split in ("train", "test"):
            try:
                dataset = open_data(Episodes(path, window, skip, test_share=0.3, mean=(0.5,), std=(0.5,)), split)
            except DataError:  # no episode of this split is long enough
                continue
            batch = dataset.batch(torch.arange(len(dataset)))
            state, image, action = batch["state"], batch["image"], batch["action"]
            first = state[:, :1]
            steps = torch.arange(window) * skip
            assert torch.equal(state, first + torch.stack([torch.zeros(window), steps], 1))  # one episode, equal gaps
            assert torch.equal(image.float().mean((-1, -2)), state)
            raw = torch.arange(span)[:, None] * torch.tensor([0.0, 1.0]) + torch.tensor([0.25, 0.5])
            expected = (first + raw).reshape(len(dataset), window - 1, skip * WIDTH) if span else action
            assert torch.equal(action, expected)  # action t leaves observation t
            assert torch.equal(batch["episode"].float(), state[:, 0, 0])
            seen[split] = {(int(e), int(t)) for e, t in first[:, 0]}
            assert len(seen[split]) == len(dataset)  # no window twice
        episodes = {split: {e for e, _ in places} for split, places in seen.items()}
        assert not episodes.get("train", set()) & episodes.get("test", set())
        every = {(e, t) for e, length in enumerate(lengths) for t in range(length - span)}
        found = set().union(*seen.values())
        whole = {e for e, _ in found}
        assert found == {(e, t) for e, t in every if e in whole} and found <= every


def test_the_split_of_an_episode_does_not_depend_on_window_or_skip(tmp_path):
    path = write(tmp_path, [10] * 30)
    first, second = open_data(Episodes(path, 2), "test"), open_data(Episodes(path, 4, 2), "test")
    assert np.array_equal(first.episodes, second.episodes) and len(first.episodes) == 3


def test_statistics_come_from_the_train_episodes_alone(tmp_path):
    path = write(tmp_path, [10] * 30)
    train, test = (open_data(Episodes(path, 2), split) for split in ("train", "test"))
    assert train.statistics == test.statistics
    states = torch.cat([train.episode(int(e))["state"][0] for e in train.episodes]).double()
    actions = torch.cat([train.episode(int(e))["action"][0] for e in train.episodes]).double()
    pixels = torch.cat([train.episode(int(e))["image"][0] for e in train.episodes]).double() / 255
    for key, values in (("state", states), ("action", actions), ("image", pixels.mean((-1, -2)))):
        assert torch.allclose(torch.tensor(train.statistics.mean[key]).double(), values.mean(0))
        assert torch.allclose(torch.tensor(train.statistics.std[key]).double(), values.std(0, correction=0))


def test_prepared_windows_are_normalized(tmp_path):
    dataset = open_data(Episodes(write(tmp_path, [10] * 30), 3, 2))
    prepared = dataset.prepare(dataset.batch(torch.arange(len(dataset))))
    assert prepared["image"].mean((0, 1, 3, 4)).abs().max() < 0.1 and prepared["image"].std() > 0.9
    assert prepared["action"].shape[1:] == (2, 4) and prepared["action"].mean((0, 1)).abs().max() < 0.2
    given = open_data(Episodes(dataset.config.path, 3, 2, mean=(0.5,), std=(0.25,)))
    assert given.statistics.mean["image"] == (0.5, 0.5)


def test_batches_are_copies_and_independent_of_their_neighbors(tmp_path):
    dataset = open_data(Episodes(write(tmp_path, [10] * 5), 3))
    batch = dataset.batch(torch.tensor([7, 3]))
    batch["image"].zero_()
    batch["action"].zero_()
    again = dataset.batch(torch.tensor([3, 7]))
    assert again["image"].any() and again["action"].any()
    assert torch.equal(again["state"][1], dataset.batch(torch.tensor([7]))["state"][0])


def test_impossible_windows_and_settings_are_explained(tmp_path):
    path = write(tmp_path, [5, 5])
    with pytest.raises(DataError, match="windows of 9 raw frames do not fit into episodes of at most 5"):
        open_data(Episodes(path, 5, 2))
    for wrong in (
        Episodes(path, 0),
        Episodes(path, 2, 0),
        Episodes(path, 2, test_share=1.0),
        Episodes(path, mean=(0.5,)),
    ):
        with pytest.raises(ConfigError):
            open_data(wrong)
    with pytest.raises(DataError, match="test_share is 0"):
        open_data(Episodes(path, 2, test_share=0.0), "test")
    with pytest.raises(DataError, match="rows are 0 to 1"):
        open_data(Episodes(path, 2)).episode(2)
    with pytest.raises(DataError, match=r"set data\.path"):
        open_data(Episodes(str(tmp_path / "nowhere")))


def test_other_windows_are_of_the_same_episodes_and_statistics(tmp_path):
    config = Episodes(write(tmp_path, [9, 5, 7, 8, 6, 9]), 3, 2, test_share=0.5)
    dataset = config.open("test")
    dataset.statistics = other = Statistics({"image": (0.1,)}, {"image": (2.0,)})  # as a run's own take their place
    longer, again = dataset.windows(2), Episodes(config.path, 2, 2, test_share=0.5).open("test")
    rows = torch.arange(len(longer))
    assert len(longer) == len(again) > len(dataset) and longer.statistics is other
    assert all(
        torch.equal(longer.batch(rows)[name], again.batch(rows)[name]) for name in ("state", "action", "episode")
    )
    with pytest.raises(DataError, match="do not fit"):
        dataset.windows(6)
