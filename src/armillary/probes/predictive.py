"""What a frozen world model does not know: small predictors of its latents, fitted afterwards, that say how sure.

Each predicts `target` from (latent, action): the next latent, or the error of the model's own prediction of it. Targets
are predicted in standardized form and given back in their unit. Episodes, not rows, are split into a part to fit on,
one for conformal correction and one to test on; `diagnostics.risk.judge(fitted.test, fitted.calibration)` reports.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ..errors import ConfigError, DataError, ShapeError, require
from ..functional.gaussian import Gaussian, split
from ..functional.likelihood import Levels, Quantiles, even_levels, gaussian_nll, pinball
from ..nn.uncertain import Ensemble, EnsembleConfig, GaussianConfig, GaussianHead, QuantileConfig, QuantileHead
from ..randomness import numbered

Predicted = Gaussian | Quantiles
Predict = Callable[[Float[Tensor, "n D"], Float[Tensor, "n A"]], tuple[Predicted, Float[Tensor, "K n E"] | None]]


@dataclass(frozen=True)
class Config:
    """Defaults are ours: sizes for latents of up to a few hundred numbers."""

    hidden: int = 128
    """width of the hidden layers"""
    depth: int = 2
    """hidden layers"""
    members: int = 5
    """predictors in an ensemble"""
    steps: int = 1000
    """steps of AdamW"""
    batch: int = 256
    """rows in a step, drawn with replacement, for each member its own"""
    learning_rate: float = 2e-3
    """at the first step; it falls to 0 along a cosine"""
    weight_decay: float = 1e-4
    """of AdamW"""
    beta: float = 0.5
    """of the beta-NLL by which Gaussians are fitted; 0 is the likelihood itself"""
    levels: Levels = even_levels(39)
    """probabilities of the quantiles"""
    calibration: float = 0.2
    """share of the episodes that correct the intervals"""
    test: float = 0.3
    """share of the episodes that are tested on"""

    def __post_init__(self) -> None:
        names = ("hidden", "depth", "members", "steps", "batch")
        require(1, math.inf, **{name: getattr(self, name) for name in names})
        require(0, 1, beta=self.beta, calibration=self.calibration, test=self.test)
        require(0, math.inf, learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        if min(self.calibration, self.test) <= 0 or self.calibration + self.test >= 1:
            raise ConfigError(
                f"calibration is {self.calibration}, test {self.test}: give shares above 0 that leave some to fit on"
            )


@dataclass(frozen=True)
class Held:
    """Predictions of n rows that no weight was fitted to, and what came.

    target: [n, E]; episode: [n]; members: [K, n, E] means of the members of an ensemble, else None.
    """

    predicted: Predicted
    target: Float[Tensor, "n E"]
    episode: Int64[Tensor, " n"]
    members: Float[Tensor, "K n E"] | None = None


@dataclass(frozen=True)
class Fitted:
    """A fitted predictor, and what it says of the episodes that were held back.

    predict: maps latents [n, D] and actions [n, A] to the distribution of the target and the members' means, None but
    for an ensemble. loss: [steps] of the fit, in standardized units.
    """

    predict: Predict
    calibration: Held
    test: Held
    loss: Float[Tensor, " S"]


@dataclass(frozen=True)
class _Scale:
    """Mean and standard deviation; a number that does not vary becomes 0."""

    mean: Float[Tensor, " D"]
    std: Float[Tensor, " D"]

    @staticmethod
    def of(x: Float[Tensor, "n D"]) -> _Scale:
        mean, std = x.double().mean(0), x.double().std(0, correction=0)
        still = std <= 1e-6 * mean.abs().clamp_min(1e-6)
        return _Scale(mean.float(), torch.where(still, 1.0, std).float())

    def apply(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        return (x.float() - self.mean) / self.std

    def undo(self, p: Predicted) -> Predicted:
        if isinstance(p, Gaussian):
            return Gaussian(p.mean * self.std + self.mean, p.log_variance + 2 * self.std.log())
        return Quantiles(p.value * self.std[:, None] + self.mean[:, None], p.levels)


class _Ensemble(nn.Module):
    """K Gaussian predictors; a batch of rows for each gives K distributions of each row."""

    def __init__(self, width: int, out: int, config: Config):
        super().__init__()
        self.members = Ensemble(EnsembleConfig(config.members, width, config.hidden, config.depth, 2 * out))

    def forward(self, x: Float[Tensor, "*K B W"]) -> Gaussian:
        return split(self.members(x))


def fit_gaussian(
    z: Float[Tensor, "n D"], action: Float[Tensor, "n A"], target: Float[Tensor, "n E"], episode: Int64[Tensor, " n"],
    config: Config = Config(), seed: int = 0,
) -> Fitted:  # fmt: skip
    """One MLP with mean and log-variance of each number, by beta-NLL.

    Args:
        z, action: what is known. target: what came. episode: number of the episode of each row.
    Raises:
        DataError: NaN or infinity, or too few episodes for three parts. ShapeError: unequal numbers of rows.
    """

    def make(width: int, out: int) -> nn.Module:
        return nn.Sequential(*_trunk(width, config), GaussianHead(GaussianConfig(config.hidden, out)))

    return _fit(make, lambda p, y: gaussian_nll(p, y, config.beta), 1, (z, action, target, episode), config, seed)


def fit_quantiles(
    z: Float[Tensor, "n D"], action: Float[Tensor, "n A"], target: Float[Tensor, "n E"], episode: Int64[Tensor, " n"],
    config: Config = Config(), seed: int = 0,
) -> Fitted:  # fmt: skip
    """One MLP with quantiles of each number that do not cross, by the pinball loss; see `fit_gaussian`."""

    def make(width: int, out: int) -> nn.Module:
        return nn.Sequential(*_trunk(width, config), QuantileHead(QuantileConfig(config.hidden, out, config.levels)))

    return _fit(make, pinball, 1, (z, action, target, episode), config, seed)


def fit_ensemble(
    z: Float[Tensor, "n D"], action: Float[Tensor, "n A"], target: Float[Tensor, "n E"], episode: Int64[Tensor, " n"],
    config: Config = Config(), seed: int = 0,
) -> Fitted:  # fmt: skip
    """K Gaussian predictors with other weights and other batches each; their mixture as one Gaussian.

    Its variance is the mean of their variances (noise) and the variance of their means (disagreement); see
    `fit_gaussian`.
    Source: deep ensembles (arXiv 1612.01474), section 2.4, without adversarial training.
    """

    def make(width: int, out: int) -> nn.Module:
        return _Ensemble(width, out, config)

    def loss(p: Gaussian, y: Tensor) -> Tensor:
        return config.members * gaussian_nll(p, y, config.beta)  # each member's gradient as if it were alone

    return _fit(make, loss, config.members, (z, action, target, episode), config, seed)


def parts(episode: Int64[Tensor, " n"], config: Config, seed: int = 0) -> tuple[Bool[Tensor, " n"], ...]:
    """Which rows are for fitting, for calibration and for testing: each episode is in one part, drawn by `seed`.

    Raises:
        DataError: a part gets no episode.
    """
    number, place = episode.unique(return_inverse=True)
    order = numbered(1, seed).order("predictive/parts", len(number))[0].to(episode.device)
    held, tested = (round(share * len(number)) for share in (config.calibration, config.test))
    if min(held, tested, len(number) - held - tested) < 1:
        raise DataError(
            f"{len(number)} episodes cannot be split into parts to fit, calibrate ({config.calibration}) and test "
            f"({config.test}): give more episodes"
        )
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(number), device=episode.device)
    rank = rank[place]
    return rank >= held + tested, rank < held, (rank >= held) & (rank < held + tested)


def _trunk(width: int, config: Config) -> list[nn.Module]:
    widths = [width] + [config.hidden] * config.depth
    return [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.GELU())]


def _fit(
    make: Callable[[int, int], nn.Module], loss: Callable[..., Tensor], members: int,
    rows: tuple[Tensor, Tensor, Tensor, Tensor], config: Config, seed: int,
) -> Fitted:  # fmt: skip
    """Split, standardize by the part to fit on, train, and predict what was held back."""
    z, action, target, episode = rows
    _check(z, action, target, episode)
    known = torch.cat([z.float(), action.float()], 1)
    fitting, *held = parts(episode, config, seed)
    into, out = _Scale.of(known[fitting]), _Scale.of(target[fitting])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(known.shape[1], target.shape[1]).to(known.device)
    losses = _train(model, loss, members, into.apply(known[fitting]), out.apply(target[fitting]), config, seed)

    @torch.no_grad()
    def predict(z: Tensor, action: Tensor) -> tuple[Predicted, Tensor | None]:
        p = out.undo(model(into.apply(torch.cat([z.float(), action.float()], 1))))
        return (_mixture(p), p.mean) if isinstance(p, Gaussian) and p.mean.ndim == 3 else (p, None)

    kept = [(predict(z[part], action[part]), part) for part in held]
    calibration, test = (Held(p, target[part], episode[part], each) for (p, each), part in kept)
    return Fitted(predict, calibration, test, losses)


def _train(
    model: nn.Module, loss: Callable[..., Tensor], members: int, x: Tensor, y: Tensor, config: Config, seed: int
) -> Float[Tensor, " S"]:
    """AdamW with a cosine to 0, on rows drawn with replacement, for each member its own."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    losses = []
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        drawn = numbered(members, seed, step).integers("predictive/rows", len(x), config.batch).to(x.device)
        value = loss(model(x[drawn]), y[drawn])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        losses.append(value.detach())
    model.requires_grad_(False)
    return torch.stack(losses)


def _mixture(p: Gaussian) -> Gaussian:
    """The Gaussian with mean and variance of the mixture of members [K, n, E]."""
    variance = p.variance.mean(0) + p.mean.var(0, correction=0)
    return Gaussian(p.mean.mean(0), variance.log())


def _check(z: Tensor, action: Tensor, target: Tensor, episode: Tensor) -> None:
    if not len(z) == len(action) == len(target) == len(episode):
        raise ShapeError(
            f"{len(z)} latents, {len(action)} actions, {len(target)} targets and {len(episode)} episode numbers: "
            "give one of each a row"
        )
    for name, x in (("latents", z), ("actions", action), ("targets", target)):
        wrong = int((~x.isfinite().all(1)).sum())
        if wrong:
            raise DataError(f"{wrong} of {len(x)} {name} are NaN or infinite: the world model diverged there")
