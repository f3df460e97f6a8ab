"""One adapter from any Gymnasium environment that renders off-screen to a batch of worlds seen in pixels.

`Gym("Pendulum-v1").open(8)`, `Gym("dm_control/reacher-easy").open(8)`. Worlds are single environments stepped in a
loop. Every one has tasks of the kind "ahead": start where a reset puts you, reach what random actions reached `ahead`
steps later. Where a `Scene` can set the truth there is also "anywhere": from any state to any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..randomness import Random, numbered
from ..types import Batch
from .scenes import Scene, scene_of
from .single import Look, Sight, Single
from .tasks import Tasks, check_action, check_kind

SEEDS = 2**24  # of single environments: whole numbers that float32, in which a layout is kept, holds exactly


@dataclass(frozen=True)
class Gym:
    """Which environment, and how it is seen and stepped."""

    name: str = "Pendulum-v1"  # Gymnasium's id, or dm_control/<domain>-<task>
    size: int = 64  # pixels of the square image; other shapes are squeezed into it by area
    action_repeat: int = 1  # steps of the environment for one of ours; rewards add up
    plain: bool = True  # MuJoCo: no shadows, reflections or multisampling; about ten times faster in software
    oversample: int = (
        2  # MuJoCo: drawn so many times larger, then reduced by area; smooth edges for a quarter more time
    )
    camera: int = 0  # DM Control's camera
    ahead: int = 25  # tasks "ahead": our steps between a start and its goal
    turn: float = 0.15  # wandering: chance of a new random action in each step; otherwise the last one is held

    def __post_init__(self) -> None:
        if min(self.size, self.action_repeat, self.oversample, self.ahead) < 1 or not 0 < self.turn <= 1:
            raise ConfigError(
                f"size {self.size}, action_repeat {self.action_repeat}, oversample {self.oversample}, "
                f"ahead {self.ahead}, turn {self.turn}; the first four are 1 or more, turn is above 0 and at most 1"
            )

    def open(self, count: int, scene: Scene | None = None) -> GymWorld:
        """`count` worlds; `scene` tells their truth and sets goals (default: the one known for the name)."""
        return GymWorld(self, count, scene_of(self.name) if scene is None else scene)


class GymWorld:
    """`count` environments stepped in a loop. One that is over, or whose truth is not finite, stays as last seen.

    Observations hold `index` [B], `image` [B, 3, size, size] uint8 and `state` [B, S] float32 as the scene defines it.
    Raises:
        ConfigError: the environment is not there, does not render, or takes other than continuous, bounded actions.
    """

    def __init__(self, rules: Gym, count: int, scene: Scene) -> None:
        if count < 1:
            raise ConfigError(f"{count} worlds; open 1 or more")
        self.rules, self.count, self.scene = rules, count, scene
        self.kinds = ("ahead", "anywhere") if scene.draws else ("ahead",)
        look = Look(rules.size * rules.oversample, rules.camera, rules.plain)
        self.worlds = [Single(rules.name, rules.size, scene, look) for _ in range(count)]
        self.low, self.high = self.worlds[0].low, self.worlds[0].high

    def reset(self, seed: int) -> Batch:
        """New episodes; world i depends on (seed, i) alone."""
        seeds = numbered(self.count, seed).integers("gym/reset", SEEDS, 1)
        return self._reset(seeds)

    def begin(self, tasks: Tasks) -> Batch:
        """World i at the start of task i.

        Raises:
            ShapeError: not one task per world.
        """
        if len(tasks) != self.count:
            raise ShapeError(f"{len(tasks)} tasks for {self.count} worlds; give each world one")
        return self._reset(tasks.layout.long()) if tasks.layout.shape[1] else self.reset_to(tasks.start)

    def reset_to(self, state: Float[Tensor, "B S"]) -> Batch:
        """New episodes from given states.

        Raises:
            ConfigError: the scene cannot set a state.
            ShapeError: not one state per world.
        """
        if not self.scene.draws:
            raise ConfigError(
                f"the state of {self.rules.name} cannot be set; use tasks of kind {self.kinds[0]!r}, or open the world "
                "with a scene that can set it"
            )
        if len(state) != self.count:
            raise ShapeError(f"{len(state)} states for {self.count} worlds; give each world one")
        for world, row in zip(self.worlds, state.double().numpy(), strict=True):
            world.restore(row)
        return self._observe()

    def step(
        self, action: Float[Tensor, "B A"]
    ) -> tuple[Batch, Float[Tensor, " B"], Bool[Tensor, " B"], Bool[Tensor, " B"]]:
        """Observations after one action, clamped to the bounds; reward, terminated, truncated.

        Raises:
            ShapeError, ConfigError: actions of another shape or not finite.
        """
        check_action(action, self.count, len(self.low))
        rows = action.cpu().clamp(self.low, self.high).numpy()
        reward = [w.step(row, self.rules.action_repeat) for w, row in zip(self.worlds, rows, strict=True)]
        terminated = torch.tensor([w.terminated for w in self.worlds])
        truncated = torch.tensor([w.truncated for w in self.worlds])
        return self._observe(), torch.tensor(reward, dtype=torch.float32), terminated, truncated

    def tasks(self, kind: str, count: int, seed: int) -> Tasks:
        """`count` tasks of one of the `kinds`. They are made in world 0, which has to begin anew afterwards.

        Raises:
            ConfigError: no such kind.
        """
        check_kind(kind, self.kinds, self.rules.name)
        random = numbered(count, seed)
        if kind == "anywhere":
            uniform = random.uniform("gym/tasks/anywhere", 2, self.scene.draws)
            pairs = [(self._place(u[0]), self._place(u[1])) for u in uniform]
            layout = torch.zeros(count, 0)
        else:
            layout = random.integers("gym/tasks/ahead", SEEDS, 1).float()
            actions = self.wander(random.child(0), self.rules.ahead)
            pairs = [self._ahead(int(s), a) for s, a in zip(layout[:, 0], actions, strict=True)]
        start = torch.stack([first.state for first, _ in pairs])
        goal = torch.stack([last.state for _, last in pairs])
        return Tasks(start, goal, torch.stack([last.image for _, last in pairs]), layout)

    def reached(self, state: Float[Tensor, "E S"], goal: Float[Tensor, "E S"]) -> Bool[Tensor, " E"]:
        """Whether each state is within the scene's tolerance of its goal."""
        return self.scene.distance(state, goal) <= self.scene.tolerance

    def wander(self, random: Random, steps: int) -> Float[Tensor, "B T A"]:
        """Random actions, uniform in the bounds, each held for 1 / `turn` steps in the mean."""
        value = random.uniform("gym/wander/action", steps, len(self.low))
        fresh = random.uniform("gym/wander/turn", steps) < self.rules.turn
        drawn = torch.where(fresh, torch.arange(steps), 0).cummax(1).values  # when the action in force was drawn
        held = value.gather(1, drawn[..., None].expand(-1, -1, len(self.low)))
        return self.low + (self.high - self.low) * held

    def close(self) -> None:
        """Free the environments."""
        for world in self.worlds:
            world.close()

    def _place(self, uniform: Float[Tensor, " k"]) -> Sight:
        self.worlds[0].restore(self.scene.sample(uniform.double().numpy()))
        return self.worlds[0].look()

    def _ahead(self, seed: int, actions: Float[Tensor, "T A"]) -> tuple[Sight, Sight]:
        world = self.worlds[0]
        world.reset(seed)
        first = world.look()
        for action in actions.numpy():
            world.step(action, self.rules.action_repeat)
        return first, world.look()

    def _reset(self, seeds: Tensor) -> Batch:
        for world, seed in zip(self.worlds, seeds[:, 0], strict=True):
            world.reset(int(seed))
        return self._observe()

    def _observe(self) -> Batch:
        seen = [world.look() for world in self.worlds]
        return {
            "index": torch.arange(self.count),
            "image": torch.stack([s.image for s in seen]),
            "state": torch.stack([s.state for s in seen]),
        }
