"""Checks of what a batch holds, in words that name the setting to change."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError

HINTS = {"action": "the action's dimensions times data.frame_skip", "proprio": "its numbers, or to 0 to do without"}


def fitting(x: Float[Tensor, "*B A"] | None, width: int, name: str) -> Float[Tensor, "*B A"]:
    """`x`, if it is there and as wide as `method.<name>` says.

    Raises:
        ShapeError: it is missing or has another width.
    """
    if x is None or x.shape[-1] != width:
        held = "is missing in the batch" if x is None else f"has {x.shape[-1]} numbers"
        raise ShapeError(f"{name} {held}, the method was built for {width}: set method.{name} to {HINTS[name]}")
    return x
