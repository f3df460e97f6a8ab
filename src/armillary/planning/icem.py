"""iCEM: the cross-entropy method made sample-efficient by colored noise, kept elites and shrinking rounds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy, Plan
from ..errors import require
from ..randomness import Random
from .noise import colored
from .plans import Project, first_mean, within
from .search import Fraction, Gaussian, Noise, Watch, candidates, fitted, mixed, search, spread


@dataclass(frozen=True)
class ICEM:
    """Plan with the improved cross-entropy method. Source: 2008.06389, algorithm 1; martius-lab/iCEM.

    Departures: a floor of the standard deviation (0 is the paper's); the noise has variance 1 at every step; all plans
    compete for the result, the paper's are those of the last round.
    """

    horizon: int = 5
    """macro-steps of a plan"""
    samples: int = 300
    """new candidates in the first round"""
    elites: int = 10
    """candidates that the Gaussian is fitted to"""
    iterations: int = 5
    """rounds of proposing and refitting"""
    std: Fraction = 0.25
    """first standard deviation, as a fraction of each action's range; one number, or one for each action"""
    std_min: float = 0.01
    """floor of later ones, as a fraction of the range; 0 lets the search collapse"""
    exponent: float = 2.0
    """power of the noise falls as 1 / frequency^exponent; 0 is white, 2 to 4 suits slow systems"""
    decay: float = 1.25
    """factor by which rounds shrink, down to twice the elites"""
    keep_elites: int = 3
    """best candidates that compete again in the next round, without a new evaluation"""
    momentum: float = 0.1
    """share of the old mean and of the old standard deviation in the new ones"""

    def __post_init__(self) -> None:
        require(1, float("inf"), horizon=self.horizon, iterations=self.iterations, decay=self.decay)
        require(1, self.samples, elites=self.elites)
        require(0, self.elites, keep_elites=self.keep_elites)
        require(0, 1, momentum=self.momentum)
        require(0, float("inf"), std_min=self.std_min, exponent=self.exponent)
        require(1e-9, float("inf"), std=self.std)

    def size(self, iteration: int) -> int:
        """Candidates that are drawn in this round."""
        return max(int(self.samples * self.decay**-iteration), min(2 * self.elites, self.samples))

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
        """The lowest-energy plan that was seen; candidate 0 of the last round is the mean.

        As `CEM`, but for:
        Args:
            random: round i draws from the stream `icem/i`.
            noise: of round i, [B, size(i), H, A], in place of colored noise from `random`.
            proposals: plans that compete in the first round, e.g. the last plan's elites by `Round.shifted`.
        Raises:
            ConfigError, ShapeError: as `CEM`.
        """
        mean, span = first_mean(low, high, random, self.horizon, start), high - low
        floor = self.std_min * span
        frequencies = self.horizon // 2 + 1

        def propose(i: int, now: Gaussian) -> Tensor:
            count = self.size(i)
            if noise is None:
                white = random.normal(f"icem/{i}", count, 2, frequencies, len(low))
                drawn = colored(white, self.horizon, self.exponent)
            else:
                drawn = noise(i)
            return candidates(now, drawn, count, i == self.iterations - 1, proposals if i == 0 else None)

        def refit(now: Gaussian, elite: Tensor, score: Tensor) -> Gaussian:
            new = mixed(now, fitted(now, elite, score), self.momentum, self.momentum)
            return Gaussian(new.mean, new.std.maximum(floor))

        first = Gaussian(mean, spread(self.std, span).expand_as(mean))
        return search(
            energy, within(low, high, project), first, self.iterations, self.elites, propose, refit,
            keep=self.keep_elites, watch=watch,
        )  # fmt: skip
