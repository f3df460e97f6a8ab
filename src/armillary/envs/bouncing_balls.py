"""Bouncing Balls: elastic balls in a box, told apart by their colors, for rollouts and surprise. Batched torch.

The unit of length is a pixel, as in Two Rooms. Balls have equal masses and no friction. A step goes from one collision
to the next, each solved exactly, so energy is kept and balls never overlap, but for rounding; so is momentum, but for
what the box takes. An action is a force on the first ball; with `force` 0 nobody acts. There are no tasks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ..errors import ConfigError, require
from ..randomness import Random
from .batched import BatchedWorld, Way, redrawn, shortened
from .paint import cover, disc, plain, stamp, two_colors
from .tasks import Tasks, check_kind
from .two_rooms import FLOOR, WALL
from .wandering import Habits, wander

COLORS = (
    (255.0, 176.0, 46.0), (84.0, 214.0, 255.0), (255.0, 92.0, 138.0), (126.0, 232.0, 112.0), (186.0, 142.0, 255.0),
    (240.0, 240.0, 240.0),
)  # of ball 0, 1, ...; 0 to 255  # fmt: skip
EVENTS = 100  # collisions in a step of one world, after which the rest of the step is left out; never met in practice
OVERLAP = 1e-3  # pixels by which balls and walls may overlap in a lawful state


@dataclass(frozen=True)
class BouncingBalls:
    """The world's geometry and rules, in pixels and steps.

    A state is (x, y) of every ball, ball by ball, then (velocity x, velocity y) of every ball.
    """

    size: int = 64  # of the square image
    balls: int = 3  # at most 6
    radius: float = 5.0  # of every ball
    border: float = 3.0  # thickness of the box's wall
    slowest: float = 0.8  # speed of a ball at the beginning, uniform from here
    fastest: float = 2.4  # to here
    force: float = 0.0  # added to the first ball's velocity by an action of length 1; 0: actions do nothing
    turn: float = 0.06  # wandering: chance of a new action in each step
    drift: float = 0.1  # standard deviation of its direction's change in a step, in radians
    kinds: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        require(0.5, math.inf, radius=self.radius)
        require(0, math.inf, border=self.border, slowest=self.slowest, fastest=self.fastest, force=self.force)
        inside = self.size - 2 * self.border
        if not 1 <= self.balls <= len(COLORS) or self.balls * (2 * self.radius + 1) ** 2 > 0.5 * inside**2:
            raise ConfigError(
                f"{self.balls} balls of radius {self.radius} in a box of {inside} px; 1 to {len(COLORS)} balls are "
                "allowed, and they must cover less than half of it"
            )
        if self.slowest > self.fastest:
            raise ConfigError(f"slowest {self.slowest} is above fastest {self.fastest}; the slower speed comes first")

    @property
    def longest(self) -> float:
        """The longest action."""
        return 1.0

    def parts(self, state: Float[Tensor, "B S"]) -> tuple[Float[Tensor, "B N 2"], Float[Tensor, "B N 2"]]:
        """Positions and velocities of the balls."""
        place, speed = state.unflatten(1, (2, self.balls, 2)).unbind(1)
        return place, speed

    def energy(self, state: Float[Tensor, "B S"]) -> Float[Tensor, " B"]:
        """Kinetic energy, in masses of a ball."""
        return self.parts(state)[1].square().sum((1, 2)) / 2

    def begin(self, random: Random) -> tuple[Float[Tensor, "B S"], Float[Tensor, "B 0"]]:
        """Balls anywhere, apart from each other, in any directions."""
        edge = self.border + self.radius

        def drawn(attempt: int) -> Tensor:
            return edge + (self.size - 2 * edge) * random.uniform(f"bouncing_balls/place/{attempt}", self.balls, 2)

        place = redrawn(drawn, lambda at: self._gaps(at) > 1, "places for the balls")
        speed = random.uniform("bouncing_balls/speed", self.balls, 1) * (self.fastest - self.slowest) + self.slowest
        angle = random.uniform("bouncing_balls/angle", self.balls) * (2 * math.pi)
        velocity = torch.stack([angle.cos(), angle.sin()], -1) * speed
        return torch.stack([place, velocity], 1).flatten(1), place.new_zeros(len(place), 0)

    def _gaps(self, place: Float[Tensor, "B N 2"]) -> Float[Tensor, " B"]:
        """The smallest distance between two balls, infinite for one ball."""
        apart = (place[:, :, None] - place[:, None]).norm(dim=3) - 2 * self.radius
        return apart.masked_fill(torch.eye(self.balls, dtype=torch.bool), math.inf).amin((1, 2))

    def lawful(self, state: Float[Tensor, "B S"], layout: Float[Tensor, "B 0"]) -> Bool[Tensor, " B"]:
        """Whether all balls are in the box and do not overlap by more than `OVERLAP`."""
        place, velocity = self.parts(state)
        low, high = self.border + self.radius - OVERLAP, self.size - self.border - self.radius + OVERLAP
        inside = ((place >= low) & (place <= high)).all(-1).all(-1)
        return inside & (self._gaps(place) >= -OVERLAP) & velocity.isfinite().all(-1).all(-1)

    def move(
        self, state: Float[Tensor, "B S"], action: Float[Tensor, "B 2"], layout: Float[Tensor, "B 0"]
    ) -> Float[Tensor, "B S"]:
        """States after one action, which changes the first ball's velocity at the beginning of the step."""
        place, velocity = (x.clone() for x in self.parts(state.double()))
        velocity[:, 0] += self.force * shortened(action.double(), self.longest)
        left = torch.ones(len(state), dtype=torch.float64)
        rows = torch.arange(len(state))
        for _ in range(EVENTS):
            time = self._times(place[rows], velocity[rows])
            soonest, event = time.min(1)
            elapsed = soonest.minimum(left[rows])
            place[rows] += velocity[rows] * elapsed[:, None, None]
            left[rows] -= elapsed
            hit = soonest <= elapsed
            rows, event = rows[hit], event[hit]
            if not len(rows):
                break
            velocity[rows] = self._struck(place[rows], velocity[rows], event)
        return torch.stack([place, velocity], 1).flatten(1).to(state.dtype)

    def _times(self, place: Tensor, velocity: Tensor) -> Float[Tensor, "n E"]:
        """When each ball would meet a wall, in x and in y, and each pair of balls one another; infinite for never."""
        edge = self.border + self.radius
        ahead = torch.where(velocity > 0, self.size - edge - place, edge - place)
        walls = torch.where(velocity == 0, math.inf, (ahead / velocity).clamp_min(0)).flatten(1)
        one, other = torch.triu_indices(self.balls, self.balls, 1)
        apart, closing = place[:, other] - place[:, one], velocity[:, other] - velocity[:, one]
        square, along = closing.square().sum(-1), (apart * closing).sum(-1)
        gap = apart.square().sum(-1) - (2 * self.radius) ** 2
        under = along.square() - square * gap
        soon = (gap / (-along + under.clamp_min(0).sqrt())).clamp_min(0)  # the smaller root, without cancellation
        return torch.cat([walls, torch.where((along < 0) & (under >= 0), soon, math.inf)], 1)

    def _struck(self, place: Tensor, velocity: Tensor, event: Int64[Tensor, " n"]) -> Float[Tensor, "n N 2"]:
        """Velocities after a collision: turned round at a wall, exchanged along the line between two balls."""
        flat, rows = velocity.flatten(1).clone(), torch.arange(len(event))
        at_wall, walls = event < 2 * self.balls, 2 * self.balls
        flat[rows[at_wall], event[at_wall]] *= -1
        velocity = flat.unflatten(1, (self.balls, 2))
        rows, (one, other) = rows[~at_wall], torch.triu_indices(self.balls, self.balls, 1)[:, event[~at_wall] - walls]
        line = place[rows, other] - place[rows, one]
        line = line / line.norm(dim=1, keepdim=True)
        given = ((velocity[rows, one] - velocity[rows, other]) * line).sum(1, keepdim=True) * line
        velocity[rows, one] -= given
        velocity[rows, other] += given
        return velocity

    def scene(self, layout: Float[Tensor, "B 0"]) -> UInt8[Tensor, "B 3 h w"]:
        """The box."""
        inside = cover(torch.tensor([self.border]), torch.tensor([self.size - self.border]), self.size)
        share = 1 - inside[:, :, None] * inside[:, None]
        return plain(two_colors(share, FLOOR, WALL)).expand(len(layout), -1, -1, -1)

    def paint(self, image: UInt8[Tensor, "B 3 h w"], state: Float[Tensor, "B S"]) -> None:
        """The balls."""
        for ball, color in zip(self.parts(state)[0].unbind(1), COLORS, strict=False):
            stamp(image, ball, disc(self.radius), state.new_tensor(color))

    def tasks(self, kind: str, count: int, seed: int) -> Tasks:
        """There are none.

        Raises:
            ConfigError: always.
        """
        check_kind(kind, self.kinds, "Bouncing Balls")
        raise ConfigError("Bouncing Balls has no tasks: it is for rollouts and surprise, not for planning")

    def reached(self, state: Float[Tensor, "E S"], goal: Float[Tensor, "E S"]) -> Bool[Tensor, " E"]:
        """Whether each ball is within its radius of where a goal has it, at whatever velocity."""
        return ((self.parts(state)[0] - self.parts(goal)[0]).norm(dim=2) <= self.radius).all(1)

    def way(self, tasks: Tasks) -> Way:
        """How far the balls are from where the goals have them, [n, 2 N] in pixels."""
        return lambda state, index: (self.parts(state)[0] - self.parts(tasks.goal[index])[0]).flatten(1)

    def wander(
        self, random: Random, steps: int, state: Float[Tensor, "B S"], layout: Float[Tensor, "B 0"]
    ) -> Float[Tensor, "B T 2"]:
        """Smooth random actions; see `wandering.wander`. They look at nothing, and with `force` 0 they do nothing."""
        never = torch.zeros(len(state), dtype=torch.bool)
        habits = Habits(self.longest, self.turn, self.turn, self.drift, 0.0)
        ahead = torch.zeros(len(state))
        return wander(random, "bouncing_balls", steps, state, habits, lambda s, a: (s, never), lambda s, t: ahead)

    def open(self, count: int) -> BatchedWorld:
        """`count` worlds with these rules."""
        return BatchedWorld(self, count)
