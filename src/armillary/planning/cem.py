"""The cross-entropy method: refit a diagonal Gaussian over plans to the lowest-energy candidates, and repeat.

Departures from the published planners are named options: `include_mean`, `unbiased` and `std_min = 0` give
stable-worldmodel's and DINO-WM's, `keep_elites` and `correlation` go towards iCEM (2008.06389).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..contracts import Energy, Plan
from ..errors import ConfigError, ShapeError
from ..randomness import Random

Noise = Callable[[int], Float[Tensor, "B S H A"]]


@dataclass(frozen=True)
class CEM:
    """Plan with the cross-entropy method. Source: Rubinstein (1999); sizes of DINO-WM (2411.04983)."""

    horizon: int = 5  # macro-steps of a plan
    samples: int = 300  # new candidates in each iteration
    elites: int = 30  # candidates that the Gaussian is fitted to
    iterations: int = 10
    std: float = 0.5  # first standard deviation, as a fraction of each action's range
    std_min: float = 0.01  # floor of later ones, as a fraction of the range; 0 lets the search collapse
    correlation: float = 0.0  # of the noise between neighbouring steps (AR(1)); 0.9 proposes smooth motion
    keep_elites: int = 0  # best candidates that compete again in the next iteration, without a new evaluation
    include_mean: bool = False  # candidate 0 of every iteration is the mean itself
    unbiased: bool = False  # standard deviation of elites with n - 1, as the released planners compute it

    def __post_init__(self) -> None:
        if min(self.horizon, self.iterations) < 1 or not 1 <= self.elites <= self.samples:
            raise ConfigError(
                f"horizon {self.horizon}, iterations {self.iterations}, samples {self.samples}, elites {self.elites}; "
                "allowed are horizon and iterations >= 1 and elites from 1 to samples"
            )
        if not 0 <= self.keep_elites <= self.elites:
            raise ConfigError(f"keep_elites is {self.keep_elites}; allowed is 0 to elites, here {self.elites}")
        if not 0 <= self.correlation < 1 or self.std <= 0 or self.std_min < 0:
            raise ConfigError(
                f"correlation {self.correlation}, std {self.std}, std_min {self.std_min}; "
                "allowed are 0 <= correlation < 1, std > 0 and std_min >= 0"
            )

    @torch.no_grad()
    def __call__(
        self,
        energy: Energy,
        low: Float[Tensor, " A"],
        high: Float[Tensor, " A"],
        random: Random,
        start: Float[Tensor, "B H A"] | None = None,
        noise: Noise | None = None,
    ) -> Plan:
        """The lowest-energy plan that was seen: among the start, all candidates and the last mean.

        An energy that is not finite counts as infinite; where none is finite the start comes back with energy inf.

        Args:
            energy: maps candidates [B, S, H, A] to [B, S]; called iterations + 2 times.
            low, high: finite bounds of an action, in the units that `energy` takes.
            random: one sample per problem; iteration i draws from the stream `cem/i`.
            start: first mean, e.g. `Plan.shifted()`; default is the middle of the bounds.
            noise: recorded standard normal noise of iteration i, in place of `random`'s, for parity tests.
        Raises:
            ConfigError: bounds that are not finite or not in order, a start that is not finite.
            ShapeError: a start, noise or energy of another shape.
        """
        start = first_mean(low, high, random, self.horizon, start)
        span = high - low
        mean, std = start, (self.std * span).expand_as(start)
        best = Plan(start, evaluate(energy, start[:, None])[:, 0], std)
        kept, kept_value = start[:, None][:, :0], best.energy[:, None][:, :0]  # none before the first iteration
        for iteration in range(self.iterations):
            drawn = self._noise(random, iteration, len(low)) if noise is None else noise(iteration)
            plans = self._candidates(mean, std, drawn).clamp(low, high)  # [B, S, H, A]
            values = torch.cat([evaluate(energy, plans), kept_value], 1)
            value, index = values.topk(self.elites, dim=1, largest=False)
            elite = _take(torch.cat([plans, kept], 1), index)  # [B, elites, H, A]
            mean, std = self._refit(mean, std, elite, value.isfinite(), span)
            best = better(best, elite[:, 0], value[:, 0], std)
            kept, kept_value = elite[:, : self.keep_elites], value[:, : self.keep_elites]
        return better(best, mean, evaluate(energy, mean[:, None])[:, 0], std)

    def _noise(self, random: Random, iteration: int, actions: int) -> Float[Tensor, "B S H A"]:
        white = random.normal(f"cem/{iteration}", self.samples, self.horizon, actions)
        return smooth(white, self.correlation)

    def _candidates(
        self, mean: Float[Tensor, "B H A"], std: Float[Tensor, "B H A"], noise: Float[Tensor, "B S H A"]
    ) -> Float[Tensor, "B S H A"]:
        expected = (len(mean), self.samples, *mean.shape[1:])
        if noise.shape != expected:
            raise ShapeError(f"noise of shape {tuple(noise.shape)}; one iteration takes {expected}")
        plans = mean[:, None] + std[:, None] * noise
        return torch.cat([mean[:, None], plans[:, 1:]], 1) if self.include_mean else plans

    def _refit(
        self,
        mean: Float[Tensor, "B H A"],
        std: Float[Tensor, "B H A"],
        elite: Float[Tensor, "B K H A"],
        finite: Bool[Tensor, "B K"],
        span: Float[Tensor, " A"],
    ) -> tuple[Float[Tensor, "B H A"], Float[Tensor, "B H A"]]:
        """Mean and standard deviation of the elites of finite energy; the old ones where too few are left."""
        weight = finite.to(mean.dtype)[..., None, None]  # [B, K, 1, 1]
        count = weight.sum(1)
        fitted = (weight * elite).sum(1) / count.clamp_min(1)
        square = (weight * (elite - fitted[:, None]).square()).sum(1)
        spread = (square / (count - int(self.unbiased)).clamp_min(1)).sqrt().maximum(self.std_min * span)
        return torch.where(count >= 1, fitted, mean), torch.where(count >= min(2, self.elites), spread, std)


def smooth(white: Float[Tensor, "B S H A"], correlation: float) -> Float[Tensor, "B S H A"]:
    """AR(1) noise over the steps from white noise; its variance stays 1 at every step."""
    if correlation == 0:
        return white
    steps = [white[:, :, 0]]
    for step in white.unbind(2)[1:]:
        steps.append(correlation * steps[-1] + math.sqrt(1 - correlation**2) * step)
    return torch.stack(steps, 2)


def first_mean(
    low: Float[Tensor, " A"],
    high: Float[Tensor, " A"],
    random: Random,
    horizon: int,
    start: Float[Tensor, "B H A"] | None,
) -> Float[Tensor, "B H A"]:
    """`start` inside the bounds, or the middle of the bounds for every problem.

    Raises:
        ConfigError: bounds that are not finite or not in order, a start that is not finite.
        ShapeError: a start of another shape than [problems, horizon, actions].
    """
    if not bool((low < high).all() & low.isfinite().all() & high.isfinite().all()):
        raise ConfigError(f"bounds are {low.tolist()} to {high.tolist()}; each must be finite and low below high")
    expected = (len(random.sample), horizon, len(low))
    if start is None:
        return ((low + high) / 2).expand(expected)
    if start.shape != expected:
        raise ShapeError(f"start of shape {tuple(start.shape)}; problems, horizon and actions make it {expected}")
    if not bool(start.isfinite().all()):
        raise ConfigError(
            "start holds NaN or infinite actions; give a finite plan, or None for the middle of the bounds"
        )
    return start.clamp(low, high)


def evaluate(energy: Energy, plans: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S"]:
    """The energy of every candidate, with NaN and infinities as +inf.

    Raises:
        ShapeError: `energy` does not give one number per candidate.
    """
    value = energy(plans)
    if value.shape != plans.shape[:2]:
        raise ShapeError(
            f"the energy has shape {tuple(value.shape)} for candidates {tuple(plans.shape)}; "
            f"it must give one number per candidate, {tuple(plans.shape[:2])}"
        )
    return torch.where(value.isfinite(), value, torch.inf)


def better(
    best: Plan, actions: Float[Tensor, "B H A"], energy: Float[Tensor, " B"], std: Float[Tensor, "B H A"]
) -> Plan:
    """`best`, replaced by `actions` for the problems where their energy is lower; `std` replaces the spread of all."""
    improved = energy < best.energy
    return Plan(
        torch.where(improved[:, None, None], actions, best.actions), torch.where(improved, energy, best.energy), std
    )


def _take(plans: Float[Tensor, "B S H A"], index: Tensor) -> Float[Tensor, "B K H A"]:
    return plans.gather(1, index[..., None, None].expand(-1, -1, *plans.shape[2:]))
