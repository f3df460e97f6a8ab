"""Observations with known latents, to measure what a representation recovers of them.

A batch has `state` [B, T, d], the latents; `proprio` [B, T, D], the observation, a smooth invertible function of the
latents of the same place and nothing else; `index`; and `action` [B, T, A] where something acts. T counts views or
frames. All is a function of a `Random` and the configuration: for other rows give other samples or another seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from ..errors import ConfigError, ShapeError, require
from ..randomness import Random, numbered
from ..types import Batch

Shape = Literal["gaussian", "uniform", "laplace"]
BURN_IN = 30  # steps before the first frame, by which a policy has found its usual states


def orthogonal(rows: int, columns: int, seed: int, stream: str) -> Float[Tensor, "rows columns"]:
    """A random matrix with orthonormal columns, of which there are at most as many as rows."""
    return torch.linalg.qr(numbered(1, seed).normal(stream, rows, columns)[0].double())[0].float()


@dataclass(frozen=True)
class Mixing:
    """How latents become an observation: `layers` times a rotation and a bend of each coordinate, then a rotation.

    The bend, slope x + (1 - slope) log((1 + exp(2 x)) / 2) / 2, times 2 / (1 + slope) so that it rises by 1 at 0, rises
    `slope` times as much far below 0 as far above: it is smooth and invertible, and so is the whole, from the d latents
    onto a surface of d dimensions in R^width. A smooth relative of the mixing networks of nonlinear ICA, which bend by
    leaky ReLUs (arXiv 2102.08850, believed).
    """

    width: int = 0
    """Coordinates of an observation; 0: as many as latents."""
    layers: int = 3
    """Times that coordinates are turned and bent; 0: a rotation only."""
    slope: float = 0.2
    """Slope of the bend far below 0 over that far above; 1 is no bend."""
    seed: int = 0
    """Of the rotations."""

    def __post_init__(self) -> None:
        require(0, math.inf, width=self.width, layers=self.layers)
        require(1e-3, 1, slope=self.slope)

    def __call__(self, z: Float[Tensor, "*B d"]) -> Float[Tensor, "*B D"]:
        """Observations of latents.

        Raises:
            ShapeError: fewer coordinates than latents.
        """
        width = self.width or z.shape[-1]
        if width < z.shape[-1]:
            raise ShapeError(
                f"{z.shape[-1]} latents do not fit into {width} coordinates: give a width of at least that"
            )
        for layer in range(self.layers):
            turned = z @ orthogonal(width, z.shape[-1], self.seed, f"latents/mixing/{layer}").to(z).T
            bent = self.slope * turned + (1 - self.slope) * (softplus(2 * turned) - math.log(2)) / 2
            z = bent * (2 / (1 + self.slope))
        return z @ orthogonal(width, z.shape[-1], self.seed, "latents/mixing/last").to(z).T


def source(random: Random, stream: str, *shape: int, of: str = "gaussian") -> Float[Tensor, "B *shape"]:
    """Independent numbers of mean 0 and variance 1: normal, uniform, or Laplace (two-sided exponential).

    Raises:
        ConfigError: another distribution.
    """
    if of == "gaussian":
        return random.normal(stream, *shape)
    first = random.uniform(stream, *shape)
    if of == "uniform":
        return (first - 0.5) * math.sqrt(12)
    if of == "laplace":
        second = random.uniform(f"{stream}/second", *shape)
        return ((1 - first).log() - (1 - second).log()) / math.sqrt(2)
    raise ConfigError(f"a distribution named {of!r}: 'gaussian', 'uniform' and 'laplace' are known")


@dataclass(frozen=True)
class Views:
    """Two noisy views of the same latents: z_k = sqrt(c) s + sqrt(1 - c) e_k, k = 1, 2, with e_k normal.

    The two are exchangeable and have variance 1. A Gaussian source makes them two states of an Ornstein-Uhlenbeck
    process, z_2 = c z_1 + sqrt(1 - c²) e, which with one correlation for all latents are the conditions of theorem 4.1
    of arXiv 2605.26379 (klindtlab/lejepa-identifiability:lean/LeJEPA/ThmHermite.lean). Its own experiments with other
    sources take e_k of the source's distribution; ours is normal, so `state` is somewhat closer to normal than `s`.
    """

    latents: int = 3
    """Number of latents."""
    source: Shape = "gaussian"
    """Distribution of what the views share."""
    correlation: tuple[float, ...] = (0.7,)
    """Of a latent with itself in the other view; one for all, or one for each."""
    mixing: Mixing = Mixing()
    """From latents to observations."""

    def __post_init__(self) -> None:
        require(1, math.inf, latents=self.latents)
        require(0, 1, correlation=self.correlation)
        if len(self.correlation) not in (1, self.latents):
            raise ConfigError(f"{len(self.correlation)} correlations for {self.latents} latents: give one, or one each")

    def batch(self, random: Random) -> Batch:
        """`state` [B, 2, d] and `proprio` [B, 2, D] of both views."""
        shared = source(random, "latents/source", 1, self.latents, of=self.source)
        own = random.normal("latents/view", 2, self.latents)
        c = torch.tensor(self.correlation, device=own.device)
        return _batch(random, c.sqrt() * shared + (1 - c).sqrt() * own, self.mixing)


@dataclass(frozen=True)
class Trajectories:
    """States of a linear system that a policy drives to goals: correlated, dependent over time, not Gaussian.

    z' = decay R z + B a + noise e, with R a rotation and B of orthonormal columns; a = tanh(gain B^T (g - z) + e); the
    goal g of a trajectory is uniform of variance 1. `gain` 0 is a policy that acts at random: a discrete
    Ornstein-Uhlenbeck process, but for the noise, which tanh bends.
    """

    latents: int = 4
    """Number of latents."""
    actions: int = 2
    """Width of an action, at most the number of latents."""
    steps: int = 8
    """Frames in a trajectory."""
    decay: float = 0.9
    """Share of a state that is left after a step; below 1."""
    gain: float = 2.0
    """How strongly the policy pulls towards its goal; 0: it acts at random."""
    noise: float = 0.1
    """Size of what moves the state beside actions."""
    mixing: Mixing = Mixing()
    """From latents to observations."""
    seed: int = 0
    """Of the system."""

    def __post_init__(self) -> None:
        require(1, math.inf, latents=self.latents, steps=self.steps)
        require(1, self.latents, actions=self.actions)
        require(0, 0.999, decay=self.decay)
        require(0, math.inf, gain=self.gain, noise=self.noise)

    def batch(self, random: Random) -> Batch:
        """`state` [B, T, d], `proprio` [B, T, D] and `action` [B, T, A]; action t leads from frame t to t + 1."""
        device = random.sample.device
        drift = self.decay * orthogonal(self.latents, self.latents, self.seed, "latents/drift").to(device)
        reach = orthogonal(self.latents, self.actions, self.seed, "latents/reach").to(device)
        goal = source(random, "latents/goal", self.latents, of="uniform")
        total = BURN_IN + self.steps
        push = self.noise * random.normal("latents/noise", total, self.latents)
        explore = random.normal("latents/explore", total, self.actions)
        z, states, actions = random.normal("latents/start", self.latents), [], []
        for t in range(total):
            action = torch.tanh(self.gain * (goal - z) @ reach + explore[:, t])
            states.append(z)
            actions.append(action)
            z = z @ drift.T + action @ reach.T + push[:, t]
        batch = _batch(random, torch.stack(states[BURN_IN:], 1), self.mixing)
        return {**batch, "action": torch.stack(actions[BURN_IN:], 1)}


@dataclass(frozen=True)
class Distracted:
    """Fast latents that actions control beside strong ones that they do not: constant, slow, or new in each frame.

    Controlled: c' = m c + sqrt(1 - m²) (sqrt(1 - n²) a + n e); others: s' = p s + sqrt(1 - p²) e, times `strength`;
    a and e normal, all stationary. After the moving dots before a background of Sobal et al. (arXiv 2211.10831), whose
    noise is either the same in all frames of a sequence (p = 1) or drawn anew in each (p = 0).
    """

    controlled: int = 2
    """Latents that actions move, first in `state`; an action has this width."""
    distractors: int = 2
    """Other latents, last in `state`."""
    steps: int = 2
    """Frames in a trajectory."""
    memory: float = 0.5
    """Share m of a controlled latent that is left in the next frame."""
    noise: float = 0.3
    """Share n of its change that no action explains."""
    persistence: float = 1.0
    """Share p of a distractor that is left in the next frame: 1 constant, 0 drawn anew."""
    strength: float = 2.0
    """Standard deviation of distractors; that of controlled latents is 1."""
    mixing: Mixing = Mixing()
    """From latents to observations."""

    def __post_init__(self) -> None:
        require(1, math.inf, controlled=self.controlled, distractors=self.distractors, steps=self.steps)
        require(0, 1, memory=self.memory, noise=self.noise, persistence=self.persistence)
        require(0, math.inf, strength=self.strength)

    def batch(self, random: Random) -> Batch:
        """`state` [B, T, c + s], `proprio` [B, T, D] and `action` [B, T, c]; action t leads from frame t to t + 1."""
        action = random.normal("latents/action", self.steps, self.controlled)
        unseen = random.normal("latents/noise", self.steps, self.controlled)
        moved = math.sqrt(1 - self.noise**2) * action + self.noise * unseen
        fast = _walk(random.normal("latents/start", self.controlled), moved, self.memory)
        slow = _walk(
            random.normal("latents/distractor", self.distractors),
            random.normal("latents/change", self.steps, self.distractors),
            self.persistence,
        )
        return {**_batch(random, torch.cat([fast, self.strength * slow], -1), self.mixing), "action": action}


def _walk(start: Float[Tensor, "B d"], change: Float[Tensor, "B T d"], kept: float) -> Float[Tensor, "B T d"]:
    """T states from `start`, which keep the variance 1: x' = kept x + sqrt(1 - kept²) change."""
    states = [start]
    for step in change[:, :-1].unbind(1):
        states.append(kept * states[-1] + math.sqrt(1 - kept**2) * step)
    return torch.stack(states, 1)


def _batch(random: Random, state: Float[Tensor, "B T d"], mixing: Mixing) -> Batch:
    return {"index": random.sample, "state": state, "proprio": mixing(state)}
