"""Generated clips of one ball, and impossible twins that are alike until a law is broken. Nothing to download.

Kinds: permanence (behind a screen the ball ceases to be), continuity (it jumps, behind the screen or in the open),
solidity (it passes through a wall that should throw it back), gravity (falling, it stops in the air or falls upward),
color (it changes its color, behind the screen or in the open). Possible clips of all kinds keep the same laws: constant
speed on the floor, elastic walls, constant acceleration in the air, then a bounce. Kinds follow IntPhys (arXiv
1803.07616) and GRASP (2311.09048); code and geometry are our own.

Lengths are shares of the image's side, x to the right and y down; `state` is in pixels. A clip is built around its
event: where the ball is at that step and how fast it goes fixes all other steps in closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ..errors import ConfigError, ascending, require, suggest
from ..randomness import Random
from ..types import Batch, Range
from .dataset import SPLITS, checked

KINDS = ("permanence", "continuity", "solidity", "gravity", "color")
PERMANENCE, CONTINUITY, SOLIDITY, GRAVITY, COLOR = range(5)
BALLS = ((226, 61, 54), (52, 120, 246), (245, 196, 40), (74, 190, 92), (172, 86, 214), (240, 132, 38))  # colors to 255
GROUND_COLOR, SKY, SCREEN, WALL = (92, 96, 104), (214, 222, 228), (120, 140, 160), (139, 94, 66)
GROUND = 0.88  # y of the ground
BOUNCE = 0.75  # speed that is left after a bounce
THICKNESS = 0.05  # of a wall
CHUNK = 8  # clips drawn at once
MEAN, STD = 0.79, 0.17  # of pixels in [0, 1], by which frames are normalized


@dataclass(frozen=True)
class Physics:
    """Which clips are made."""

    kinds: tuple[str, ...] = KINDS
    """kinds of events; each clip has one of them at random"""
    size: int = 64
    """side of the square frames in pixels"""
    frames: int = 16
    """frames of a clip"""
    radius: Range = (0.06, 0.08)
    """of the ball"""
    speed: Range = (0.3, 0.4)
    """way of a rolling ball in a clip"""
    hidden: Range = (1.0, 2.0)
    """frames before and after the event for which a screen hides the whole ball"""
    in_sight: float = 0.5
    """share of jumps and changes of color that are seen as they happen, not behind the screen"""
    key: Literal["video", "image"] = "video"
    """name of the frames in a batch; methods for episodes read `image`"""
    action: int = 0
    """numbers of an action between frames, all 0, for methods that expect one; 0 gives none"""
    count: int = 20_000
    """clips of the train split; the test split has a tenth as many"""

    def __post_init__(self) -> None:
        wrong = [kind for kind in self.kinds if kind not in KINDS]
        if wrong or not self.kinds:
            raise ConfigError(
                f"kinds are {self.kinds}: {suggest(wrong[0], KINDS) if wrong else f'give some of {KINDS}'}"
            )
        require(32, math.inf, size=self.size)
        require(12, math.inf, frames=self.frames)
        require(0, math.inf, action=self.action)
        require(10, 1 << 31, count=self.count)
        require(0, 1, in_sight=self.in_sight)
        require(0.03, 0.08, radius=self.radius)
        require(0.25, 0.4, speed=self.speed)
        require(1, 2, hidden=self.hidden)
        ascending(radius=self.radius, speed=self.speed, hidden=self.hidden)

    def open(self, split: str) -> Clips:
        """Possible clips, made as they are read; those of the test split are other ones."""
        return Clips(self, SPLITS.index(split))

    def clips(self, random: Random) -> Batch:
        """Possible clips: frames [B, T, 3, size, size] uint8, `state` [B, T, 2] (x, y of the ball in pixels).

        `kind` [B] is the place of the clip's kind in `KINDS`. A clip is a function of (seed, step, its sample) alone.
        """
        scene = _scene(self, random)
        return self._batch(random, scene, _possible(scene, self.frames))

    def pairs(self, random: Random) -> tuple[Batch, Batch]:
        """The clips that `clips` gives, and their impossible twins, which hold besides `violation` [B] int64.

        That is the first frame that differs from the twin's; what is broken behind a screen shows when the ball comes
        out, or does not. `state` of a ball that ceased to be is where it would be.
        """
        scene = _scene(self, random)
        motion = _possible(scene, self.frames)
        possible = self._batch(random, scene, motion)
        impossible = self._batch(random, scene, _impossible(scene, motion))
        differs = (possible[self.key] != impossible[self.key]).flatten(2).any(2)
        return possible, impossible | {"violation": differs.int().argmax(1)}

    def _batch(self, random: Random, scene: _Scene, motion: _Motion) -> Batch:
        parts = [slice(first, first + CHUNK) for first in range(0, len(random.sample), CHUNK)]
        frames = [_drawn(_rows(scene, i), _rows(motion, i), self.size) for i in parts]
        x = torch.where(scene.mirrored[:, None], 1 - motion.x, motion.x)
        state = torch.stack([x, motion.y], 2) * self.size
        batch: Batch = {"index": random.sample, self.key: torch.cat(frames), "state": state, "kind": scene.kind}
        if self.action:
            batch["action"] = torch.zeros(len(state), self.frames - 1, self.action)
        return batch


class Clips:
    """Possible clips as a data set: row i is a function of (split, i) alone."""

    def __init__(self, config: Physics, seed: int):
        self.config, self._seed = config, seed
        self._count = config.count if seed == 0 else config.count // 10

    def __len__(self) -> int:
        return self._count

    def batch(self, index: Int64[Tensor, " B"]) -> Batch:
        """The clips at `index`: frames [B, T, 3, size, size] uint8, state, kind, and `action` where one is asked for.

        Raises:
            DataError: a number is outside the data set.
        """
        checked(index, len(self))
        return self.config.clips(Random(self._seed, 0, index))

    def prepare(self, batch: Batch) -> Batch:
        """The batch with frames as float32, normalized by `MEAN` and `STD`."""
        frames = batch[self.config.key].float() / 255
        return {**batch, self.config.key: (frames - MEAN) / STD}


@dataclass(frozen=True)
class _Scene:
    """What is drawn by chance, for each clip; the ball goes to the right, and mirrored clips are turned when drawn."""

    kind: Int64[Tensor, " B"]
    mirrored: Bool[Tensor, " B"]
    radius: Float[Tensor, " B"]
    speed: Float[Tensor, " B"]  # a frame
    event: Float[Tensor, " B"]  # step
    x: Float[Tensor, " B"]  # of the ball at the event, if nothing is broken
    screen: Float[Tensor, " B"]  # x of its middle
    half: Float[Tensor, " B"]  # of its width
    height: Float[Tensor, " B"]  # of screens and walls, above the ground
    jump: Float[Tensor, " B"]  # along x
    fall: Float[Tensor, " B"]  # steps until a released ball reaches the ground
    top: Float[Tensor, " B"]  # y from which it is released
    thrown: Float[Tensor, " B"]  # its speed along x over that of a rolling ball
    upward: Bool[Tensor, " B"]  # broken gravity: the ball falls upward, else it stops
    color: Int64[Tensor, " B"]
    other: Int64[Tensor, " B"]  # the color that it changes into


@dataclass(frozen=True)
class _Motion:
    """Where the ball is at each step, whether it is there, and its color's place in `BALLS`."""

    x: Float[Tensor, "B T"]
    y: Float[Tensor, "B T"]
    there: Bool[Tensor, "B T"]
    color: Int64[Tensor, "B T"]


Held = TypeVar("Held", _Scene, _Motion)


def _scene(config: Physics, random: Random) -> _Scene:
    """Numbers by chance within bounds that keep the ball in the image whatever happens."""
    u, steps = random.uniform("physics/scene", 12), config.frames - 1
    kinds = torch.tensor([KINDS.index(name) for name in config.kinds], device=u.device)
    kind = kinds[random.integers("physics/kind", len(kinds), 1)[:, 0]]
    radius = _between(config.radius, u[:, 0])
    speed = _between(config.speed, u[:, 1]) / steps
    event = (steps * (0.4 + 0.25 * u[:, 2])).round()
    half = radius + 1 / config.size + _between(config.hidden, u[:, 3]) * speed  # its soft edge is hidden too
    reach = torch.where(kind == CONTINUITY, half + radius + 0.02, 0)  # a jump ends beside the screen
    back = torch.where(kind == SOLIDITY, steps - event, event).maximum(event) * speed
    low = radius + torch.maximum(reach, back)
    x = low + (1 - radius - reach - (steps - event) * speed - low) * u[:, 4]
    forward = u[:, 5] < 0.5
    seen = (u[:, 6] < config.in_sight) & ((kind == CONTINUITY) | (kind == COLOR))
    ahead = x + half + radius + 0.03 + torch.where(forward, reach, 0)  # beyond the event, and where a jump ends
    color = random.integers("physics/color", len(BALLS), 1)[:, 0]
    other = color + 1 + random.integers("physics/other", len(BALLS) - 1, 1)[:, 0]
    return _Scene(
        kind, random.uniform("physics/mirror", 1)[:, 0] < 0.5, radius, speed, event, x, torch.where(seen, ahead, x),
        half, 2 * radius + 0.06 + 0.2 * u[:, 7], torch.where(forward, reach, -reach), steps * (0.7 + 0.3 * u[:, 8]),
        radius + 0.04 + 0.2 * u[:, 9], u[:, 10], u[:, 11] < 0.5, color, other % len(BALLS),
    )  # fmt: skip


def _possible(scene: _Scene, frames: int) -> _Motion:
    """The lawful motion."""
    t = torch.arange(frames, dtype=torch.float32, device=scene.x.device)
    since = t - scene.event[:, None]
    solid, falling = (scene.kind == SOLIDITY)[:, None], (scene.kind == GRAVITY)[:, None]
    way = torch.where(solid, -since.abs(), since) * torch.where(falling, scene.thrown[:, None], 1)
    ground = (GROUND - scene.radius)[:, None]
    pull = 2 * (ground - scene.top[:, None]) / scene.fall[:, None].square()
    after = (t - scene.fall[:, None]).clamp_min(0)  # the bounce
    risen = BOUNCE * pull * scene.fall[:, None] * after - pull * after.square() / 2
    height = torch.where(after > 0, ground - risen, scene.top[:, None] + pull * t.square() / 2)
    y = torch.where(falling, height, ground.expand_as(since))
    color = scene.color[:, None].expand(-1, frames)
    return _Motion(scene.x[:, None] + scene.speed[:, None] * way, y, torch.ones_like(y, dtype=torch.bool), color)


def _impossible(scene: _Scene, motion: _Motion) -> _Motion:
    """The same motion until the event, and what the clip's kind breaks from then on."""
    t = torch.arange(motion.x.shape[1], dtype=torch.float32, device=scene.x.device)
    since = t - scene.event[:, None]
    broken, kind = since >= 0, scene.kind[:, None]
    rolled = scene.x[:, None] + scene.speed[:, None] * since
    x = torch.where(kind == SOLIDITY, rolled, motion.x + scene.jump[:, None] * broken)
    last = (scene.event - 1).long()[:, None]  # the last lawful step of a fall
    stopped_x, stopped_y = motion.x.gather(1, last), motion.y.gather(1, last)
    wrong = broken & (kind == GRAVITY)
    upward = scene.upward[:, None]
    x = torch.where(wrong & ~upward, stopped_x, x)
    mirrored = (2 * stopped_y - _fallen(scene, t)).maximum(
        scene.radius[:, None]
    )  # as far up as it would have come down
    y = torch.where(wrong, torch.where(upward, mirrored, stopped_y), motion.y)
    color = torch.where(broken & (kind == COLOR), scene.other[:, None], motion.color)
    return _Motion(x, y, ~(broken & (kind == PERMANENCE)), color)


def _fallen(scene: _Scene, t: Float[Tensor, " T"]) -> Float[Tensor, "B T"]:
    """y of a falling ball under which there is no ground."""
    pull = 2 * (GROUND - scene.radius - scene.top) / scene.fall.square()
    return scene.top[:, None] + pull[:, None] * t.square() / 2


def _drawn(scene: _Scene, motion: _Motion, size: int) -> UInt8[Tensor, "B T 3 h w"]:
    """Ground, wall, ball and screen, one over the other, each pixel by the share of it that they cover."""
    device, x = scene.x.device, torch.stack([scene.screen, scene.x + scene.radius + THICKNESS / 2], 1)
    x = torch.where(scene.mirrored[:, None], 1 - x, x)
    above, foot = GROUND - scene.height, scene.x.new_full(scene.x.shape, GROUND)
    tall, taller = _cover(above, foot, size), _cover(above, foot + 1 / size, size)  # a screen stands before the ball
    has_screen = ((scene.kind != SOLIDITY) & (scene.kind != GRAVITY))[:, None, None]
    screen = taller[:, :, None] * _cover(x[:, 0] - scene.half, x[:, 0] + scene.half, size)[:, None] * has_screen
    wall = tall[:, :, None] * _cover(x[:, 1] - THICKNESS / 2, x[:, 1] + THICKNESS / 2, size)[:, None]
    ground = _cover(scene.x.new_full((1,), GROUND), scene.x.new_ones(1), size)[:, :, None].expand(1, size, size)
    sky = torch.tensor(SKY, dtype=torch.float32, device=device).view(1, 3, 1, 1).expand(1, 3, size, size)
    behind = _over(_over(sky, ground, GROUND_COLOR), wall * (scene.kind == SOLIDITY)[:, None, None], WALL)
    middle = (torch.arange(size, device=device) + 0.5) / size
    ball_x = torch.where(scene.mirrored[:, None], 1 - motion.x, motion.x)
    across, down = ((middle - at[..., None]).square() for at in (ball_x, motion.y))  # [B, T, size]
    away = (across[:, :, None] + down[..., None]).sqrt()
    disc = ((scene.radius[:, None, None, None] - away) * size + 0.5).clamp(0, 1) * motion.there[..., None, None]
    color = torch.tensor(BALLS, dtype=torch.float32, device=device)[motion.color]  # [B, T, 3]
    frames = torch.lerp(behind[:, None], color[..., None, None], disc[:, :, None])
    return _over(frames, screen[:, None], SCREEN).add_(0.5).to(torch.uint8)


def _over(image: Float[Tensor, "*B 3 h w"], share: Float[Tensor, "*C h w"], color: tuple[int, int, int]) -> Tensor:
    """`image` under something of one color that covers a share of each pixel."""
    return torch.lerp(image, image.new_tensor(color)[:, None, None], share[..., None, :, :])


def _cover(low: Float[Tensor, " B"], high: Float[Tensor, " B"], size: int) -> Float[Tensor, "B size"]:
    """The share of each of `size` pixels in a row that lies between low and high."""
    edge = torch.arange(size, device=low.device)
    return ((high * size)[:, None].minimum(edge + 1) - (low * size)[:, None].maximum(edge)).clamp(0, 1)


def _between(ends: Range, u: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    return ends[0] + (ends[1] - ends[0]) * u


def _rows(held: Held, i: slice) -> Held:
    return type(held)(**{field.name: getattr(held, field.name)[i] for field in fields(held)})
