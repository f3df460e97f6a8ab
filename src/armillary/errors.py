"""Errors for the user's mistakes. All are ValueErrors; a message says what was given, what is allowed, what to do."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


class ShapeError(ValueError):
    """A tensor has a shape that the called function cannot use."""


class ConfigError(ValueError):
    """A setting is impossible, unknown or contradicts another one."""


class DataError(ValueError):
    """A data set, file or sample cannot be used."""


class CheckpointError(ValueError):
    """A checkpoint or run folder is missing, damaged or belongs to something else."""


class CollapseError(ValueError):
    """Training stopped because its numbers became non-finite or its representations collapsed.

    since: the step from which on it was seen, 0 where that is not known. scale: factor of the learning rate then.
    """

    since: int = 0
    scale: float = 1.0


def require(low: float, high: float, **given: float | tuple[float, ...]) -> None:
    """Check that settings, and both ends of those that are ranges, are finite and lie in [low, high].

    Raises:
        ConfigError: some do not, or are no numbers; it names them all.
    """
    values = {name: value if isinstance(value, tuple) else (value,) for name, value in given.items()}
    wrong = [
        f"{name} is {given[name]}"
        for name, ends in values.items()
        if not all(low <= x <= high and math.isfinite(x) for x in ends)
    ]
    if wrong:
        allowed = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise ConfigError(f"{', '.join(wrong)}; {allowed} is allowed")


def ascending(**given: tuple[float, float]) -> None:
    """Check that ranges begin with their lower end.

    Raises:
        ConfigError: some do not.
    """
    wrong = [f"{name} is {value}" for name, value in given.items() if not value[0] <= value[1]]
    if wrong:
        raise ConfigError(f"{', '.join(wrong)}; the lower end comes first")


def suggest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known names, or all of them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}" if known else "none is known"
