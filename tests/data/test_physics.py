"""Clips keep the laws, twins break one of them at the step that they say, and the pictures show it."""

from __future__ import annotations

import pytest
import torch

from armillary.data.dataset import open_data
from armillary.data.physics import BALLS, GROUND, KINDS, Physics
from armillary.errors import ConfigError, DataError
from armillary.randomness import Random, numbered

EACH = pytest.mark.parametrize("kind", KINDS)


def pairs(kind: str, count: int = 60, **settings):
    config = Physics(kinds=(kind,), size=32, **settings)
    return *config.pairs(numbered(count)), config


def steps(batch):
    return batch["state"].diff(dim=1)


@EACH
def test_twins_are_equal_until_the_violation_and_differ_at_it(kind: str) -> None:
    possible, impossible, config = pairs(kind)
    frame = impossible["violation"]
    assert possible["video"].shape == (60, 16, 3, 32, 32) and possible["video"].dtype == torch.uint8
    for i in range(60):
        at = int(frame[i])
        assert 4 <= at <= config.frames - 1, "there is something to expect from, and something to see"
        assert torch.equal(possible["video"][i, :at], impossible["video"][i, :at])
        assert not torch.equal(possible["video"][i, at], impossible["video"][i, at])
    assert bool((possible["kind"] == KINDS.index(kind)).all()) and "violation" not in possible


@pytest.mark.parametrize("frames", [12, 16, 40])
@pytest.mark.parametrize("speed", [0.25, 0.4])
@pytest.mark.parametrize("hidden", [1.0, 2.0])
def test_at_all_allowed_settings_the_ball_stays_in_sight_and_the_violation_shows(frames, speed, hidden) -> None:
    config = Physics(frames=frames, speed=(speed, speed), hidden=(hidden, hidden), radius=(0.03, 0.08), size=32)
    possible, impossible = config.pairs(numbered(200))
    for batch in (possible, impossible):
        assert float(batch["state"].min()) >= 0.03 * 32 and float(batch["state"].max()) <= 0.97 * 32
    assert bool((possible["video"] != impossible["video"]).flatten(1).any(1).all())
    assert int(impossible["violation"].min()) >= 4


def test_a_clip_is_a_function_of_its_sample_and_of_nothing_else() -> None:
    config = Physics(size=32)
    many = config.clips(numbered(12))
    lone = config.clips(Random(0, 0, torch.tensor([7])))
    assert all(torch.equal(lone[key][0], many[key][7]) for key in many)
    assert torch.equal(config.pairs(numbered(12))[0]["video"], many["video"]), "train clips are the possible twins"
    assert not torch.equal(config.clips(numbered(12, seed=1))["video"], many["video"])
    assert Physics(size=32, key="image").clips(numbered(2)).keys() == {"index", "image", "state", "kind"}


@EACH
def test_possible_clips_keep_the_laws(kind: str) -> None:
    possible, _, _ = pairs(kind)
    way = steps(possible)
    if kind == "gravity":
        fall = way[:, :10, 1].diff(dim=1)
        assert float((fall - fall[:, :1]).abs().max()) < 1e-3 and bool((fall > 0).all()), "constant acceleration"
        assert float(way[..., 0].diff(dim=1).abs().max()) < 1e-3
    else:
        assert float(way[..., 1].abs().max()) < 1e-4, "on the ground"
        pace = way[..., 0].abs()
        if kind == "solidity":
            assert bool((way[:, 0, 0] * way[:, -1, 0] < 0).all()), "the wall throws it back"
        else:
            assert float((way[..., 0] - way[:, :1, 0]).abs().max()) < 1e-3
        assert float((pace - pace[:, :1]).abs().max()) < 1e-3


def test_what_each_kind_breaks_is_that_law() -> None:
    rows = torch.arange(60)
    _, impossible, _ = pairs("continuity")
    pace = steps(impossible)[..., 0].abs()
    assert bool((pace.amax(1) > 5 * pace.median(1).values).all()), "one step is a jump"
    _, impossible, _ = pairs("solidity")
    way = steps(impossible)[..., 0]
    assert float((way - way[:, :1]).abs().max()) < 1e-3, "as if there were no wall"
    possible, impossible, _ = pairs("gravity")
    frame = impossible["violation"]
    now = impossible["state"][rows, frame, 1] - impossible["state"][rows, frame - 1, 1]
    up, still = now < -0.05, now.abs() < 1e-3
    assert bool((up | still).all()) and 10 < int(up.sum()) < 50, "it stops, or falls upward"
    assert bool((steps(impossible)[still][:, 12].abs().sum(1) < 1e-3).all())
    possible, impossible, _ = pairs("color")
    assert torch.equal(possible["state"], impossible["state"])


@pytest.mark.parametrize("open_share", [0.0, 1.0])
def test_changes_of_color_show_where_they_are_said_to_happen(open_share: float) -> None:
    config = Physics(kinds=("color",), size=64, in_sight=open_share)
    possible, impossible = config.pairs(numbered(40))
    event = impossible["violation"]
    pixel = torch.tensor(BALLS, dtype=torch.float32)
    for i in range(40):
        x, y = possible["state"][i, event[i]].long().tolist()
        shown = impossible["video"][i, event[i], :, y, x].float()
        visible = float((pixel - shown).abs().amax(1).min()) < 2
        assert visible == (open_share == 1), "in the open the whole ball is seen changing, else its edge comes out"


def test_a_ball_that_ceased_to_be_never_comes_out() -> None:
    possible, impossible, _ = pairs("permanence")
    for i, at in enumerate(impossible["violation"].tolist()):
        assert torch.equal(impossible["video"][i, at], impossible["video"][i, -1]), "nothing moves any more"
        hidden = possible["video"][i, at - 1]
        assert torch.equal(hidden, impossible["video"][i, at]), "it was hidden entirely before it should have shown"


def test_the_ball_is_drawn_where_the_state_says() -> None:
    config = Physics(kinds=("gravity",), size=64)
    batch = config.clips(numbered(20))
    frame = batch["video"].float()
    empty = frame.median(1).values  # the ball moves: the median over time is the scene without it
    weight = (frame - empty[:, None]).abs().sum(2)
    weight = weight * (weight > 12)
    middle = torch.arange(64) + 0.5
    x = (weight.sum(2) * middle).sum(2) / weight.sum((2, 3))
    y = (weight.sum(3) * middle).sum(2) / weight.sum((2, 3))
    found = torch.stack([x, y], 2)[:, 12:]  # fast enough to have left its place in the median
    gap = (found - batch["state"][:, 12:]).norm(dim=2)
    assert float(gap.median()) < 0.3
    assert float(batch["state"][..., 1].max()) <= GROUND * 64


def test_discs_have_soft_edges_and_half_of_the_clips_are_mirrored() -> None:
    batch = Physics(kinds=("continuity",), size=64).clips(numbered(200))
    right = steps(batch)[:, 0, 0] > 0
    assert 70 < int(right.sum()) < 130
    assert len(batch["video"][0].flatten(2).transpose(1, 2).flatten(0, 1).unique(dim=0)) > 20
    kinds = Physics().clips(numbered(200))["kind"]
    assert bool((torch.bincount(kinds, minlength=5) > 20).all())


def test_wrong_settings_are_told_in_words() -> None:
    with pytest.raises(ConfigError, match="did you mean gravity"):
        Physics(kinds=("gravty",))
    with pytest.raises(ConfigError, match="give some of"):
        Physics(kinds=())
    for settings in ({"size": 8}, {"frames": 4}, {"radius": (0.05, 0.3)}, {"speed": (0.1, 0.2)}, {"hidden": (0.0, 1.0)},
                     {"in_sight": 2.0}, {"radius": (0.08, 0.06)}):  # fmt: skip
        with pytest.raises(ConfigError):
            Physics(**settings)


def test_clips_are_a_data_set_of_other_clips_in_each_split() -> None:
    config = Physics(size=32, key="image", action=2, count=100)
    train, test = open_data(config), open_data(config, "test")
    assert (len(train), len(test)) == (100, 10)
    raw = train.batch(torch.tensor([3, 7]))
    assert torch.equal(raw["image"][1], train.batch(torch.tensor([7]))["image"][0])
    assert not torch.equal(raw["image"][0], test.batch(torch.tensor([3]))["image"][0])
    ready = train.prepare(raw)
    assert ready["action"].shape == (2, 15, 2) and not bool(ready["action"].any())
    assert abs(float(ready["image"].mean())) < 0.5 and 0.5 < float(ready["image"].std()) < 1.5
    with pytest.raises(DataError, match="rows"):
        train.batch(torch.tensor([100]))
