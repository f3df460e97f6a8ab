"""World models that roll many plans out faster than by repeated steps, to the same latents up to rounding."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Dynamics

State = TypeVar("State")


@runtime_checkable
class FastDynamics(Dynamics[State], Protocol[State]):
    """Dynamics with a way of their own to roll out; what it shares between candidates and steps is theirs to know."""

    def rollouts(self, state: State, actions: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S H *L D"]:
        """The latents after each action of S candidates from each of B states, as `step` and `latent` would give."""
        ...


def folded(dynamics: Dynamics[Any], dtype: torch.dtype = torch.float32) -> Dynamics[Any]:
    """The dynamics with the weights that they have now in a form for planning, where they offer one, else themselves.

    Args:
        dtype: of weights and products of that form; bfloat16 rounds latents, hence also what is planned.
    """
    offered = getattr(dynamics, "folded", None)
    return dynamics if offered is None else offered(dtype)
