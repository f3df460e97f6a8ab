"""Impossible twins of recorded Two Rooms episodes: the dot jumps, passes the wall, or changes its color.

Actions stay as recorded. After the violation the dot follows the rules again from where it is, so that the violation
alone is impossible and not what comes of it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ..errors import ConfigError, DataError, ShapeError, suggest
from ..randomness import Random
from ..types import Batch
from .two_rooms import DOT, TwoRooms

KINDS = ("teleport", "crossing", "color")
COLORS = ((84.0, 214.0, 255.0), (255.0, 92.0, 138.0), (126.0, 232.0, 112.0))  # into which the dot changes, 0 to 255
TRIES = 8  # places drawn for a jump; the farthest is taken
WITHIN = 3  # frames after which a crossing dot must be on the other side, else it might only sink into the wall


def violate(
    rules: TwoRooms,
    episode: Batch,
    kind: str,
    random: Random,
    wall: Float[Tensor, "B 2"] | None = None,
    earliest: int = 3,
) -> Batch:
    """Episodes with one violation each, and `violation` [B] int64: the first frame that shows it, -1 where none does.

    teleport: within one step to the farthest of `TRIES` random places in the two rooms. crossing: through the wall,
    where recorded actions push the dot against it, and as fast as they do; episodes without such actions stay as they
    are. color: from one frame on. The frame is drawn from `earliest` to the middle of what is left, or among those
    where a crossing is possible.

    Args:
        episode: raw, with image [B, T, 3, h, w] uint8, state [B, T, 2] and action [B, T - 1, 2 k] of k raw steps.
        random: one sample for each episode. wall: [B, 2] of each; None: the fixed one of `rules`.
    Returns:
        `episode` with `image` and `state` changed from the violation on; all else is as it was.
    Raises:
        ConfigError: no such kind, or random walls that were not given. ShapeError: other shapes, or too few frames.
        DataError: the images are not what `rules` draw of these states.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no violation {kind!r}: {suggest(kind, KINDS)}")
    if wall is None and rules.random_wall:
        raise ConfigError("the walls of these rules differ from episode to episode and are not recorded: give `wall`")
    wall = rules.walls(random) if wall is None else wall
    _check(rules, episode, wall, random, earliest)
    state, action = episode["state"], episode["action"]
    count = state.shape[1]
    if kind == "crossing":
        possible = _crossings(rules, state, action, wall)
    else:
        possible = (torch.arange(count) < earliest + math.ceil((count - earliest) / 2)).expand(len(state), -1)
    frame, found = _chosen(possible & (torch.arange(count) >= earliest), random)
    if kind != "color":
        jump = _far(rules, state, wall, frame, random) if kind == "teleport" else None
        state = torch.where(found[:, None, None], _moved(rules, state, action, wall, frame, jump), state)
    changed = (torch.arange(count) >= frame[:, None]) & found[:, None]
    rows, at = changed.nonzero(as_tuple=True)
    image = episode["image"].clone()
    if kind == "color":
        color = random.integers("violations/color", len(COLORS), 1)[rows, 0]
        image[rows, at] = _recolored(rules, image[rows, at], state[rows, at], color)
    else:
        image[rows, at] = rules.render(state[rows, at], wall[rows])
    return episode | {"image": image, "state": state, "violation": torch.where(found, frame, -1)}


def _chosen(possible: Bool[Tensor, "B T"], random: Random) -> tuple[Int64[Tensor, " B"], Bool[Tensor, " B"]]:
    """One of the possible frames of each episode, all alike, and whether there is one."""
    score = random.uniform("violations/frame", possible.shape[1]) + 1
    return torch.where(possible, score, 0).argmax(1), possible.any(1)


def _crossings(
    rules: TwoRooms, state: Float[Tensor, "B T 2"], action: Float[Tensor, "B U A"], wall: Float[Tensor, "B 2"]
) -> Bool[Tensor, "B T"]:
    """At which frames a dot that ignores the wall would be inside it, and `WITHIN` frames later beyond it."""
    possible = torch.zeros(state.shape[:2], dtype=torch.bool)
    for t in range(1, state.shape[1] - WITHIN + 1):
        ghost, side = state[:, t - 1], torch.sign(state[:, t - 1, 0] - wall[:, 0])
        for later in range(t - 1, t - 1 + WITHIN):
            ghost = _ignoring(rules, ghost, action[:, later])
            if later == t - 1:
                lawful = _stepped(rules, state[:, t - 1], action[:, later], wall)
                stopped = (ghost - lawful).norm(dim=1) > 0.5  # pixels: what can be seen
        beyond = side * (ghost[:, 0] - wall[:, 0]) < -rules.thickness / 2
        possible[:, t] = stopped & beyond
    return possible


def _moved(
    rules: TwoRooms, state: Float[Tensor, "B T 2"], action: Float[Tensor, "B U A"], wall: Float[Tensor, "B 2"],
    frame: Int64[Tensor, " B"], jump: Float[Tensor, "B 2"] | None,
) -> Float[Tensor, "B T 2"]:  # fmt: skip
    """Positions with the violation at `frame`: a jump, or without one the wall ignored until the dot is through."""
    new, position = [state[:, 0]], state[:, 0]
    for t in range(1, state.shape[1]):
        lawful = _stepped(rules, position, action[:, t - 1], wall)
        now = (frame == t)[:, None]
        if jump is None:
            passing = now | (~rules.free(position, wall) & (frame < t))[:, None]
            following = torch.where(passing, _ignoring(rules, position, action[:, t - 1]), lawful)
        else:
            following = torch.where(now, jump, lawful)
        position = torch.where((frame > t)[:, None], state[:, t], following)  # as recorded before
        new.append(position)
    return torch.stack(new, 1)


def _stepped(
    rules: TwoRooms, position: Float[Tensor, "B 2"], action: Float[Tensor, "B A"], wall: Float[Tensor, "B 2"]
) -> Float[Tensor, "B 2"]:
    for raw in action.split(2, 1):
        position = rules.move(position, raw, wall)
    return position


def _ignoring(rules: TwoRooms, position: Float[Tensor, "B 2"], action: Float[Tensor, "B A"]) -> Float[Tensor, "B 2"]:
    """Positions after an action as if there were the outer walls only."""
    for raw in action.split(2, 1):
        short = raw * (rules.speed / raw.norm(dim=1, keepdim=True).clamp_min(rules.speed))
        position = (position + short).clamp(rules.border, rules.size - rules.border)
    return position


def _far(
    rules: TwoRooms, state: Float[Tensor, "B T 2"], wall: Float[Tensor, "B 2"], frame: Int64[Tensor, " B"],
    random: Random,
) -> Float[Tensor, "B 2"]:  # fmt: skip
    """A place in one of the rooms, far from where the dot was to be."""
    right = random.uniform("violations/side", TRIES) < 0.5
    places = torch.stack([rules.place(random, f"violations/place/{i}", right[:, i], wall) for i in range(TRIES)], 1)
    away = (places - state[torch.arange(len(state)), frame][:, None]).norm(dim=2)
    return places[torch.arange(len(state)), away.argmax(1)]


def _recolored(
    rules: TwoRooms, image: UInt8[Tensor, "n 3 h w"], position: Float[Tensor, "n 2"], color: Int64[Tensor, " n"]
) -> UInt8[Tensor, "n 3 h w"]:
    """Images whose dot has another color: where it covers a share of a pixel, that share of the difference is added."""
    middle = torch.arange(rules.size) + 0.5
    bell = (-(middle - position[..., None]).square() / (2 * rules.dot**2)).exp()
    dot = bell[:, None, 1, :, None] * bell[:, None, 0, None, :]  # [n, 1, h, w]
    change = (torch.tensor(COLORS)[color] - torch.tensor(DOT))[..., None, None]
    return (image + dot * change).round().clamp(0, 255).to(torch.uint8)


def _check(rules: TwoRooms, episode: Batch, wall: Tensor, random: Random, earliest: int) -> None:
    missing = [key for key in ("image", "state", "action") if key not in episode]
    if missing:
        raise DataError(f"the episode has no {', '.join(missing)}: give raw rows of Two Rooms episodes")
    image, state, action = (episode[key] for key in ("image", "state", "action"))
    count, steps = state.shape[:2]
    fits = state.shape[2:] == (2,) and action.shape[:2] == (count, steps - 1) and action.shape[2] % 2 == 0
    if not fits or image.shape != (count, steps, 3, rules.size, rules.size) or len(wall) != count:
        raise ShapeError(
            f"image {tuple(image.shape)}, state {tuple(state.shape)}, action {tuple(action.shape)}, {len(wall)} walls: "
            f"give [B, T, 3, {rules.size}, {rules.size}], [B, T, 2], [B, T - 1, 2 k] and B walls"
        )
    if len(random.sample) != count:
        raise ShapeError(f"random numbers for {len(random.sample)} samples, {count} episodes: give one sample for each")
    if not 1 <= earliest < steps:
        raise ShapeError(f"a violation at frame {earliest} or later in episodes of {steps} frames: give longer ones")
    if image.dtype != torch.uint8 or not torch.equal(rules.render(state[:, 0], wall), image[:, 0]):
        raise DataError(
            "the first images are not what these rules draw of the states: give raw uint8 images and their rules"
        )
