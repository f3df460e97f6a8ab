"""Planning within a time limit: what a plan costs here, measured, and the largest search that fits."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy
from ..errors import ConfigError
from ..randomness import Random

ROUNDS, DRAWN = ("iterations", "steps"), ("samples", "restarts")  # a planner's fields, the first that it has
LEAST_ROUNDS, LEAST_DRAWN = 3, 8  # below which a search is none


@dataclass(frozen=True)
class Cost:
    """Seconds of a plan: `fixed` + `each` times the candidates of all rounds."""

    fixed: float
    each: float

    def of(self, planner: Any) -> float:
        """Seconds that a planner of these sizes is expected to take."""
        return self.fixed + self.each * rounds(planner) * drawn(planner)


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


def sized(planner: Any, candidates: int, repeats: int) -> Any:
    """The planner with so many candidates in each of so many rounds, and its elites in proportion, at least 2."""
    before, sizes = drawn(planner), ((_first(planner, DRAWN), candidates), (_first(planner, ROUNDS), repeats))
    changes: dict[str, int] = {name: size for name, size in sizes if name is not None}
    if isinstance(elites := getattr(planner, "elites", None), int):
        changes["elites"] = min(candidates, max(min(2, elites), round(elites * candidates / before)))
    if (kept := getattr(planner, "keep_elites", 0)) and "elites" in changes:
        changes["keep_elites"] = min(kept, changes["elites"])
    return replace(planner, **changes)


def measured(
    planner: Any, energy: Energy, low: Float[Tensor, " A"], high: Float[Tensor, " A"], random: Random, repeats: int = 3
) -> Cost:
    """What plans cost on this machine now, from a small and a whole round, each the fastest of `repeats` runs."""
    whole = sized(planner, drawn(planner), 1)
    small = sized(planner, max(LEAST_DRAWN, drawn(planner) // 4), 1)
    if drawn(small) >= drawn(whole):
        whole = sized(planner, 4 * drawn(small), 1)

    def fastest(searching: Any) -> float:
        spent = []
        for _ in range(repeats + 1):  # the first one warms up
            begun = time.perf_counter()
            searching(energy, low, high, random)
            spent.append(time.perf_counter() - begun)
        return min(spent[1:])

    quick, slow = fastest(small), fastest(whole)
    each = max(1e-9, (slow - quick) / (drawn(whole) - drawn(small)))
    return Cost(max(0.0, quick - each * drawn(small)), each)


def affordable(planner: Any, cost: Cost, seconds: float) -> Any:
    """The planner itself where it fits into `seconds`, else one with fewer candidates in all.

    Rounds and candidates of a round shrink by the same factor, rounds to `LEAST_ROUNDS` and candidates to `LEAST_DRAWN`
    at the least (or to what the planner has, where that is less); below that nothing can be saved, and `Cost.of` tells.
    Raises:
        ConfigError: seconds not above 0.
    """
    if not seconds > 0:
        raise ConfigError(f"a plan within {seconds} s; give a time above 0")
    before = rounds(planner) * drawn(planner)
    candidates = int((seconds - cost.fixed) / cost.each)
    if candidates >= before:
        return planner
    few = _between(LEAST_DRAWN, int(drawn(planner) * max(0.0, candidates / before) ** 0.5), drawn(planner))
    fewer = _between(LEAST_ROUNDS, candidates // few, rounds(planner))
    return sized(planner, _between(LEAST_DRAWN, candidates // fewer, drawn(planner)), fewer)


def _between(least: int, wanted: int, most: int) -> int:
    return min(most, max(least, wanted))


def _first(planner: Any, names: tuple[str, ...]) -> str | None:
    held = {field.name for field in fields(planner)}
    return next((name for name in names if name in held), None)
