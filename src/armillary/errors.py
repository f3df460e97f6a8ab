"""Errors for the user's mistakes. All are ValueErrors; a message says what was given, what is allowed, what to do."""

from __future__ import annotations

import difflib
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
    """Training stopped because its numbers became non-finite or its representations collapsed."""


def suggest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known names, or all of them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}" if known else "none is known"
