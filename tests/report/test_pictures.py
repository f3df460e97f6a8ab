"""Animations mark goal, trail and success where they are, stay small, and the wide picture is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from armillary.errors import DataError
from armillary.report import pictures
from armillary.report.record import Film, read

from . import example


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    record = read(example.world(tmp_path_factory.mktemp("run")))
    assert record.film is not None
    return record.film


def colors(image: Image.Image, x: float, y: float, radius: int) -> set[tuple[int, ...]]:
    box = (round(x) - radius, round(y) - radius, round(x) + radius, round(y) + radius)
    return {color for _, color in image.convert("RGB").crop(box).getcolors(10**6) or []}  # type: ignore[misc]


def test_frames_are_enlarged_without_a_change_of_color(film: Film):
    episode = pictures.episode(film, 0)
    plain = np.asarray(pictures.picture(episode, 0).convert("RGB"))[::4, ::4].astype(int)
    away = np.abs(np.indices((64, 64)) + 0.5 - film.target[0, ::-1, None, None]).max(0) > 8  # type: ignore[index]
    assert np.abs(plain - film.frames[0, 0])[away].max() <= 4


def test_the_ring_is_white_until_the_goal_is_reached_and_green_from_then_on(film: Film):
    episode = pictures.episode(film, 1)
    assert episode.target is not None and episode.first == film.first[1] > 0
    x, y = episode.target * 4
    before, after = (pictures.picture(episode, step) for step in (episode.first - 1, episode.first))
    assert pictures.GOAL in colors(before, x, y, 22) and pictures.REACHED not in colors(before, 128, 128, 128)
    assert pictures.REACHED in colors(after, x, y, 22) and pictures.REACHED in colors(after, 2, 2, 2)


def test_an_episode_that_failed_is_never_shown_as_success(film: Film):
    assert film.success is not None and not film.success[3]
    episode = pictures.episode(film, 3)
    assert all(pictures.REACHED not in colors(pictures.picture(episode, s), 128, 128, 128) for s in range(0, 91, 10))


def test_the_trail_begins_where_the_agent_began(film: Film):
    episode = pictures.episode(film, 1)
    assert episode.path is not None
    start = episode.path[0] * 4
    assert pictures.TRAIL in colors(pictures.picture(episode, 60), *start, 3)
    assert pictures.TRAIL not in colors(pictures.picture(episode, 0), 128, 128, 128)


def test_long_episodes_are_thinned_and_keep_their_end(film: Film):
    episode = pictures.episode(film, 1, steps=20)
    assert len(episode.frames) <= 20 and episode.path is not None and film.path is not None
    assert np.array_equal(episode.path[-1], film.path[1, -1])
    assert episode.first is not None and np.linalg.norm(episode.path[episode.first] - film.target[1]) <= 4.5  # type: ignore[index]


def test_noise_that_cannot_be_compressed_stays_within_the_budget():
    frames = np.random.default_rng(0).integers(0, 256, (12, 20, 64, 64, 3)).astype(np.uint8)
    noise = Film(frames, None, None, None, None, np.full(12, -1), ("",) * 12)
    made = pictures.animations(noise)
    assert made and sum(len(gif) for _, gif in made) <= pictures.BUDGET


def test_large_frames_are_reduced():
    frames = np.zeros((1, 2, 600, 520, 3), np.uint8)
    film = Film(frames, None, None, None, None, np.full(1, -1), ("",))
    assert pictures.picture(pictures.episode(film, 0), 1).size == (173, 200)


def test_the_still_is_one_wide_picture_and_the_same_each_time(tmp_path: Path):
    folder = example.world(tmp_path / "demo")
    first = pictures.still(folder, tmp_path / "docs" / "demo.png")
    with Image.open(first) as image:
        assert image.format == "PNG" and image.width > 2 * image.height
    assert pictures.still(folder, tmp_path / "again.png").read_bytes() == first.read_bytes()
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["demo.png"]


def test_a_still_of_a_run_without_episodes_shows_its_curves(tmp_path: Path):
    folder = example.images(tmp_path / "cifar")
    path = pictures.still(folder)
    assert path == folder / "report.png" and path.stat().st_size > 10_000


def test_a_still_of_nothing_is_refused(tmp_path: Path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataError, match="train and measure the run first"):
        pictures.still(tmp_path, tmp_path / "a.png")
