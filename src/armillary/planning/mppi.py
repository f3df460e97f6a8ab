"""MPPI: refit a Gaussian over plans to candidates weighed by softmax(-(energy - lowest) / temperature)."""

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
class MPPI:
    """Plan by model predictive path integrals. Source: Williams et al. (1707.02342); TD-MPC2 (2310.16828).

    The temperature divides the energies. Planners whose "temperature" multiplies them (TD-MPC2, eb_jepa, jepa-wms)
    have an inverse temperature: give 1 / theirs, as `presets` does.
    """

    horizon: int = 5
    """macro-steps of a plan"""
    samples: int = 300
    """new candidates in each iteration"""
    iterations: int = 10
    """rounds of proposing and refitting"""
    temperature: float = 0.5
    """what differences of energy are divided by, in units of the energy; lower is greedier"""
    elites: int | None = None
    """candidates that have a weight at all; None is all"""
    std: Fraction = 0.5
    """first standard deviation, as a fraction of each action's range; one number, or one for each action"""
    refit_std: bool = True
    """fit the standard deviation too; else it stays as it was"""
    std_min: float = 0.01
    """floor of the fitted standard deviation, as a fraction of the range"""
    std_max: float | None = None
    """ceiling of it, as a fraction of the range"""
    correlation: float = 0.0
    """of the noise between neighboring steps (AR(1)); 0.9 proposes smooth motion"""
    include_mean: bool = False
    """candidate 0 of every iteration is the mean itself"""
    momentum: float = 0.0
    """share of the old mean, and of the old standard deviation, in the new ones"""
    noise_penalty: bool = False
    """weigh by energy + temperature * sum(mean * noise / std^2), the control cost of the information-theoretic form"""

    def __post_init__(self) -> None:
        require(1, float("inf"), horizon=self.horizon, iterations=self.iterations, samples=self.samples)
        require(1, self.samples, elites=self.samples if self.elites is None else self.elites)
        require(0, 1, momentum=self.momentum)
        require(0, float("inf"), std_min=self.std_min)
        require(1e-9, float("inf"), std=self.std, temperature=self.temperature)
        if self.std_max is not None:
            require(max(self.std_min, 1e-9), float("inf"), std_max=self.std_max)
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

        Arguments and errors are those of `CEM`; iteration i draws from the stream `mppi/i`.
        """
        mean, span = first_mean(low, high, random, self.horizon, start), high - low
        floor = self.std_min * span
        ceiling = torch.full_like(span, torch.inf) if self.std_max is None else self.std_max * span

        def propose(i: int, now: Gaussian) -> Tensor:
            white = random.normal(f"mppi/{i}", self.samples, *mean.shape[1:]) if noise is None else noise(i)
            drawn = smooth(white, self.correlation) if noise is None else white
            return candidates(now, drawn, self.samples, self.include_mean, proposals)

        def refit(now: Gaussian, elite: Tensor, score: Tensor) -> Gaussian:
            new = mixed(now, fitted(now, elite, score, self.temperature), self.momentum, self.momentum)
            return Gaussian(new.mean, new.std.maximum(floor).minimum(ceiling) if self.refit_std else now.std)

        def penalty(plans: Tensor, now: Gaussian) -> Tensor:
            per_unit = now.mean / now.std.square().clamp_min(torch.finfo(now.std.dtype).tiny)
            return self.temperature * (per_unit[:, None] * (plans - now.mean[:, None])).sum((-1, -2))

        first = Gaussian(mean, spread(self.std, span).expand_as(mean))
        elites = self.elites or self.samples + (0 if proposals is None else proposals.shape[1])
        return search(
            energy, within(low, high, project), first, self.iterations, elites, propose, refit,
            penalty=penalty if self.noise_penalty else None, watch=watch,
        )  # fmt: skip
