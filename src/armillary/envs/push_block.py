"""Push Block: a disc pushes a square block to the place and angle of a goal. Batched torch, nothing to install.

The unit of length is a pixel, as in Two Rooms. Contact is quasi-static and without friction between disc and block: the
block moves while it is pushed and stops at once. Its friction with the table follows the ellipsoidal limit surface of
Goyal, Ruina and Papadopoulos (1991) as used by Lynch, Maekawa and Tanie (1992): a push along n at c from the middle
moves the block along (n, c x n / rho^2), with rho the mean distance of the square's points from its middle. The block
stays inside a rim around the table that the disc can enter, so it never gets stuck at the border.
In the manner of Push-T (2303.04137) with a block that needs no mesh; constants and code are our own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ..errors import ConfigError, require
from ..randomness import Random, numbered
from ..types import Range
from .batched import BatchedWorld, Way, draw, redrawn, shortened
from .paint import cover, disc, plain, square, stamp, two_colors
from .tasks import Tasks, check_kind
from .two_rooms import DOT, FLOOR
from .wandering import Habits, wander

KINDS = ("near", "far")
RIM, BLOCK = (38.0, 46.0, 66.0), (94.0, 196.0, 182.0)  # colors, 0 to 255
OVERLAP = 1e-3  # pixels by which bodies may overlap in a lawful state; the solver leaves half of it or less
TOUCH = 1e-4  # pixels of overlap from which on bodies touch: rounding alone moves nothing
ROUNDS = 4  # corrections of a push; each leaves a part of the overlap that shrinks quadratically


@dataclass(frozen=True)
class PushBlock:
    """The world's geometry and rules, in pixels and pixels per step.

    A state is (block x, block y, cos 4a, sin 4a, disc x, disc y), a the block's angle: a square looks the same after a
    quarter turn, and four times the angle tells no more than can be seen.
    """

    size: int = 64  # of the square image
    side: float = 14.0  # of the block
    radius: float = 3.0  # of the disc
    speed: float = 2.5  # longest step of the disc (2-norm of an action)
    rim: float = 7.0  # between the image's border and where the block can be
    substeps: int = 3  # in which a step of the disc is done
    tolerance: float = 4.0  # success: the block's middle this near to the goal's
    turned: float = 20.0  # success: the angle this near, in degrees; 45 and more asks for the place alone
    near: Range = (6.0, 12.0)  # tasks "near": how far the goal is from where the block is
    far: float = 16.0  # tasks "far": at least so far
    near_turn: float = 20.0  # tasks "near": most degrees by which the goal is turned; "far": any angle
    turn: float = 0.06  # wandering: chance of a new heading in each step
    bump: float = 0.3  # the same where the border stopped the disc
    drift: float = 0.1  # standard deviation of the heading's change in a step, in radians
    aimed: float = 0.7  # of the new headings that point at the block
    kinds: ClassVar[tuple[str, ...]] = KINDS

    def __post_init__(self) -> None:
        require(1e-3, math.inf, side=self.side, radius=self.radius, speed=self.speed, tolerance=self.tolerance)
        require(0, 1, turn=self.turn, bump=self.bump, aimed=self.aimed)
        if self.substeps < 1 or self.speed / self.substeps >= self.radius:
            raise ConfigError(
                f"{self.substeps} substeps of {self.speed} px with a disc of radius {self.radius}: the disc must move "
                "less than its radius in a substep, raise substeps"
            )
        if self.rim < 2 * self.radius:
            raise ConfigError(f"a rim of {self.rim} px is too narrow for a disc of radius {self.radius}; widen it")
        room = self.size - 2 * (self.rim + self.side / math.sqrt(2))
        if not 0 < self.near[0] < self.near[1] <= room or not 0 < self.far <= room:
            raise ConfigError(
                f"tasks near {self.near} and far {self.far} px: the middle of a block of {self.side} px has "
                f"{room:.1f} px to move in, and near must rise from above 0"
            )

    @property
    def longest(self) -> float:
        """The longest action."""
        return self.speed

    @property
    def rho(self) -> float:
        """Mean distance of the block's points from its middle, for a square (sqrt 2 + arsinh 1) / 6 of its side."""
        return self.side * (math.sqrt(2) + math.asinh(1)) / 6

    def begin(self, random: Random) -> tuple[Float[Tensor, "B 6"], Float[Tensor, "B 0"]]:
        """A block anywhere at any angle, and a disc anywhere beside it."""
        block = self._pose(random, "push_block/block")
        return torch.cat([block, self._beside(random, "push_block/disc", block)], 1), block.new_zeros(len(block), 0)

    def _pose(self, random: Random, stream: str) -> Float[Tensor, "B 4"]:
        """Places and angles at which the block is inside the rim, uniform."""
        u = random.uniform(stream, 3)
        edge = self.rim + self.side / math.sqrt(2)
        angle = 2 * math.pi * u[:, 2:]
        return torch.cat([edge + (self.size - 2 * edge) * u[:, :2], angle.cos(), angle.sin()], 1)

    def _beside(self, random: Random, stream: str, block: Float[Tensor, "B 4"]) -> Float[Tensor, "B 2"]:
        """Places of the disc at which it does not touch the block, uniform."""

        def drawn(attempt: int) -> Tensor:
            u = random.uniform(f"{stream}/{attempt}", 2)
            return self.radius + (self.size - 2 * self.radius) * u

        return redrawn(drawn, lambda at: self.gap(torch.cat([block, at], 1)) > 1, "place for the disc")

    def angle(self, state: Float[Tensor, "*B S"]) -> Float[Tensor, "*B"]:
        """The block's angle in radians, from -pi / 4 to pi / 4."""
        return torch.atan2(state[..., 3], state[..., 2]) / 4

    def gap(self, state: Float[Tensor, "B 6"]) -> Float[Tensor, " B"]:
        """Distance between disc and block, below 0 where they overlap."""
        offset, _ = self._contact(state[:, :2], self.angle(state), state[:, 4:])
        return offset.norm(dim=1) - self.radius

    def lawful(self, state: Float[Tensor, "B 6"], layout: Float[Tensor, "B 0"]) -> Bool[Tensor, " B"]:
        """Whether disc and block are where they can be and do not overlap by more than `OVERLAP`."""
        unit = (state[:, 2:4].norm(dim=1) - 1).abs() <= 1e-3
        corner = state[:, None, :2] + self._corners(self.angle(state))
        inside = ((corner >= self.rim - OVERLAP) & (corner <= self.size - self.rim + OVERLAP)).all(-1).all(-1)
        disc_ = state[:, 4:]
        on = ((disc_ >= self.radius - OVERLAP) & (disc_ <= self.size - self.radius + OVERLAP)).all(1)
        return unit & inside & on & (self.gap(state) >= -OVERLAP)

    def move(
        self, state: Float[Tensor, "B 6"], action: Float[Tensor, "B 2"], layout: Float[Tensor, "B 0"]
    ) -> Float[Tensor, "B 6"]:
        """States after the disc's way: it pushes the block, or is held up where the block cannot move."""
        action = shortened(action, self.speed)
        moved = torch.cat([state[:, :4], self._on_table(state[:, 4:] + action)], 1)
        rows = (self.gap(state) < self.speed + OVERLAP).nonzero().flatten()  # the others touch nothing on their way
        return moved.index_copy(0, rows, self._pushed(state[rows], action[rows] / self.substeps))

    def _on_table(self, at: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
        return at.clamp(self.radius, self.size - self.radius)

    def _pushed(self, state: Float[Tensor, "n 6"], step: Float[Tensor, "n 2"]) -> Float[Tensor, "n 6"]:
        """States after all substeps of discs that may touch their blocks."""
        place, angle, at = state[:, :2], self.angle(state), state[:, 4:]
        touched = torch.zeros(len(state), dtype=torch.bool)
        for _ in range(self.substeps):
            before = place, angle, at
            at = self._on_table(at + step)
            for _ in range(ROUNDS):
                normal, depth, contact = self._overlap(place, angle, at)
                touched = touched | (depth > 0)
                place, angle = self._kept(*self._yield(place, angle, contact, normal, depth))
            extent = self._corners(angle).abs().amax(1)  # the rim has the last word on the block,
            place = place.maximum(self.rim + extent).minimum(self.size - self.rim - extent)
            normal, depth, _ = self._overlap(place, angle, at)  # and the block on the disc
            at = self._on_table(at - normal * depth[:, None])
            stuck = self._overlap(place, angle, at)[1] > OVERLAP / 2
            place, angle, at = (
                torch.where(stuck.view(-1, *[1] * (old.ndim - 1)), old, new)
                for old, new in zip(before, (place, angle, at), strict=True)
            )
        block = torch.cat([place, torch.stack([(4 * angle).cos(), (4 * angle).sin()], 1)], 1)
        return torch.cat([torch.where(touched[:, None], block, state[:, :4]), at], 1)

    def _overlap(self, place: Tensor, angle: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The direction from the disc to the block [n, 2], how deep they overlap [n], and `_contact`'s point."""
        offset, contact = self._contact(place, angle, at)
        distance = offset.norm(dim=1)
        depth = self.radius - distance
        return offset / distance.clamp_min(1e-6)[:, None], torch.where(depth > TOUCH, depth, 0), contact

    def _contact(self, place: Tensor, angle: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """From the disc's middle to the block's nearest point, and from the block's middle to that point [n, 2]."""
        cos, sin = angle.cos(), angle.sin()
        (x, y), half = (at - place).unbind(1), self.side / 2
        along, across = (cos * x + sin * y).clamp(-half, half), (cos * y - sin * x).clamp(-half, half)
        point = torch.stack([cos * along - sin * across, sin * along + cos * across], 1)
        return point + place - at, point

    def _yield(
        self, place: Tensor, angle: Tensor, contact: Tensor, normal: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Move the block so that its point at `contact` goes `depth` along `normal`."""
        lever = contact[..., 0] * normal[..., 1] - contact[..., 1] * normal[..., 0]
        way = depth / (1 + lever.square() / self.rho**2)
        return place + way[..., None] * normal, angle + way * lever / self.rho**2

    def _kept(self, place: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Push corners that left the rim back, all at once: the mean of what each of them asks for."""
        corner = self._corners(angle)
        at = place[:, None] + corner  # [n, 4, 2]
        depth = (self.rim - at).clamp_min(0) - (at - self.size + self.rim).clamp_min(0)
        lever = torch.stack([-corner[..., 1], corner[..., 0]], -1)  # of a push along x, and along y
        way = depth / (1 + lever.square() / self.rho**2) / (depth != 0).sum((1, 2)).clamp_min(1)[:, None, None]
        return place + way.sum(1), angle + (way * lever).sum((1, 2)) / self.rho**2

    def _corners(self, angle: Float[Tensor, " n"]) -> Float[Tensor, "n 4 2"]:
        """The block's corners, from its middle."""
        cos, sin, half = angle.cos(), angle.sin(), self.side / 2
        along, across = torch.stack([cos, sin], 1) * half, torch.stack([-sin, cos], 1) * half
        return torch.stack([along + across, along - across, -along + across, -along - across], 1)

    def scene(self, layout: Float[Tensor, "B 0"]) -> UInt8[Tensor, "B 3 h w"]:
        """The table and its rim."""
        inside = cover(torch.tensor([self.rim]), torch.tensor([self.size - self.rim]), self.size)
        return plain(two_colors(1 - inside[:, :, None] * inside[:, None], FLOOR, RIM)).expand(len(layout), -1, -1, -1)

    def paint(self, image: UInt8[Tensor, "B 3 h w"], state: Float[Tensor, "B 6"]) -> None:
        """The block, and the disc above it."""
        stamp(image, state[:, :2], square(self.side, self.angle(state)), state.new_tensor(BLOCK))
        stamp(image, state[:, 4:], disc(self.radius), state.new_tensor(DOT))

    def reached(self, state: Float[Tensor, "E 6"], goal: Float[Tensor, "E 6"]) -> Bool[Tensor, " E"]:
        """Whether each block is within `tolerance` and `turned` of its goal, wherever the disc is."""
        near = (state[:, :2] - goal[:, :2]).norm(dim=1) <= self.tolerance
        return near & (self.turn_between(state, goal).abs() <= math.radians(self.turned))

    def turn_between(self, state: Float[Tensor, "*B S"], goal: Float[Tensor, "*B G"]) -> Float[Tensor, "*B"]:
        """Radians by which the block must turn to its goal, from -pi / 4 to pi / 4."""
        (cos, sin), (x, y) = state[..., 2:4].unbind(-1), goal[..., 2:4].unbind(-1)
        return torch.atan2(cos * y - sin * x, cos * x + sin * y) / 4

    def tasks(self, kind: str, count: int, seed: int) -> Tasks:
        """Starts as in a new episode; goals at a distance from the block's start, the disc just behind the block there.

        "near": the goal `near` away and turned by at most `near_turn`. "far": at least `far` away, at any angle.
        Raises:
            ConfigError: no such kind.
        """
        check_kind(kind, KINDS, "Push Block")
        random, stream = numbered(count, seed), f"push_block/tasks/{kind}"
        start, layout = self.begin(random)

        def wanted(pose: Tensor) -> Tensor:
            apart = (pose[:, :2] - start[:, :2]).norm(dim=1)
            if kind == "far":
                return apart >= self.far
            turned = self.turn_between(start, pose).abs() <= math.radians(self.near_turn)
            return (apart >= self.near[0]) & (apart <= self.near[1]) & turned

        pose = redrawn(lambda attempt: self._pose(random, f"{stream}/{attempt}"), wanted, f"{kind} goal")
        goal = torch.cat([pose, self._behind(start, pose)], 1)
        return Tasks(start, goal, draw(self, goal, layout), layout)

    def _behind(self, state: Float[Tensor, "n S"], pose: Float[Tensor, "n 4"]) -> Float[Tensor, "n 2"]:
        """Where a disc stands that has just pushed the block from where `state` has it to `pose`."""
        way = pose[:, :2] - state[:, :2]
        back = self.side / math.sqrt(2) + self.radius + 0.5
        return pose[:, :2] - way / way.norm(dim=1, keepdim=True).clamp_min(1e-6) * back

    def way(self, tasks: Tasks) -> Way:
        """How far the block is from its goal, how far its corners turn, a tenth of the disc's way behind it: [n, 5].

        All in pixels. The last part leads the disc to the side from which it can push, and vanishes at the goal.
        """

        def left(state: Tensor, index: Tensor) -> Tensor:
            goal = tasks.goal[index]
            shift = goal[:, :2] - state[:, :2]
            turn = self.turn_between(state, goal)[:, None] * (self.side / math.sqrt(2))
            distance = shift.norm(dim=1, keepdim=True)
            back = self.side / 2 + self.radius
            stand = state[:, :2] - shift / distance.clamp_min(1e-6) * back
            lead = 0.1 * (state[:, 4:] - stand) * (distance / self.tolerance).clamp_max(1)
            return torch.cat([shift, turn, lead], 1)

        return left

    def wander(
        self, random: Random, steps: int, state: Float[Tensor, "B 6"], layout: Float[Tensor, "B 0"]
    ) -> Float[Tensor, "B T 2"]:
        """Smooth random actions; see `wandering.wander`.

        `aimed` of the new headings point at the block's middle, give or take an eighth of a half turn, so that it is
        pushed and turned.
        """
        beside = (random.uniform("push_block/wander/beside", steps) - 0.5) * (math.pi / 4)

        def aim(now: Tensor, t: int) -> Tensor:
            x, y = (now[:, :2] - now[:, 4:]).unbind(1)
            return torch.atan2(y, x) + beside[:, t]

        def move(now: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            following = self.move(now, action, layout)
            return following, (following[:, 4:] - now[:, 4:]).norm(dim=1) < 0.5 * action.norm(dim=1)

        habits = Habits(self.speed, self.turn, self.bump, self.drift, self.aimed)
        return wander(random, "push_block", steps, state, habits, move, aim)

    def open(self, count: int) -> BatchedWorld:
        """`count` worlds with these rules."""
        return BatchedWorld(self, count)
