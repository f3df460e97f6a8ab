"""What a world offers beyond stepping: goals that are given as images, and random motion to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ..contracts import Environment
from ..errors import ConfigError, ShapeError, suggest
from ..randomness import Random
from ..types import Batch


@dataclass(frozen=True)
class Tasks:
    """E pairs of a start and a goal. States are rows as in an observation's `state`; image is what a goal looks like.

    layout: [E, L] what else fixes world i, such as where its wall stands; L may be 0.
    """

    start: Float[Tensor, "E S"]
    goal: Float[Tensor, "E S"]
    image: UInt8[Tensor, "E C h w"]
    layout: Float[Tensor, "E L"]

    def __len__(self) -> int:
        """How many tasks there are."""
        return len(self.start)


@runtime_checkable
class World(Environment, Protocol):
    """An environment in which episodes start where they are told and goals can be reached.

    kinds: names of the kinds of tasks, easiest first.
    """

    kinds: tuple[str, ...]

    def tasks(self, kind: str, count: int, seed: int) -> Tasks:
        """`count` tasks; task i depends on (kind, seed, i) alone."""
        ...

    def begin(self, tasks: Tasks) -> Batch:
        """First observations, world i at the start of task i."""
        ...

    def reached(self, state: Float[Tensor, "E S"], goal: Float[Tensor, "E S"]) -> Bool[Tensor, " E"]:
        """Whether each state meets its goal."""
        ...

    def wander(self, random: Random, steps: int) -> Float[Tensor, "B T A"]:
        """Smooth random actions, which collect the data and are the floor for planning; one row per sample."""
        ...


def check_kind(kind: str, kinds: tuple[str, ...], world: str) -> None:
    """Check the name of a kind of task.

    Raises:
        ConfigError: `world` has no such kind.
    """
    if kind not in kinds:
        raise ConfigError(f"{world} has no task {kind!r}; {suggest(kind, kinds)}")


def check_action(action: Tensor, count: int, width: int) -> None:
    """Check the actions that a world is about to take.

    Raises:
        ShapeError: not one row of `width` numbers per world.
        ConfigError: a number is not finite.
    """
    if action.shape != (count, width):
        raise ShapeError(f"actions of shape {tuple(action.shape)}; {count} worlds take ({count}, {width})")
    if not bool(action.isfinite().all()):
        rows = (~action.isfinite().all(1)).nonzero().flatten().tolist()
        raise ConfigError(f"actions of worlds {rows} are NaN or infinite; a world takes finite actions only")
