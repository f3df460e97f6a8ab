"""Several world models as one: the latent is the mean of theirs, and where they disagree none has seen enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Dynamics
from ..errors import ConfigError
from ..types import Batch


class Ensemble:
    """Dynamics of the same kind side by side; keeps the contract of dynamics.

    Members must share one latent space, as predictors on one encoder do: means of unrelated spaces mean nothing.
    Raises:
        ConfigError: fewer than 2 members.
    """

    def __init__(self, members: Sequence[Dynamics[Any]]) -> None:
        if len(members) < 2:
            raise ConfigError(f"an ensemble of {len(members)} cannot disagree; give 2 members or more")
        self.members = tuple(members)

    def start(self, batch: Batch) -> tuple[Tensor, ...]:
        """The states of all members, one after another."""
        return tuple(x for member in self.members for x in member.start(batch))

    def step(self, state: tuple[Tensor, ...], action: Float[Tensor, "B A"]) -> tuple[Tensor, ...]:
        """Each member's state after one more action."""
        pairs = zip(self.members, self.split(state), strict=True)
        return tuple(x for member, own in pairs for x in member.step(own, action))

    def latent(self, state: tuple[Tensor, ...]) -> Float[Tensor, "B *L D"]:
        """The mean over the members."""
        return self.latents(state).mean(0)

    def latents(self, state: tuple[Tensor, ...]) -> Float[Tensor, "M B *L D"]:
        """The latent of each member."""
        pairs = zip(self.members, self.split(state), strict=True)
        return torch.stack([member.latent(own) for member, own in pairs])

    def split(self, state: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
        """The states of the members.

        Raises:
            ConfigError: the members keep states of unequal numbers of tensors.
        """
        each, rest = divmod(len(state), len(self.members))
        if rest:
            raise ConfigError(f"{len(self.members)} members share {len(state)} tensors: use members of the same kind")
        return [state[i : i + each] for i in range(0, len(state), each)]
