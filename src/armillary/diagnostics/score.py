"""One number that ranks checkpoints and runs without labels."""

from __future__ import annotations

import math

from .reading import Reading


def score(reading: Reading) -> float | None:
    """Higher is better; None where it cannot be told."""
    rank = reading.get("effective_rank")
    return None if reading.broken or not rank else math.log(rank)
