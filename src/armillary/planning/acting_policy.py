"""Methods that act without a search: their chunks of actions as a policy, averaged where they overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Dynamics
from ..errors import ConfigError
from ..types import Batch, Tokens


@runtime_checkable
class Acts(Protocol):
    """A trained method that tells what to do."""

    def act(self, batch: Batch, goal: Batch | None = None) -> Float[Tensor, "B H A"]:
        """The next (macro-)actions after the last frame of prepared windows, normalized as in training.

        goal: windows whose last frame is to be reached; a method that knows no goals does not look at it.
        """
        ...

    def encode(self, batch: Batch) -> Tokens:
        """A latent for each frame of windows."""
        ...


def is_policy(method: object) -> bool:
    """Whether a method acts and predicts no consequences of actions, so that there is nothing to search with."""
    return isinstance(method, Acts) and not isinstance(method, Dynamics)


class Viewed:
    """A policy where no more than latents of frames is asked: `start` and `latent` of dynamics that cannot step."""

    def __init__(self, method: Acts) -> None:
        self.method = method

    def start(self, batch: Batch) -> tuple[Tensor, ...]:
        """The latent of the last frame of windows."""
        last = {name: batch[name][:, -1:] for name in ("image", "proprio") if name in batch}
        return (self.method.encode(last).x[:, 0],)

    def step(self, state: tuple[Tensor, ...], action: Tensor) -> tuple[Tensor, ...]:
        """Not to be had.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{type(self.method).__name__} acts and does not tell what follows: it has no rollouts")

    def latent(self, state: tuple[Tensor, ...]) -> Float[Tensor, "B D"]:
        """The latent."""
        return state[0]


def ensembled(chunks: Sequence[Float[Tensor, "E H *A"]], rate: float) -> Float[Tensor, "E *A"]:
    """The action for now: the mean of what all chunks say of it, with weights exp(-rate * i), i = 0 the oldest.

    chunks: of the last steps, one made at each, oldest first; the last one begins now. Those that are over say nothing.
    Source: ACT (arXiv 2304.13705), section IV-A; its released code has rate 0.01.
    """
    said = [chunk[:, age] for age, chunk in zip(range(len(chunks) - 1, -1, -1), chunks, strict=True)
            if age < chunk.shape[1]]  # fmt: skip
    weight = torch.softmax(-rate * torch.arange(len(said), dtype=torch.float64), 0)
    return torch.stack([w * x for w, x in zip(weight.to(said[0]), said, strict=True)]).sum(0)


@dataclass(frozen=True)
class Chunks:
    """What an acting policy remembers: the chunks that still speak of steps to come, oldest first."""

    made: tuple[Tensor, ...]


@dataclass(frozen=True)
class Acting:
    """A method's chunks as a policy, inside the bounds.

    act:      maps a context (see `Receding`) to raw macro-actions [E, H, frame_skip, A] in the environment's units.
    execute:  macro-steps of a chunk that are taken before the next one is asked for.
    ensemble: rate of the weights by which chunks are averaged; one is then asked for at every macro-step, whatever
        `execute` says. None: the newest chunk alone.
    rows:     episodes that the method sees at once; more does not change an action.
    """

    act: Callable[[Batch], Float[Tensor, "E H k A"]]
    low: Float[Tensor, " A"]
    high: Float[Tensor, " A"]
    execute: int = 1
    ensemble: float | None = None
    rows: int = 64

    def __post_init__(self) -> None:
        if min(self.execute, self.rows) < 1:
            raise ConfigError(f"execute {self.execute}, rows {self.rows}; each must be 1 or more")
        if self.ensemble is not None and not abs(self.ensemble) < float("inf"):
            raise ConfigError(f"ensemble is {self.ensemble}; give a finite rate, e.g. 0.01, or none")

    @torch.no_grad()
    def __call__(self, context: Batch, step: int, memory: Any) -> tuple[Float[Tensor, "E n A"], Chunks]:
        """Raw actions of the next `execute` macro-steps.

        Raises:
            ConfigError: chunks are shorter than what is to be executed.
        """
        parts = torch.arange(len(context["index"])).split(self.rows)
        chunk = torch.cat([self.act({name: value[rows] for name, value in context.items()}) for rows in parts])
        chunk = chunk.clamp(self.low, self.high)
        if self.ensemble is not None:
            earlier = memory.made if isinstance(memory, Chunks) else ()
            made = (*earlier, chunk)[-chunk.shape[1] :]
            return ensembled(made, self.ensemble), Chunks(made)
        if chunk.shape[1] < self.execute:
            raise ConfigError(f"chunks have {chunk.shape[1]} macro-steps, execute asks for {self.execute} of them")
        return chunk[:, : self.execute].flatten(1, 2), Chunks(())
