"""Violations change recorded episodes at the frame that they say, and nothing before it or besides."""

from __future__ import annotations

import pytest
import torch

from armillary.envs import violations
from armillary.envs.two_rooms import DOT, TwoRooms
from armillary.envs.violations import KINDS, violate
from armillary.errors import ConfigError, DataError, ShapeError
from armillary.randomness import numbered
from armillary.types import Batch

RULES, VARIED = TwoRooms(), TwoRooms(random_wall=True)
EACH = pytest.mark.parametrize("kind", KINDS)
BOTH = pytest.mark.parametrize("rules", [RULES, VARIED], ids=["fixed", "random wall"])


def recorded(rules: TwoRooms = RULES, count: int = 40, steps: int = 30, skip: int = 1) -> tuple[Batch, torch.Tensor]:
    """Episodes as `armillary collect` writes them, of `steps` frames with `skip` raw actions between two."""
    world = rules.open(count)
    seen = world.reset(3)
    wall = seen["wall"]
    actions = world.wander(numbered(count, 3), (steps - 1) * skip)
    frames, states = [seen["image"]], [seen["state"]]
    for t, action in enumerate(actions.unbind(1), 1):
        seen = world.step(action)[0]
        if t % skip == 0:
            frames.append(seen["image"])
            states.append(seen["state"])
    return {
        "index": torch.arange(count), "image": torch.stack(frames, 1), "state": torch.stack(states, 1),
        "action": actions.reshape(count, steps - 1, -1), "episode": torch.arange(count),
    }, wall  # fmt: skip


@EACH
@BOTH
def test_episodes_are_as_recorded_until_the_violation_and_differ_at_it(kind: str, rules: TwoRooms) -> None:
    episode, wall = recorded(rules)
    before = episode["image"].clone()
    broken = violate(rules, episode, kind, numbered(40), wall)
    assert torch.equal(episode["image"], before), "the recorded episode is left alone"
    assert broken.keys() == episode.keys() | {"violation"} and torch.equal(broken["action"], episode["action"])
    violated = 0
    for i, at in enumerate(broken["violation"].tolist()):
        differs = (broken["image"][i] != episode["image"][i]).flatten(1).any(1)
        if at < 0:
            assert not bool(differs.any()) and torch.equal(broken["state"][i], episode["state"][i])
            continue
        violated += 1
        assert 3 <= at < 30 and not bool(differs[:at].any()) and bool(differs[at])
        assert torch.equal(broken["state"][i, :at], episode["state"][i, :at])
    assert violated == 40 if kind != "crossing" else violated > 5


@BOTH
def test_a_teleport_is_one_long_step_to_a_free_place_and_all_others_are_lawful(rules: TwoRooms) -> None:
    episode, wall = recorded(rules)
    broken = violate(rules, episode, "teleport", numbered(40), wall)
    state, at = broken["state"], broken["violation"]
    length = state.diff(dim=1).norm(dim=2)
    assert bool((length[torch.arange(40), at - 1] > 3 * rules.speed).all())
    for t in range(1, 30):
        lawful = rules.move(state[:, t - 1], episode["action"][:, t - 1], wall)
        same = (state[:, t] - lawful).norm(dim=1) < 1e-4
        assert torch.equal(same, at != t)
        assert bool(rules.free(state[:, t], wall).all())


@BOTH
@pytest.mark.parametrize("skip", [1, 2])
def test_a_crossing_passes_the_wall_where_there_is_no_door_and_never_faster_than_the_dot_may(rules, skip) -> None:
    episode, wall = recorded(rules, steps=50, skip=skip)
    broken = violate(rules, episode, "crossing", numbered(40), wall)
    found = broken["violation"] >= 0
    state, at, gate = broken["state"][found], broken["violation"][found], wall[found]
    assert int(found.sum()) > 10
    assert float(state.diff(dim=1).norm(dim=2).max()) <= skip * rules.speed + 1e-4, "no jump"
    rows = torch.arange(len(state))
    side = torch.sign(state[rows, at - 1, 0] - gate[:, 0])
    later = (at + violations.WITHIN - 1).clamp_max(49)
    assert bool((torch.sign(state[rows, later, 0] - gate[:, 0]) == -side).all()), "on the other side"
    recorded_y = state[rows, at, 1] - gate[:, 1]
    assert bool((recorded_y.abs() >= rules.door_width / 2 - skip * rules.speed).all()), "not through the door"


def test_after_a_crossing_the_rules_hold_again() -> None:
    episode, wall = recorded()
    broken = violate(RULES, episode, "crossing", numbered(40))
    state = broken["state"]
    unlawful = torch.stack(
        [
            (RULES.move(state[:, t - 1], episode["action"][:, t - 1], wall) - state[:, t]).norm(dim=1) > 1e-3
            for t in range(1, 30)
        ],
        1,
    )
    count, at = unlawful.sum(1), broken["violation"]
    assert bool((count[at >= 0] >= 1).all()) and bool((count[at < 0] == 0).all())
    assert int(count.max()) <= 6, "only while the dot is inside the wall"
    first = unlawful.int().argmax(1) + 1
    assert torch.equal(first[at >= 0], at[at >= 0])


def test_a_changed_color_is_at_the_dot_alone_and_stays() -> None:
    episode, _ = recorded()
    broken = violate(RULES, episode, "color", numbered(40))
    assert torch.equal(broken["state"], episode["state"])
    colors = torch.tensor(violations.COLORS)
    for i, at in enumerate(broken["violation"].tolist()):
        x, y = episode["state"][i, -1].tolist()
        middle = torch.arange(64) + 0.5
        far = ((middle - x) ** 2)[None] + ((middle - y) ** 2)[:, None] > (5 * RULES.dot) ** 2
        assert torch.equal(broken["image"][i, -1][:, far], episode["image"][i, -1][:, far])
        shown = broken["image"][i, at, :, int(episode["state"][i, at, 1]), int(episode["state"][i, at, 0])].float()
        assert float((colors - shown).abs().sum(1).min()) < 60 < float((torch.tensor(DOT) - shown).abs().sum())


def test_another_color_is_what_the_world_would_draw(monkeypatch) -> None:
    episode, _ = recorded(count=8)
    monkeypatch.setattr(violations, "COLORS", (violations.COLORS[1],) * 3)
    broken = violate(RULES, episode, "color", numbered(8))
    monkeypatch.setattr("armillary.envs.two_rooms.DOT", violations.COLORS[1])
    wall = RULES.walls(numbered(1))
    for i, at in enumerate(broken["violation"].tolist()):
        gap = broken["image"][i, at:].int() - RULES.render(episode["state"][i, at:], wall).int()
        assert int(gap.abs().max()) <= 1, "but for rounding"


def test_an_episode_is_a_function_of_its_own_sample() -> None:
    episode, wall = recorded()
    for kind in KINDS:
        whole = violate(RULES, episode, kind, numbered(40))
        part = violate(
            RULES, {k: v[5:9] for k, v in episode.items()}, kind, type(numbered(1))(0, 0, torch.arange(5, 9))
        )
        assert torch.equal(part["image"], whole["image"][5:9]) and torch.equal(
            part["violation"], whole["violation"][5:9]
        )
        other = violate(RULES, episode, kind, numbered(40, seed=1))
        assert not torch.equal(other["violation"], whole["violation"])
    assert len(wall) == 40


def test_wrong_input_is_told_in_words() -> None:
    episode, wall = recorded(count=4)
    varied, _ = recorded(VARIED, count=4)
    with pytest.raises(ConfigError, match="did you mean teleport"):
        violate(RULES, episode, "teleprot", numbered(4))
    with pytest.raises(ConfigError, match="give `wall`"):
        violate(VARIED, varied, "color", numbered(4))
    with pytest.raises(DataError, match="what these rules draw"):
        violate(TwoRooms(door=40.0), episode, "color", numbered(4))
    with pytest.raises(DataError, match="no action"):
        violate(RULES, {k: v for k, v in episode.items() if k != "action"}, "color", numbered(4))
    with pytest.raises(ShapeError, match="T - 1"):
        violate(RULES, episode | {"action": episode["action"][:, 1:]}, "color", numbered(4))
    with pytest.raises(ShapeError, match="give longer ones"):
        violate(RULES, episode, "color", numbered(4), earliest=30)
    with pytest.raises(ShapeError, match="one sample for each"):
        violate(RULES, episode, "color", numbered(3), wall)
