"""The way that is left to a goal, learned on frozen latents of any world model: a value as the energy of its plans.

An MLP maps latents to where an interval quasi-metric tells how many steps it is from one to the other; recorded
episodes alone teach it, by implicit Q-learning. Source: arXiv 2601.00844, there of the encoder itself (`value_guided`),
which is left as it is here; HILP (2402.15567).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError, DataError, require
from ..functional.value import interval, reaching
from ..randomness import numbered
from .readout import flat


@dataclass(frozen=True)
class Valuing:
    """How the value is fitted. Discount and expectile: those of 2601.00844 for quasi-metrics, appendix A.2."""

    hidden: int = 256
    """width of the two hidden layers"""
    width: int = 64
    """numbers that the quasi-metric compares"""
    group: int = 8
    """numbers in one of its components"""
    discount: float = 0.93
    """of one macro-step"""
    expectile: float = 0.6
    """1/2 learns the ways that the data took, toward 1 the shortest of them"""
    own: float = 0.5
    """share of the goals that are later frames of the same episode; the others are any frames"""
    steps: int = 1500
    """optimizer steps"""
    batch: int = 256
    """recorded steps in an optimizer step, each with a goal"""
    rate: float = 1e-3
    """learning rate of AdamW; its cosine ends at 0"""

    def __post_init__(self) -> None:
        require(1, math.inf, hidden=self.hidden, width=self.width, group=self.group, steps=self.steps, batch=self.batch)
        require(1e-9, math.inf, rate=self.rate)
        require(0, 1, discount=self.discount, expectile=self.expectile, own=self.own)
        if self.width % self.group:
            raise ConfigError(f"width {self.width} is no multiple of group {self.group}: choose another one")


class Way(nn.Module):
    """How far it is from latents to goals' latents, >= 0, in discounted steps."""

    def __init__(self, latents: Float[Tensor, "n F"], settings: Valuing) -> None:
        super().__init__()
        self.group, hidden = settings.group, settings.hidden
        self.middle = nn.Parameter(latents.mean(0), requires_grad=False)
        self.spread = nn.Parameter(latents.std(0, correction=0).clamp_min(1e-6), requires_grad=False)
        self.balance = nn.Parameter(torch.tensor(-1.0))  # of the largest component beside their mean, before a sigmoid
        self.layers = nn.Sequential(
            nn.Linear(latents.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, settings.width),
        )  # fmt: skip

    def forward(self, z: Float[Tensor, "n *L D"], goal: Float[Tensor, "n *L D"]) -> Float[Tensor, " n"]:
        """Of each latent to the goal beside it."""
        here, there = self.layers((flat(torch.cat([z, goal])) - self.middle) / self.spread).chunk(2)
        return interval(here, there, self.group, self.balance.sigmoid())


def fitted(latents: Sequence[Float[Tensor, "_T *L D"]], settings: Valuing = Valuing(), seed: int = 0) -> Way:
    """The way between latents, fitted to episodes of them; a function of its inputs and the seed.

    Raises:
        DataError: no episode has two frames, or a latent is not finite.
    """
    lengths = torch.tensor([len(part) for part in latents])
    if not len(lengths) or int(lengths.max()) < 2:
        raise DataError("no episode has a step; a value needs episodes of 2 frames or more")
    x = torch.cat([flat(part) for part in latents]).detach()
    if not bool(x.isfinite().all()):
        raise DataError("some latents are not finite; a value cannot be fitted to them")
    place = torch.cat([torch.arange(int(n)) for n in lengths])
    left = lengths.repeat_interleave(lengths) - 1 - place  # frames that follow in the episode
    starts = (left > 0).nonzero().flatten()
    rows = numbered(settings.steps, seed)  # of numbers, one for each step
    drawn = rows.integers("value/frame", len(starts), settings.batch)
    others = rows.integers("value/goal", len(x), settings.batch)
    kind, later = rows.uniform("value/kind", settings.batch), rows.uniform("value/later", settings.batch)
    way = _new(x, settings, seed)
    optimizer = torch.optim.AdamW([p for p in way.parameters() if p.requires_grad], lr=settings.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    with torch.enable_grad():
        for chosen, other, which, share in zip(drawn, others, kind, later, strict=True):
            at = starts[chosen]
            goal = torch.where(which < settings.own, at + 1 + (share * left[at]).long(), other)
            optimizer.zero_grad(set_to_none=True)
            now, then = way(x[torch.cat([at, at + 1])], x[torch.cat([goal, goal])]).chunk(2)
            reaching(now, then, at == goal, settings.discount, settings.expectile).backward()
            optimizer.step()
            schedule.step()
    return way.requires_grad_(False).eval()


def _new(x: Float[Tensor, "n F"], settings: Valuing, seed: int) -> Way:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Way(x, settings)
