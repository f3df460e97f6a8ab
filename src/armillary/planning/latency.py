"""Planning within a time limit: a search is shrunk until its plan, measured here, fits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy
from ..errors import ConfigError
from ..randomness import Random

ROUNDS, DRAWN = ("iterations", "steps"), ("samples", "restarts")  # a planner's fields, the first that it has
LEAST_ROUNDS, LEAST_DRAWN = 3, 8  # below which a search is none
CLOSER = 0.95  # of the size that would just fit if nothing but candidates took time: the next one tried


@dataclass(frozen=True)
class Fit:
    """A planner and the seconds that a plan of it takes here, and those of the whole one that was asked for."""

    planner: Any
    seconds: float
    whole: float


def rounds(planner: Any) -> int:
    """Rounds of a planner; 1 where it has none."""
    return next((getattr(planner, name) for name in ROUNDS if hasattr(planner, name)), 1)


def drawn(planner: Any) -> int:
    """Candidates of a round.

    Raises:
        ConfigError: the planner has neither samples nor restarts.
    """
    name = _first(planner, DRAWN)
    if name is None:
        raise ConfigError(f"{type(planner).__name__} has no field of {', '.join(DRAWN)}: its cost cannot be bounded")
    return getattr(planner, name)


def sized(planner: Any, share: float) -> Any:
    """The planner with a share of its candidates in all; rounds and candidates of a round shrink by the same factor.

    Rounds shrink to `LEAST_ROUNDS` and candidates to `LEAST_DRAWN` at the least, or to what the planner has where that
    is less; elites in proportion, to 2.
    """
    before, repeats = drawn(planner), rounds(planner)
    fewer = min(repeats, max(LEAST_ROUNDS, round(repeats * share**0.5)))
    candidates = min(before, max(LEAST_DRAWN, round(before * repeats * share / fewer)))
    sizes = ((_first(planner, DRAWN), candidates), (_first(planner, ROUNDS), fewer))
    changes: dict[str, int] = {name: size for name, size in sizes if name is not None}
    if isinstance(elites := getattr(planner, "elites", None), int):
        changes["elites"] = min(candidates, max(min(2, elites), round(elites * candidates / before)))
    if (kept := getattr(planner, "keep_elites", 0)) and "elites" in changes:
        changes["keep_elites"] = min(kept, changes["elites"])
    return replace(planner, **changes)


def took(
    planner: Any, energy: Energy, low: Float[Tensor, " A"], high: Float[Tensor, " A"], random: Random, repeats: int = 5
) -> float:
    """Seconds of a plan on this machine now: the median of `repeats`, after one that warms up."""
    return timed(lambda: planner(energy, low, high, random), repeats)


def timed(call: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of a call on this machine now: the median of `repeats`, after one that warms up."""
    spent = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        call()
        spent.append(time.perf_counter() - begun)
    return statistics.median(spent[1:])


def fitting(
    planner: Any, energy: Energy, low: Float[Tensor, " A"], high: Float[Tensor, " A"], random: Random, seconds: float
) -> Fit:
    """The planner itself where its plan takes no longer than `seconds`, else one that is shrunk until it does not.

    Every size that is tried is measured. Where even the least is too slow, it comes back, and `Fit.seconds` tells.
    Raises:
        ConfigError: seconds not above 0, or a planner whose size is not known.
    """
    if not seconds > 0:
        raise ConfigError(f"a plan within {seconds} s; give a time above 0")
    now, share, least = planner, 1.0, sized(planner, 0.0)
    whole = spent = took(now, energy, low, high, random)
    while spent > seconds and now != least:
        share *= min(CLOSER, CLOSER * seconds / spent)
        smaller = sized(planner, share)
        now = smaller if smaller != now else least
        spent = took(now, energy, low, high, random)
    return Fit(now, spent, whole)


def _first(planner: Any, names: tuple[str, ...]) -> str | None:
    held = {field.name for field in fields(planner)}
    return next((name for name in names if name in held), None)
