"""Search by sampling: propose plans, weigh the best of them, refit a Gaussian to them, repeat.

CEM, iCEM and MPPI are this loop with other proposals and weights, and so are the planners that papers release. What
those return instead of the best plan seen (the last mean, an elite drawn by its weight) is read off the last `Round`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy, Plan
from ..errors import ConfigError, ShapeError
from ..randomness import Random
from .plans import Project, best_of, better, evaluate, finite, take

Noise = Callable[[int], Float[Tensor, "B S H A"]]
Fraction = float | tuple[float, ...]


class Gaussian(NamedTuple):
    """A distribution of plans whose actions are independent."""

    mean: Float[Tensor, "B H A"]
    std: Float[Tensor, "B H A"]


@dataclass(frozen=True)
class Round:
    """What one round of a search did, for a caller who passes `watch`.

    plans, energy: the candidates that were evaluated, inside the bounds; [B, S, H, A] and [B, S].
    elite, score:  the best of them and of those kept, the lowest score first; a score is the energy and, in MPPI, the
                   penalty of the noise.
    mean, std:     of the next round's proposals; of the last round, what most released planners return.
    """

    plans: Float[Tensor, "B S H A"]
    energy: Float[Tensor, "B S"]
    elite: Float[Tensor, "B K H A"]
    score: Float[Tensor, "B K"]
    mean: Float[Tensor, "B H A"]
    std: Float[Tensor, "B H A"]

    def drawn(self, temperature: float, random: Random) -> Float[Tensor, "B H A"]:
        """One elite per problem, drawn with probability softmax(-score / temperature), as TD-MPC2 and others act.

        Where no score is finite it is the first one.
        """
        weight = softmin(self.score, temperature)
        below = weight.cumsum(1) <= random.uniform("drawn", 1) * weight.sum(1, keepdim=True)
        index = below.sum(1, keepdim=True) * (weight.sum(1, keepdim=True) > 0)
        return take(self.elite, index.clamp_max(weight.shape[1] - 1))[:, 0]

    def shifted(self, count: int, steps: int = 1) -> Float[Tensor, "B K H A"]:
        """The `count` best elites as proposals after `steps` actions were taken; the last action is repeated."""
        steps = min(steps, self.elite.shape[2])
        kept = self.elite[:, :count]
        return torch.cat([kept[:, :, steps:], kept[:, :, -1:].expand(-1, -1, steps, -1)], 2)


Watch = Callable[[Round], object]
Propose = Callable[[int, Gaussian], Float[Tensor, "B S H A"]]
Refit = Callable[[Gaussian, Float[Tensor, "B K H A"], Float[Tensor, "B K"]], Gaussian]
Penalty = Callable[[Float[Tensor, "B S H A"], Gaussian], Float[Tensor, "B S"]]


def search(
    energy: Energy,
    inside: Project,
    first: Gaussian,
    rounds: int,
    elites: int,
    propose: Propose,
    refit: Refit,
    *,
    keep: int = 0,
    penalty: Penalty | None = None,
    watch: Watch | None = None,
) -> Plan:
    """The lowest-energy plan that was seen: among the first mean, all candidates and the last mean.

    Args:
        energy: called rounds + 2 times; one that is not finite counts as infinite.
        inside: puts plans inside the bounds, before they are evaluated and before the Gaussian is fitted to them.
        propose: candidates of a round. `refit` makes the next Gaussian from the elites and their scores.
        keep: elites that compete again in the next round, without a new evaluation.
        penalty: added to the energies to rank and weigh the candidates; the best plan is that of the lowest energy.
        watch: called after every round.
    """
    now = Gaussian(inside(first.mean[:, None])[:, 0], first.std)
    best = Plan(now.mean, evaluate(energy, now.mean[:, None])[:, 0], now.std)
    kept, kept_value = now.mean[:, None][:, :0], best.energy[:, None][:, :0]  # none before the first round
    for i in range(rounds):
        plans = inside(propose(i, now))  # [B, S, H, A]
        value = evaluate(energy, plans)
        pool, pooled = torch.cat([plans, kept], 1), torch.cat([value, kept_value], 1)
        score = pooled if penalty is None else finite(pooled + penalty(pool, now))
        score, index = score.topk(elites, dim=1, largest=False)
        elite = take(pool, index)  # [B, K, H, A]
        now = refit(now, elite, score)
        best = best_of(best, plans, value, now.std)
        kept, kept_value = elite[:, :keep], pooled.gather(1, index[:, :keep])
        if watch is not None:
            watch(Round(plans, value, elite, score, *now))
    last = inside(now.mean[:, None])
    return better(best, last[:, 0], evaluate(energy, last)[:, 0], now.std)


def softmin(score: Float[Tensor, "B K"], temperature: float) -> Float[Tensor, "B K"]:
    """Weights exp(-(score - lowest) / temperature): 1 for the lowest score, 0 for one that is not finite.

    The temperature divides; what other planners multiply by is its inverse. An infinite one weighs all alike: CEM.
    """
    gap = score - score.amin(1, keepdim=True)
    return torch.where(score.isfinite(), (-gap / temperature).exp(), 0.0)


def fitted(
    now: Gaussian,
    elite: Float[Tensor, "B K H A"],
    score: Float[Tensor, "B K"],
    temperature: float = math.inf,
    unbiased: bool = False,
) -> Gaussian:
    """Weighted mean and standard deviation of the elites; the old ones where too few have a finite score.

    unbiased: divide by W - sum(w^2) / W instead of W, the sum of weights; n - 1 for n equal weights.
    """
    weight = softmin(score, temperature)[..., None, None]  # [B, K, 1, 1]
    tiny = torch.finfo(weight.dtype).tiny
    total = weight.sum(1)
    mean = (weight * elite).sum(1) / total.clamp_min(tiny)
    square = (weight * (elite - mean[:, None]).square()).sum(1)
    if unbiased:
        total = total - weight.square().sum(1) / total.clamp_min(tiny)
    std = (square / total.clamp_min(tiny)).sqrt()
    count = score.isfinite().sum(1)[:, None, None]
    enough = count >= min(2, score.shape[1])
    return Gaussian(torch.where(count >= 1, mean, now.mean), torch.where(enough, std, now.std))


def mixed(now: Gaussian, new: Gaussian, momentum: float, std_momentum: float) -> Gaussian:
    """`new` with a share of the old mean and of the old standard deviation."""
    mean = new.mean if momentum == 0 else momentum * now.mean + (1 - momentum) * new.mean
    std = new.std if std_momentum == 0 else std_momentum * now.std + (1 - std_momentum) * new.std
    return Gaussian(mean, std)


def spread(std: Fraction, span: Float[Tensor, " A"]) -> Float[Tensor, " A"]:
    """Fractions of the actions' ranges, one for all or one for each, in the units of the actions.

    Raises:
        ConfigError: another number of fractions than of actions.
    """
    if not isinstance(std, tuple):
        return std * span
    if len(std) != len(span):
        raise ConfigError(
            f"std has {len(std)} fractions, {std}, for {len(span)} actions; give one for each or one number"
        )
    return torch.tensor(std, dtype=span.dtype, device=span.device) * span


def candidates(
    now: Gaussian,
    noise: Float[Tensor, "B S H A"],
    samples: int,
    include_mean: bool = False,
    proposals: Float[Tensor, "b P h a"] | None = None,
) -> Float[Tensor, "B N H A"]:
    """`proposals`, then mean + std * noise; with `include_mean` the first of these is the mean itself.

    Raises:
        ShapeError: noise or proposals of another shape.
        ConfigError: proposals that are not finite.
    """
    problems, *plan = now.mean.shape
    if noise.shape != (problems, samples, *plan):
        raise ShapeError(f"noise of shape {tuple(noise.shape)}; one iteration takes {(problems, samples, *plan)}")
    plans = now.mean[:, None] + now.std[:, None] * noise
    if include_mean:
        plans = torch.cat([now.mean[:, None], plans[:, 1:]], 1)
    if proposals is None:
        return plans
    if (len(proposals), *proposals.shape[2:]) != (problems, *plan):
        raise ShapeError(f"proposals of shape {tuple(proposals.shape)}; give ({problems}, any number, *{tuple(plan)})")
    if not bool(proposals.isfinite().all()):
        raise ConfigError("proposals hold NaN or infinite actions; leave those plans out")
    return torch.cat([proposals.to(plans), plans], 1)
