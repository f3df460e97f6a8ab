"""Two Rooms: a dot, a wall with a door, and goals on this side or the other. Batched torch, nothing to install.

The unit of length is a pixel. A position is (x, y) from the image's upper left corner, x to the right, y down; the
middle of the first pixel is (0.5, 0.5). The dot is a point for the walls and a small Gaussian for the eye, as in the
environment that this one follows (DotWall of facebookresearch/eb_jepa and PLDM, 2502.14819: 65 pixels, wall at 32, step
2.45, success within 4.5); the code and the exact geometry are our own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..randomness import Random, numbered
from ..types import Batch, Range
from .paint import CHUNK, bell, cover, plain, stamp, two_colors
from .tasks import Tasks, check_action, check_kind
from .wandering import Habits, wander

KINDS = ("same_room", "other_room")
FLOOR, WALL, DOT = (18.0, 22.0, 33.0), (104.0, 122.0, 158.0), (255.0, 176.0, 46.0)  # colors, 0 to 255
WITHIN, CLOSE = 4.5, math.sqrt(2.0)  # tolerances: DINO-WM's and EB-JEPA's; PLDM's mean squared coordinate error of 1

State = tuple[Tensor, Tensor]  # positions [B, 2] and walls [B, 2]


@dataclass(frozen=True)
class TwoRooms:
    """The world's geometry and rules, in pixels and pixels per step; every method is a pure function."""

    size: int = 64  # of the square image
    speed: float = 2.45  # longest step (2-norm of an action)
    border: float = 3.0  # thickness of the outer wall
    thickness: float = 3.0  # of the inner wall
    wall: float = 32.0  # x of its middle
    door: float = 20.0  # y of the middle of its door
    door_width: float = 10.0
    margin: float = 6.0  # between any wall and a start or goal
    tolerance: float = WITHIN  # success: this near to the goal
    dot: float = 1.7  # standard deviation of the drawn dot
    layers: bool = False  # images of two channels, the dot and the walls, instead of colors
    random_wall: bool = False  # each world draws its wall from wall_range and its door anywhere along it
    wall_range: Range = (24.0, 40.0)
    turn: float = 0.06  # wandering: chance of a new heading in each step
    bump: float = 0.3  # the same where a wall stopped the dot
    drift: float = 0.1  # standard deviation of the heading's change in a step, in radians
    door_share: float = 0.15  # of the new headings that point at the door

    def __post_init__(self) -> None:
        walls = self.wall_range if self.random_wall else (self.wall, self.wall)
        room = 2 * self.margin + self.border + self.thickness / 2
        if not (room < walls[0] <= walls[1] < self.size - room):
            raise ConfigError(
                f"a wall at x {walls[0]} to {walls[1]} leaves no room {self.margin} px from the walls of a "
                f"{self.size} px image; keep it between {room} and {self.size - room}"
            )
        low, high = self.doors
        if not (low <= self.door <= high) or min(self.speed, self.door_width, self.thickness, self.dot) <= 0:
            raise ConfigError(
                f"door at y {self.door}, {self.door_width} px wide, speed {self.speed}, thickness {self.thickness}, "
                f"dot {self.dot}; keep the door between {low} and {high} and the others above 0"
            )

    @property
    def doors(self) -> Range:
        """Lowest and highest y at which the middle of a whole door fits."""
        return self.border + self.door_width / 2, self.size - self.border - self.door_width / 2

    def walls(self, random: Random) -> Float[Tensor, "B 2"]:
        """(x of the wall, y of the door) of each world."""
        fixed = torch.tensor([self.wall, self.door], device=random.sample.device).expand(len(random.sample), 2)
        if not self.random_wall:
            return fixed
        low = fixed.new_tensor([self.wall_range[0], self.doors[0]])
        high = fixed.new_tensor([self.wall_range[1], self.doors[1]])
        return low + (high - low) * random.uniform("two_rooms/wall", 2)

    def place(
        self, random: Random, stream: str, right: Bool[Tensor, " B"], wall: Float[Tensor, "B 2"]
    ) -> Float[Tensor, "B 2"]:
        """Positions uniform in the right or left room, `margin` away from every wall."""
        inner, outer = self.thickness / 2 + self.margin, self.border + self.margin
        u = random.uniform(stream, 2)
        low = torch.where(right, wall[:, 0] + inner, outer)
        high = torch.where(right, self.size - outer, wall[:, 0] - inner)
        return torch.stack([low + (high - low) * u[:, 0], outer + (self.size - 2 * outer) * u[:, 1]], 1)

    def move(
        self, position: Float[Tensor, "B 2"], action: Float[Tensor, "B 2"], wall: Float[Tensor, "B 2"]
    ) -> Float[Tensor, "B 2"]:
        """Positions after one action: shortened to `speed`, then along x, then along y, sliding along what is hit.

        Each part of the way is bounded by where it started from, so no step passes a wall, whatever its length.
        """
        action = action * (self.speed / action.norm(dim=1, keepdim=True).clamp_min(self.speed))
        x, y = position.unbind(1)
        left, right, top, bottom = self._edges(wall)
        blocked = (y < top) | (y > bottom)
        lowest = torch.where(blocked & (x >= right), right, self.border)
        highest = torch.where(blocked & (x <= left), left, self.size - self.border)
        x = (x + action[:, 0]).clamp(lowest, highest)
        inside = (x > left) & (x < right)  # only through the door
        lowest = torch.where(inside, top, self.border)
        highest = torch.where(inside, bottom, self.size - self.border)
        return torch.stack([x, (y + action[:, 1]).clamp(lowest, highest)], 1)

    def render(self, position: Float[Tensor, "B 2"], wall: Float[Tensor, "#B 2"]) -> UInt8[Tensor, "B C h w"]:
        """Images of worlds; one wall for all of them is drawn once."""
        return self.paint(position, self.scene(wall))

    def paint(
        self, position: Float[Tensor, "B 2"], scene: Float[Tensor, "#B C h w"],
        rounded: UInt8[Tensor, "#B C h w"] | None = None,
    ) -> UInt8[Tensor, "B C h w"]:  # fmt: skip
        """Images of worlds whose scenes are drawn, and perhaps `rounded`, already."""
        image = (plain(scene) if rounded is None else rounded).expand(len(position), -1, -1, -1).clone()
        below = scene.expand(len(position), -1, -1, -1)
        for part, at, under in zip(image.split(CHUNK), position.split(CHUNK), below.split(CHUNK), strict=True):
            if self.layers:  # the dot has a channel of its own
                stamp(part[:, :1], at, bell(self.dot), at.new_tensor([255.0]))
            else:
                stamp(part, at, bell(self.dot), at.new_tensor(DOT), under)
        return image

    def scene(self, wall: Float[Tensor, "B 2"]) -> Float[Tensor, "B C h w"]:
        """Floor and walls, each pixel by the share of it that a wall covers; 0 to 255, not rounded."""
        inner = self._cover(wall[:, 0], self.thickness)[:, None, :]
        door = self._cover(wall[:, 1], self.door_width)[:, :, None]
        room = self._cover(wall.new_tensor([self.size / 2]), self.size - 2 * self.border)
        share = 1 - room[:, :, None] * room[:, None, :] * (1 - inner * (1 - door))  # [B, h, w]
        return two_colors(share, (0.0, 0.0), (0.0, 255.0)) if self.layers else two_colors(share, FLOOR, WALL)

    def _cover(self, middle: Float[Tensor, " B"], width: float) -> Float[Tensor, "B size"]:
        """The share of each pixel that lies within width / 2 of `middle`."""
        return cover(middle - width / 2, middle + width / 2, self.size)

    def free(self, position: Float[Tensor, "B 2"], wall: Float[Tensor, "B 2"]) -> Bool[Tensor, " B"]:
        """Whether each position is in a room or in the door, where the dot can be."""
        x, y = position.unbind(1)
        left, right, top, bottom = self._edges(wall)
        indoors = ((position >= self.border) & (position <= self.size - self.border)).all(1)
        return indoors & ((x <= left) | (x >= right) | ((y >= top) & (y <= bottom)))

    def _edges(self, wall: Float[Tensor, "B 2"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Left and right of the inner wall, top and bottom of its door."""
        x, y = wall.unbind(1)
        return x - self.thickness / 2, x + self.thickness / 2, y - self.door_width / 2, y + self.door_width / 2

    def reached(self, state: Float[Tensor, "E 2"], goal: Float[Tensor, "E 2"]) -> Bool[Tensor, " E"]:
        """Whether each position is within `tolerance` of its goal."""
        return (state - goal).norm(dim=1) <= self.tolerance

    def tasks(self, kind: str, count: int, seed: int) -> Tasks:
        """Starts and goals uniform in the rooms: both in one ("same_room"), or one in each ("other_room").

        Raises:
            ConfigError: no such kind.
        """
        check_kind(kind, KINDS, "Two Rooms")
        random = numbered(count, seed)
        wall = self.walls(random)
        right = random.uniform("two_rooms/tasks/side", 1)[:, 0] < 0.5
        start = self.place(random, f"two_rooms/tasks/{kind}/start", right, wall)
        goal = self.place(random, f"two_rooms/tasks/{kind}/goal", right ^ (kind == "other_room"), wall)
        return Tasks(start, goal, self.render(goal, wall), wall)

    def wander(
        self, random: Random, steps: int, position: Float[Tensor, "B 2"], wall: Float[Tensor, "B 2"]
    ) -> Float[Tensor, "B T 2"]:
        """Smooth random actions from `position`: a heading that drifts, and now and then is drawn anew with its speed.

        It is drawn anew with chance `turn` a step, and `bump` where a wall stopped the dot; `door_share` of the new
        headings point at the door, without which it is passed once in 200 steps. Three of four go at full speed.
        """

        def aim(now: Tensor, t: int) -> Tensor:
            return torch.atan2(*(wall - now).flip(1).unbind(1))

        def move(now: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            following = self.move(now, action, wall)
            return following, (following - now).norm(dim=1) < 0.9 * action.norm(dim=1)

        habits = Habits(self.speed, self.turn, self.bump, self.drift, self.door_share)
        return wander(random, "two_rooms", steps, position, habits, move, aim)

    def open(self, count: int) -> TwoRoomsWorld:
        """`count` worlds with these rules."""
        return TwoRoomsWorld(self, count)


def published(random_wall: bool = True, tolerance: float = WITHIN) -> TwoRooms:
    """Two Rooms at the sizes of EB-JEPA (2602.03604) and PLDM (2502.14819): 65 pixels, layers of the dot and the walls.

    tolerance: `WITHIN`, or PLDM's stricter `CLOSE`; both count any of 200 steps in "other_room" (EB-JEPA: the last).
    Departures: edges are smooth, the border is filled to the image's edge, walls stand anywhere in the published range
    and not at whole pixels only, doors anywhere along them (published: 1 px less on both sides).
    Source: facebookresearch/eb_jepa:eb_jepa/datasets/two_rooms/env.py, wall_dataset.py and data_config.yaml at 966e61e,
    where a pixel's middle is a whole number and here it is half a pixel more.
    """
    return TwoRooms(
        size=65, border=5.0, wall=32.5, door=10.5, door_width=9.0, margin=2.6, dot=1.3, layers=True,
        random_wall=random_wall, wall_range=(20.5, 44.5), tolerance=tolerance,
    )  # fmt: skip


class TwoRoomsWorld:
    """`count` Two Rooms stepped together. Reward is 0 and nothing terminates: goals belong to tasks, not to the world.

    Observations hold `index` [B], `image` [B, C, h, w] uint8, `state` [B, 2] (x, y) and `wall` [B, 2] (x of the wall,
    y of the door), all in pixels.
    """

    kinds = KINDS

    def __init__(self, rules: TwoRooms, count: int) -> None:
        if count < 1:
            raise ConfigError(f"{count} worlds; open 1 or more")
        self.rules, self.count = rules, count
        self.low, self.high = torch.full((2,), -rules.speed), torch.full((2,), rules.speed)
        self.tasks, self.reached = rules.tasks, rules.reached
        self.longest = rules.speed  # 2-norm to which an action is shortened
        self.reset(0)

    def reset(self, seed: int) -> Batch:
        """Each world in a random room at a random place; world i depends on (seed, i) alone."""
        random = numbered(self.count, seed)
        wall = self.rules.walls(random)
        right = random.uniform("two_rooms/side", 1)[:, 0] < 0.5
        return self.reset_to(self.rules.place(random, "two_rooms/place", right, wall), wall)

    def begin(self, tasks: Tasks) -> Batch:
        """World i at the start of task i, with its wall.

        Raises:
            ShapeError: not one task per world.
        """
        return self.reset_to(tasks.start, tasks.layout)

    def reset_to(self, position: Float[Tensor, "B 2"], wall: Float[Tensor, "B 2"] | None = None) -> Batch:
        """Worlds at given positions, with given walls or the ones they have.

        Raises:
            ShapeError: not one position and wall per world.
            ConfigError: a position inside a wall, or not finite.
        """
        wall = self.wall if wall is None else wall
        if len(position) != self.count or len(wall) != self.count:
            raise ShapeError(
                f"{len(position)} positions and {len(wall)} walls for {self.count} worlds; give one of each"
            )
        stuck = (~self.rules.free(position, wall)).nonzero().flatten().tolist()
        if stuck:
            raise ConfigError(
                f"positions of worlds {stuck} are inside a wall or not finite: {position[stuck[0]].tolist()}; "
                f"give (x, y) in pixels inside the rooms of {self.rules}"
            )
        self.position, self.wall = position, wall
        one = bool((wall == wall[:1]).all())  # one scene for all worlds is drawn once
        self.scene = self.rules.scene(wall[:1] if one else wall)
        self.rounded = plain(self.scene)
        return self._observe()

    def step(
        self, action: Float[Tensor, "B 2"]
    ) -> tuple[Batch, Float[Tensor, " B"], Bool[Tensor, " B"], Bool[Tensor, " B"]]:
        """Observations after one action in pixels a step; longer ones are shortened to `speed`.

        Raises:
            ShapeError, ConfigError: actions of another shape or not finite.
        """
        check_action(action, self.count, 2)
        self.position = self.rules.move(self.position, action, self.wall)
        never = torch.zeros(self.count, dtype=torch.bool)
        return self._observe(), torch.zeros(self.count), never, never.clone()

    def wander(self, random: Random, steps: int) -> Float[Tensor, "B T 2"]:
        """Smooth random actions from where the worlds are now; see `TwoRooms.wander`."""
        return self.rules.wander(random, steps, self.position, self.wall)

    def dynamics(self) -> TwoRoomsDynamics:
        """The true rules, for the ceiling."""
        return TwoRoomsDynamics(self.rules)

    def _observe(self) -> Batch:
        return {
            "index": torch.arange(self.count),
            "image": self.rules.paint(self.position, self.scene, self.rounded),
            "state": self.position,
            "wall": self.wall,
        }


@dataclass(frozen=True)
class TwoRoomsDynamics:
    """The true rules as dynamics, for the ceiling: a planner with them shows what a perfect model would reach.

    An action of n * 2 numbers is n steps, so macro-steps work as with a learned model. The latent is the position.
    """

    rules: TwoRooms

    def start(self, batch: Batch) -> State:
        """From the observation's truth, `state` and `wall`."""
        return batch["state"], batch["wall"]

    def step(self, state: State, action: Float[Tensor, "B A"]) -> State:
        """Positions after the raw steps of a macro-step."""
        position, wall = state
        for raw in action.split(2, 1):
            position = self.rules.move(position, raw, wall)
        return position, wall

    def latent(self, state: State) -> Float[Tensor, "B 2"]:
        """Positions in pixels."""
        return state[0]
