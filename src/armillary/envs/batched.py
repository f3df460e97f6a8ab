"""What our own worlds share: rules that are pure functions of states, worlds and true dynamics made of them.

A state is a row of numbers, a layout is what else fixes a world for an episode, such as where its walls stand. All
worlds are stepped as one tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..randomness import Random, numbered
from ..types import Batch
from .paint import CHUNK
from .tasks import Tasks, check_action

ATTEMPTS = 1000  # draws after which no lawful one is expected any more
State = tuple[Tensor, ...]  # states [B, S], layouts [B, L], numbers of the worlds [B]
Way = Callable[[Float[Tensor, "n S"], Shaped[Tensor, " n"]], Float[Tensor, "n k"]]


@runtime_checkable
class Rules(Protocol):
    """A world's geometry and rules. Actions are two numbers, shortened to the 2-norm `longest`; S and L are fixed.

    kinds: of tasks, easiest first; none where nothing can be reached.
    """

    kinds: ClassVar[tuple[str, ...]]

    @property
    def longest(self) -> float:
        """The longest action."""
        ...

    def begin(self, random: Random) -> tuple[Float[Tensor, "B S"], Float[Tensor, "B L"]]:
        """States and layouts of new episodes."""
        ...

    def lawful(self, state: Float[Tensor, "B S"], layout: Float[Tensor, "B L"]) -> Bool[Tensor, " B"]:
        """Whether a world can be in each state."""
        ...

    def move(
        self, state: Float[Tensor, "B S"], action: Float[Tensor, "B 2"], layout: Float[Tensor, "B L"]
    ) -> Float[Tensor, "B S"]:
        """States after one action."""
        ...

    def scene(self, layout: Float[Tensor, "B L"]) -> UInt8[Tensor, "B 3 h w"]:
        """What does not move."""
        ...

    def paint(self, image: UInt8[Tensor, "B 3 h w"], state: Float[Tensor, "B S"]) -> None:
        """Draw what moves over scenes, in place."""
        ...

    def tasks(self, kind: str, count: int, seed: int) -> Tasks:
        """Starts and goals."""
        ...

    def reached(self, state: Float[Tensor, "E S"], goal: Float[Tensor, "E S"]) -> Bool[Tensor, " E"]:
        """Whether each state meets its goal."""
        ...

    def way(self, tasks: Tasks) -> Way:
        """A function of states and numbers of tasks: a vector whose length is what is left of the way to the goal."""
        ...

    def wander(
        self, random: Random, steps: int, state: Float[Tensor, "B S"], layout: Float[Tensor, "B L"]
    ) -> Float[Tensor, "B T 2"]:
        """Smooth random actions."""
        ...


def draw(rules: Rules, state: Float[Tensor, "B S"], layout: Float[Tensor, "#B L"]) -> UInt8[Tensor, "B 3 h w"]:
    """Images of given states; one layout for all of them is drawn once."""
    return painted(rules, rules.scene(layout), state)


def painted(rules: Rules, scene: UInt8[Tensor, "#B 3 h w"], state: Float[Tensor, "B S"]) -> UInt8[Tensor, "B 3 h w"]:
    """Images of states over scenes that are drawn already."""
    image = scene.expand(len(state), -1, -1, -1).clone()
    for part, rows in zip(image.split(CHUNK), state.split(CHUNK), strict=True):
        rules.paint(part, rows)
    return image


def shortened(action: Float[Tensor, "*B A"], longest: float) -> Float[Tensor, "*B A"]:
    """Actions of a 2-norm of at most `longest`."""
    return action * (longest / action.norm(dim=-1, keepdim=True).clamp_min(longest))


def redrawn(drawn: Callable[[int], Tensor], wanted: Callable[[Tensor], Bool[Tensor, " B"]], what: str) -> Tensor:
    """Rows that are `wanted`: each is drawn again, with the number of the attempt, until it is.

    Raises:
        ConfigError: some are not after `ATTEMPTS` draws.
    """
    rows = drawn(0)
    for attempt in range(1, ATTEMPTS):
        right = wanted(rows)
        if bool(right.all()):
            return rows
        rows = torch.where(right.view(-1, *[1] * (rows.ndim - 1)), rows, drawn(attempt))
    raise ConfigError(f"{ATTEMPTS} draws gave no {what}; the settings of the world leave too little room for one")


class BatchedWorld:
    """`count` worlds with the same rules. Reward is 0 and nothing terminates: goals belong to tasks, not to the world.

    Observations hold `index` [B], `image` [B, 3, h, w] uint8, `state` [B, S] and `layout` [B, L].
    """

    def __init__(self, rules: Rules, count: int) -> None:
        if count < 1:
            raise ConfigError(f"{count} worlds; open 1 or more")
        self.rules, self.count, self.kinds = rules, count, rules.kinds
        self.longest = rules.longest  # 2-norm to which an action is shortened
        self.low, self.high = torch.full((2,), -self.longest), torch.full((2,), self.longest)
        self.tasks, self.reached = rules.tasks, rules.reached
        self.reset(0)

    def reset(self, seed: int) -> Batch:
        """New episodes; world i depends on (seed, i) alone."""
        return self.reset_to(*self.rules.begin(numbered(self.count, seed)))

    def begin(self, tasks: Tasks) -> Batch:
        """World i at the start of task i, with its layout.

        Raises:
            ShapeError: not one task per world.
        """
        return self.reset_to(tasks.start, tasks.layout)

    def reset_to(self, state: Float[Tensor, "B S"], layout: Float[Tensor, "B L"] | None = None) -> Batch:
        """Worlds in given states, with given layouts or the ones they have.

        Raises:
            ShapeError: not one state and layout per world, or of another width.
            ConfigError: a state that the rules do not allow.
        """
        layout = self.layout if layout is None else layout
        if not len(state) == len(layout) == self.count:
            raise ShapeError(f"{len(state)} states and {len(layout)} layouts for {self.count} worlds; give one of each")
        if hasattr(self, "state") and (state.shape, layout.shape) != (self.state.shape, self.layout.shape):
            raise ShapeError(
                f"states {tuple(state.shape)} and layouts {tuple(layout.shape)}; these worlds have "
                f"{tuple(self.state.shape)} and {tuple(self.layout.shape)}"
            )
        wrong = (~self.rules.lawful(state, layout)).nonzero().flatten().tolist()
        if wrong:
            raise ConfigError(
                f"states of worlds {wrong} are impossible: {state[wrong[0]].tolist()}; bodies must lie inside the "
                f"walls, apart from each other, and their numbers be finite, in pixels, for {self.rules}"
            )
        self.state, self.layout = state, layout
        self.scene = self.rules.scene(layout[:1] if bool((layout == layout[:1]).all()) else layout)
        return self._observe()

    def step(
        self, action: Float[Tensor, "B 2"]
    ) -> tuple[Batch, Float[Tensor, " B"], Bool[Tensor, " B"], Bool[Tensor, " B"]]:
        """Observations after one action; longer ones are shortened to `longest`.

        Raises:
            ShapeError, ConfigError: actions of another shape or not finite.
        """
        check_action(action, self.count, 2)
        self.state = self.rules.move(self.state, action, self.layout)
        never = torch.zeros(self.count, dtype=torch.bool)
        return self._observe(), torch.zeros(self.count), never, never.clone()

    def wander(self, random: Random, steps: int) -> Float[Tensor, "B T 2"]:
        """Smooth random actions from where the worlds are now; see the rules' `wander`."""
        return self.rules.wander(random, steps, self.state, self.layout)

    def dynamics(self) -> TrueDynamics:
        """The true rules; the latent is the state."""
        return TrueDynamics(self.rules)

    def toward(self, tasks: Tasks) -> TrueDynamics:
        """The true rules, for the ceiling: the latent's length is what is left of the way to the goal of task `index`.

        A goal's latent is zero.
        """
        return TrueDynamics(self.rules, self.rules.way(tasks))

    def _observe(self) -> Batch:
        return {
            "index": torch.arange(self.count),
            "image": painted(self.rules, self.scene, self.state),
            "state": self.state,
            "layout": self.layout,
        }


@dataclass(frozen=True)
class TrueDynamics:
    """The true rules as dynamics, for the ceiling: a planner with them shows what a perfect model would reach.

    An action of n * 2 numbers is n steps, so macro-steps work as with a learned model. The latent is the state, or
    what `way` tells of it.
    """

    rules: Rules
    way: Way | None = None

    def start(self, batch: Batch) -> State:
        """From the observation's truth, `state` and `layout`; `index` numbers the tasks of `way`."""
        return batch["state"], batch["layout"], batch["index"]

    def step(self, state: State, action: Float[Tensor, "B A"]) -> State:
        """States after the raw steps of a macro-step."""
        now, layout, index = state
        for raw in action.split(2, 1):
            now = self.rules.move(now, raw, layout)
        return now, layout, index

    def latent(self, state: State) -> Float[Tensor, "B k"]:
        """States, or what is left of the way."""
        return state[0] if self.way is None else self.way(state[0], state[2])
