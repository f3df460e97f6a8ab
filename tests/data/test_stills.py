"""Frames of episodes as images: every frame once, those of a split, normalized as the episodes are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from armillary.data.dataset import open_data
from armillary.data.episodes import Episodes, EpisodeWriter
from armillary.data.stills import Stills


@pytest.fixture
def store(tmp_path: Path) -> str:
    draw = np.random.default_rng(0)
    with EpisodeWriter(str(tmp_path / "store"), environment="none") as writer:
        for _ in range(5):
            writer.append({
                "image": torch.from_numpy(draw.integers(0, 256, (2, 4, 3, 8, 8), dtype=np.uint8)),
                "action": torch.from_numpy(draw.normal(size=(2, 3, 2)).astype(np.float32)),
                "state": torch.from_numpy(draw.normal(size=(2, 4, 2)).astype(np.float32)),
            })  # fmt: skip
    return str(tmp_path / "store")


def test_every_frame_is_a_row_without_actions(store):
    splits = [open_data(Stills(store), split) for split in ("train", "test")]
    assert sum(map(len, splits)) == 10 * 4
    batch = splits[0].batch(torch.arange(3))
    assert batch["image"].shape == (3, 3, 8, 8) and batch["state"].shape == (3, 2) and "action" not in batch
    whole = splits[0].episode(int(batch["episode"][0]))
    assert torch.equal(batch["image"][0], whole["image"][0, 0]) and torch.equal(batch["state"][0], whole["state"][0, 0])


def test_window_and_frame_skip_have_no_meaning_and_statistics_are_those_of_the_episodes(store):
    one, other = (open_data(Stills(store, window=w, frame_skip=s), "train") for w, s in ((1, 1), (4, 3)))
    assert len(one) == len(other) and torch.equal(
        one.batch(torch.arange(9))["image"], other.batch(torch.arange(9))["image"]
    )
    episodes = open_data(Episodes(store, window=3), "train")
    assert one.statistics == episodes.statistics and set(one.episodes) == set(episodes.episodes)
    image = one.prepare(one.batch(torch.arange(4)))["image"]
    assert image.shape == (4, 3, 8, 8) and image.dtype == torch.float32
