"""Point Maze: a ball that is pushed through a maze of rooms, some layouts of which are held back. Batched torch.

The unit of length is a pixel, as in Two Rooms: (x, y) from the image's upper left corner. An action is a force; the
ball keeps a share of its velocity and is never faster than `speed`. It stops where it meets a wall and slides along it.
In the manner of D4RL's and PLDM's point mazes (2004.07219; 2502.14819: 64 pixels, forces of at most 1, layouts held
back); geometry, constants and code are our own. For the walls the ball is the square around it, which differs from the
circle at outer corners only, by less than half a radius.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ..errors import ConfigError, require
from ..randomness import Random, numbered
from . import mazes
from .batched import BatchedWorld, Way, draw, shortened
from .geodesic import Lattice, distances, remaining
from .paint import cover, disc, plain, stamp, two_colors
from .tasks import Tasks, check_kind
from .two_rooms import DOT, FLOOR, WALL
from .wandering import Habits, wander

KINDS = ("near", "far", "unseen_near", "unseen_far")


@dataclass(frozen=True)
class PointMaze:
    """The world's geometry and rules, in pixels and steps. A state is (x, y, velocity x, velocity y)."""

    size: int = 64  # of the square image
    layouts: Literal["named", "generated"] = (
        "named"  # episodes in mazes.SEEN, tasks "unseen_..." in mazes.UNSEEN; or "generated", endless ones
    )
    rooms: int = 4  # each way, of generated layouts; the named ones have 4
    loops: float = 0.05  # generated layouts: share of needless walls that are taken down
    thickness: float = 3.0  # of walls
    radius: float = 2.0  # of the ball
    force: float = 0.6  # added to the velocity by an action of length 1
    damping: float = 0.8  # share of the velocity that is kept in a step
    speed: float = 2.5  # highest speed
    margin: float = 1.0  # between the ball and any wall at a start or goal
    tolerance: float = 4.5  # success: this near to the goal
    near: int = 3  # tasks "near": at most so many openings between start and goal
    far: int = 5  # tasks "far": at least so many
    turn: float = 0.06  # wandering: chance of a new heading in each step
    bump: float = 0.3  # the same where a wall stopped the ball
    drift: float = 0.1  # standard deviation of the heading's change in a step, in radians
    aimed: float = 0.4  # of the new headings that point through an opening of the room
    kinds: ClassVar[tuple[str, ...]] = KINDS

    def __post_init__(self) -> None:
        require(1e-3, math.inf, size=self.size, thickness=self.thickness, radius=self.radius, force=self.force)
        require(1e-3, math.inf, speed=self.speed, tolerance=self.tolerance, drift=self.drift)
        require(0, 1, damping=self.damping, loops=self.loops, turn=self.turn, bump=self.bump, aimed=self.aimed)
        counts = {"named": range(4, 5), "generated": range(2, 9)}.get(self.layouts, ())
        if self.rooms not in counts:
            raise ConfigError(
                f"layouts {self.layouts!r} with {self.rooms} rooms each way; allowed are 'named' with 4 and "
                "'generated' with 2 to 8"
            )
        if self.corridor < 2 * (self.radius + self.margin) + 1:
            raise ConfigError(
                f"{self.rooms} rooms in {self.size} px with walls of {self.thickness} px are {self.corridor:.1f} px "
                f"wide: too narrow for a ball of radius {self.radius} and a margin of {self.margin} on both sides"
            )
        if not 1 <= self.near < self.far <= 2 * self.rooms - 2:
            raise ConfigError(
                f"near {self.near}, far {self.far} openings; near is 1 or more and below far, and far at most "
                f"{2 * self.rooms - 2}, which every maze of {self.rooms} x {self.rooms} rooms has"
            )

    @property
    def longest(self) -> float:
        """The longest action."""
        return 1.0

    @property
    def corridor(self) -> float:
        """Width of a room."""
        return (self.size - (self.rooms + 1) * self.thickness) / self.rooms

    def lines(self) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Where the lines of a layout's grid begin and end, across the image."""
        number = torch.arange(2 * self.rooms + 1)
        low = (number // 2) * (self.corridor + self.thickness) + (number % 2) * self.thickness
        return low, low + torch.where(number % 2 == 0, self.thickness, self.corridor)

    def mazes(self, random: Random, stream: str, unseen: bool) -> Float[Tensor, "B L"]:
        """Layouts, flat: of the named ones any, or generated ones of the half that `unseen` names."""
        if self.layouts == "named":
            known = mazes.named(unseen)
            return known[random.integers(f"{stream}/named", len(known), 1)[:, 0]].flatten(1)
        return mazes.half(random, stream, self.rooms, self.loops, unseen).flatten(1)

    def grid(self, layout: Float[Tensor, "B L"]) -> Float[Tensor, "B n n"]:
        """Layouts as grids, 1 where a wall stands."""
        return layout.unflatten(1, (2 * self.rooms + 1, 2 * self.rooms + 1))

    def place(self, random: Random, stream: str, room: Int64[Tensor, " B"]) -> Float[Tensor, "B 4"]:
        """States at rest, uniform in the given rooms, `margin` away from every wall."""
        corner = torch.stack([room % self.rooms, room // self.rooms], 1) * (self.corridor + self.thickness)
        edge = self.radius + self.margin
        at = corner + self.thickness + edge + (self.corridor - 2 * edge) * random.uniform(stream, 2)
        return torch.cat([at, torch.zeros_like(at)], 1)

    def begin(self, random: Random) -> tuple[Float[Tensor, "B 4"], Float[Tensor, "B L"]]:
        """At rest in any room of a layout that is not held back."""
        room = random.integers("point_maze/room", self.rooms**2, 1)[:, 0]
        return self.place(random, "point_maze/place", room), self.mazes(random, "point_maze/maze", False)

    def lawful(self, state: Float[Tensor, "B 4"], layout: Float[Tensor, "B L"]) -> Bool[Tensor, " B"]:
        """Whether the ball is in no wall and not too fast."""
        slow = state[:, 2:].norm(dim=1) <= self.speed * (1 + 1e-5)
        return slow & self.free(state[:, None, :2], layout)[:, 0]

    def free(self, position: Float[Tensor, "B N 2"], layout: Float[Tensor, "B L"]) -> Bool[Tensor, "B N"]:
        """Whether a ball at each position overlaps no wall and is in the image."""
        low, high = (edge + sign * self.radius for edge, sign in zip(self.lines(), (-1, 1), strict=True))
        inside = (position[..., None] > low) & (position[..., None] < high)  # [B, N, 2, n]
        met = torch.einsum("bni,bij,bnj->bn", inside[:, :, 1].float(), self.grid(layout), inside[:, :, 0].float())
        return (met == 0) & ((position >= 0) & (position <= self.size)).all(-1)

    def move(
        self, state: Float[Tensor, "B 4"], action: Float[Tensor, "B 2"], layout: Float[Tensor, "B L"]
    ) -> Float[Tensor, "B 4"]:
        """States after one action: along x, then along y, sliding along what is hit.

        Each part of the way is bounded by where it started from, so no step passes a wall, whatever the speed.
        """
        return self._advance(state, action, layout)[0]

    def _advance(self, state: Tensor, action: Tensor, layout: Tensor) -> tuple[Tensor, Bool[Tensor, " B"]]:
        """The next state, and whether a wall stopped the ball in one direction."""
        velocity = self.damping * state[:, 2:] + self.force * shortened(action, self.longest)
        velocity = shortened(velocity, self.speed)
        (x, y), walls = state[:, :2].unbind(1), self.grid(layout)
        x, free_x = self._slide(x, y, velocity[:, 0], walls)
        y, free_y = self._slide(y, x, velocity[:, 1], walls.mT)
        free = torch.stack([free_x, free_y], 1)
        return torch.cat([torch.stack([x, y], 1), velocity * free], 1), ~free.all(1)

    def _slide(
        self, along: Float[Tensor, " B"], across: Float[Tensor, " B"], by: Float[Tensor, " B"],
        walls: Float[Tensor, "B n n"],
    ) -> tuple[Float[Tensor, " B"], Bool[Tensor, " B"]]:  # fmt: skip
        """Move along the last axis of the grid until a wall, and whether none was met."""
        low, high = (edge + sign * self.radius for edge, sign in zip(self.lines(), (-1, 1), strict=True))
        touched = (across[:, None] > low) & (across[:, None] < high)  # lines that the ball reaches into
        blocked = torch.einsum("bi,bij->bj", touched.float(), walls) > 0
        most = torch.where(blocked & (low >= along[:, None]), low, math.inf).amin(1)
        least = torch.where(blocked & (high <= along[:, None]), high, -math.inf).amax(1)
        wanted = along + by
        return wanted.clamp(least, most), (wanted <= most) & (wanted >= least)

    def scene(self, layout: Float[Tensor, "B L"]) -> UInt8[Tensor, "B 3 h w"]:
        """Floor and walls, each pixel by the share of it that a wall covers."""
        lines = cover(*self.lines(), self.size)  # [n, size]
        return plain(two_colors((lines.T @ self.grid(layout) @ lines).clamp(0, 1), FLOOR, WALL))

    def paint(self, image: UInt8[Tensor, "B 3 h w"], state: Float[Tensor, "B 4"]) -> None:
        """The ball."""
        stamp(image, state[:, :2], disc(self.radius), state.new_tensor(DOT))

    def reached(self, state: Float[Tensor, "E 4"], goal: Float[Tensor, "E 4"]) -> Bool[Tensor, " E"]:
        """Whether each position is within `tolerance` of its goal, at whatever speed."""
        return (state[:, :2] - goal[:, :2]).norm(dim=1) <= self.tolerance

    def tasks(self, kind: str, count: int, seed: int) -> Tasks:
        """Starts and goals at rest, in rooms drawn uniformly among those pairs with as many openings between them.

        "near": 1 to `near` openings on the shortest way; "far": `far` or more. "unseen_": in layouts that no episode
        has.
        Raises:
            ConfigError: no such kind.
        """
        check_kind(kind, KINDS, "Point Maze")
        random = numbered(count, seed)
        layout = self.mazes(random, f"point_maze/tasks/{kind}/maze", kind.startswith("unseen"))
        apart = mazes.hops(self.grid(layout)).flatten(1)
        wanted = apart >= self.far if kind.endswith("far") else (apart >= 1) & (apart <= self.near)
        score = random.uniform(f"point_maze/tasks/{kind}/rooms", apart.shape[1])
        pair = (score + wanted).argmax(1)
        start, goal = (
            self.place(random, f"point_maze/tasks/{kind}/{name}", room)
            for name, room in (("start", pair // self.rooms**2), ("goal", pair % self.rooms**2))
        )
        return Tasks(start, goal, draw(self, goal, layout), layout)

    def way(self, tasks: Tasks) -> Way:
        """What is left of the way around the walls, in pixels [n, 1]; see `geodesic`."""
        return self._way(tasks.goal[:, :2], tasks.layout)

    def _way(self, goal: Float[Tensor, "E 2"], layout: Float[Tensor, "E L"]) -> Way:
        lattice = Lattice(self.size)
        free = self.free(lattice.points().expand(len(goal), -1, -1), layout)
        field = distances(lattice, free, goal, self.beside(goal, lattice.points()))

        def left(state: Tensor, index: Tensor) -> Tensor:
            position, aim = state[:, :2], goal[index]
            straight = torch.where(self.beside(aim, position[:, None])[:, 0], (position - aim).norm(dim=1), math.inf)
            return straight.minimum(remaining(lattice, field, position, index))[:, None]

        return left

    def geodesic(
        self, start: Float[Tensor, "E 2"], goal: Float[Tensor, "E 2"], layout: Float[Tensor, "E L"]
    ) -> Float[Tensor, " E"]:
        """Length in pixels of the shortest way of the ball from each start to its goal, infinite where there is none.

        At most 9 % too long, since ways between rooms go along the eight directions of a lattice.
        """
        return self._way(goal, layout)(start, torch.arange(len(goal)))[:, 0]

    def beside(self, goal: Float[Tensor, "E 2"], position: Float[Tensor, "#E N 2"]) -> Bool[Tensor, "E N"]:
        """Whether each position is in the same room as the goal, where the way is straight."""

        def room(at: Tensor) -> Tensor:
            pitch = self.corridor + self.thickness
            return torch.where((at % pitch) >= self.thickness, (at / pitch).floor(), math.nan)  # NaN: in an opening

        return (room(goal)[:, None] == room(position)).all(-1)

    def wander(
        self, random: Random, steps: int, state: Float[Tensor, "B 4"], layout: Float[Tensor, "B L"]
    ) -> Float[Tensor, "B T 2"]:
        """Smooth random forces; see `wandering.wander`.

        `aimed` of the new ones point through an opening of the room, without which the ball stays in few rooms.
        """
        doors = mazes.open_sides(self.grid(layout)).float()  # [B, R, 4]
        score = random.uniform("point_maze/wander/door", steps, 4)

        def aim(now: Tensor, t: int) -> Tensor:
            cell = (now[:, :2] / (self.corridor + self.thickness)).long().clamp(0, self.rooms - 1)
            here = doors[torch.arange(len(now)), cell[:, 1] * self.rooms + cell[:, 0]]
            return (score[:, t] * here).argmax(1) * (math.pi / 2)

        habits = Habits(self.longest, self.turn, self.bump, self.drift, self.aimed)
        return wander(random, "point_maze", steps, state, habits, lambda s, a: self._advance(s, a, layout), aim)

    def open(self, count: int) -> BatchedWorld:
        """`count` worlds with these rules."""
        return BatchedWorld(self, count)
