"""The cross-entropy method: refit a diagonal Gaussian over plans to the lowest-energy candidates, and repeat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy, Plan
from ..errors import ConfigError, require
from ..randomness import Random
from .noise import smooth
from .plans import Project, first_mean, within
from .search import Fraction, Gaussian, Noise, Watch, candidates, fitted, mixed, search, spread


@dataclass(frozen=True)
class CEM:
    """Plan with the cross-entropy method. Source: Rubinstein (1999); sizes of DINO-WM (2411.04983).

    Released planners are settings of it (`presets`): most take `include_mean`, `unbiased` and `std_min = 0`.
    """

    horizon: int = 5
    """macro-steps of a plan"""
    samples: int = 300
    """new candidates in each iteration"""
    elites: int = 30
    """candidates that the Gaussian is fitted to"""
    iterations: int = 10
    """rounds of proposing and refitting"""
    std: Fraction = 0.5
    """first standard deviation, as a fraction of each action's range; one number, or one for each action"""
    std_min: float = 0.01
    """floor of later ones, as a fraction of the range; 0 lets the search collapse"""
    correlation: float = 0.0
    """of the noise between neighboring steps (AR(1)); 0.9 proposes smooth motion"""
    keep_elites: int = 0
    """best candidates that compete again in the next iteration, without a new evaluation"""
    include_mean: bool = False
    """candidate 0 of every iteration is the mean itself"""
    unbiased: bool = False
    """standard deviation of elites with n - 1, as the released planners compute it"""
    momentum: float = 0.0
    """share of the old mean in the new one"""
    std_momentum: float = 0.0
    """share of the old standard deviation in the new one"""
    std_added: float = 0.0
    """added to the standard deviation in quadrature, as a fraction of the range; a floor without an edge (PlaNet)"""
    max_norm: float | None = None
    """longest action, in the Euclidean norm and the units of actions; longer candidates are shortened"""

    def __post_init__(self) -> None:
        require(1, float("inf"), horizon=self.horizon, iterations=self.iterations)
        require(1, self.samples, elites=self.elites)
        require(0, self.elites, keep_elites=self.keep_elites)
        require(0, 1, momentum=self.momentum, std_momentum=self.std_momentum)
        require(0, float("inf"), std_min=self.std_min, std_added=self.std_added)
        require(1e-9, float("inf"), std=self.std, max_norm=1.0 if self.max_norm is None else self.max_norm)
        if not 0 <= self.correlation < 1:
            raise ConfigError(f"correlation is {self.correlation}; allowed is 0 to below 1")

    @torch.no_grad()
    def __call__(
        self,
        energy: Energy,
        low: Float[Tensor, " A"],
        high: Float[Tensor, " A"],
        random: Random,
        start: Float[Tensor, "B H A"] | None = None,
        *,
        noise: Noise | None = None,
        proposals: Float[Tensor, "B P H A"] | None = None,
        project: Project | None = None,
        watch: Watch | None = None,
    ) -> Plan:
        """The lowest-energy plan that was seen: among the start, all candidates and the last mean.

        An energy that is not finite counts as infinite; where none is finite the start comes back with energy inf.

        Args:
            energy: maps candidates [B, S, H, A] to [B, S]; called iterations + 2 times.
            low, high: finite bounds of an action, in the units that `energy` takes.
            random: one sample per problem; iteration i draws from the stream `cem/i`.
            start: first mean, e.g. `Plan.shifted()`; default is the middle of the bounds.
            noise: standard normal noise of iteration i, in place of `random`'s.
            proposals: plans, e.g. a policy's, that are evaluated and compete in every iteration.
            project: maps candidates to allowed ones before they are clipped, evaluated and fitted to.
            watch: is told what every iteration did.
        Raises:
            ConfigError: bounds that are not finite or not in order, a start or proposals that are not finite.
            ShapeError: a start, proposals, noise or energy of another shape.
        """
        mean, span = first_mean(low, high, random, self.horizon, start), high - low
        floor, added = self.std_min * span, self.std_added * span

        def propose(i: int, now: Gaussian) -> Tensor:
            white = random.normal(f"cem/{i}", self.samples, *mean.shape[1:]) if noise is None else noise(i)
            drawn = smooth(white, self.correlation) if noise is None else white
            return candidates(now, drawn, self.samples, self.include_mean, proposals)

        def refit(now: Gaussian, elite: Tensor, score: Tensor) -> Gaussian:
            new = fitted(now, elite, score, unbiased=self.unbiased)
            std = new.std if self.std_added == 0 else torch.hypot(new.std, added.expand_as(new.std))
            new = mixed(now, Gaussian(new.mean, std), self.momentum, self.std_momentum)
            return Gaussian(new.mean, new.std.maximum(floor))

        first = Gaussian(mean, spread(self.std, span).expand_as(mean))
        return search(
            energy, within(low, high, project, self.max_norm), first, self.iterations, self.elites, propose, refit,
            keep=self.keep_elites, watch=watch,
        )  # fmt: skip
