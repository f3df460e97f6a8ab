"""One number that ranks checkpoints and runs without labels."""

from __future__ import annotations

from .reading import Reading


def score(reading: Reading) -> float | None:
    """Minus the uniformity of the embeddings: how far apart inputs lie on the sphere. Higher is better, 0 a collapse.

    None where it cannot be told. Provisional: it is not measured yet how well it orders runs (docs/guide/radar.md). The
    effective rank, which stood here before, is highest where embeddings are noise around one point: a collapsed run
    came before a healthy one (docs/log.md).
    """
    value = reading.get("uniformity")
    return None if reading.broken or value is None else -value
