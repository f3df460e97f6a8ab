"""Values of reaching goals as distances of latents: quasi-metrics, and implicit Q-learning of them. Float32."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ShapeError, require
from ..parallel import all_mean


def expectile(error: Float[Tensor, "*B"], share: float) -> Float[Tensor, ""]:
    """Asymmetric squares |share - 1[error < 0]| * error^2, mean over all ranks.

    What minimizes it is the mean of what is regressed at 1/2, and tends to the largest value that occurs at 1, where
    the error is value minus estimate.
    Raises:
        ConfigError: a share outside [0, 1].
    Source: IQL (arXiv 2110.06169), section 4.
    """
    require(0, 1, expectile=share)
    x = error.float()
    return all_mean((torch.where(x < 0, 1 - share, share) * x.square()).mean())


def reaching(
    now: Float[Tensor, "*B"], following: Float[Tensor, "*B"], reached: Bool[Tensor, "*B"], discount: float, share: float
) -> Float[Tensor, ""]:
    """How far distances to goals are from values of reaching them, V = -distance, of which each step costs 1.

    The expectile of -1 + discount * V(s', g) - V(s, g); 0 - V(s, g) where s is the goal. No gradient to V(s', g).

    Args:
        now: distances from states to goals, >= 0. following: from the states one recorded step later. reached: where
            the state is the goal.
        discount: of one step: k steps are (1 - discount^k) / (1 - discount) far, at most 1 / (1 - discount).
        share: of the expectile: 1/2 is the mean over what the data did, toward 1 the best of it.
    Raises:
        ConfigError: a discount or share outside [0, 1].
    Source: arXiv 2601.00844, section 3.2, which has -0 + discount * V(s', g) where s is the goal: a constant, as
        V(g, g) = 0 whatever the weights, and so left out. HILP (2402.15567) masks so.
    """
    require(0, 1, discount=discount)
    target = torch.where(reached, 0.0, 1 + discount * following.detach().float())
    return expectile(now.float() - target, share)


def euclidean(x: Float[Tensor, "*#B D"], y: Float[Tensor, "*#B D"]) -> Float[Tensor, "*#B"]:
    """Euclidean distance of broadcast latents; its gradient is 0 at distance 0."""
    total = (x.float() - y.float()).square().sum(-1)
    return torch.where(total > 0, total, 1.0).sqrt() * (total > 0)


def interval(
    x: Float[Tensor, "*#B D"], y: Float[Tensor, "*#B D"], size: int, balance: float | Float[Tensor, ""]
) -> Float[Tensor, "*#B"]:
    """Interval quasi-metric embedding: how much of the line the intervals from x up to y cover.

    Latents are groups of `size` numbers. A group tells the length of the union of its intervals [x_j, max(x_j, y_j)];
    the distance is balance * the largest of these lengths + (1 - balance) * their mean. It is 0 from x to itself, obeys
    the triangle inequality, and is not symmetric: where no number of y is above that of x it is 0.
    Raises:
        ShapeError: a width that is no multiple of `size`.
    Source: IQE (arXiv 2211.15120), section 3, "maxmean";
    quasimetric-learning/torch-quasimetric:torchqmet/iqe.py, reductions.py.
    """
    if size < 1 or x.shape[-1] % size:
        raise ShapeError(f"latents of {x.shape[-1]} numbers are no groups of {size}: use a width that {size} divides")
    x, y = torch.broadcast_tensors(x.float(), y.float())
    start, order = x.unflatten(-1, (-1, size)).sort(-1)
    end = y.unflatten(-1, (-1, size)).gather(-1, order).maximum(start)
    covered = torch.cat([start[..., :1], end.cummax(-1).values[..., :-1]], -1)  # up to here, by the intervals before
    length = (end - covered.maximum(start)).relu().sum(-1)  # [*B, groups]
    return balance * length.amax(-1) + (1 - balance) * length.mean(-1)


def residual(x: Float[Tensor, "*#B D"], y: Float[Tensor, "*#B D"]) -> Float[Tensor, "*#B"]:
    """Metric residual: Euclidean distance of the first half of the latents, plus the most that y's second half rises.

    Raises:
        ShapeError: an odd width.
    Source: MRN (arXiv 2208.08133) with the repair of 2211.15120, appendix C.2: the distance, not its square, which
    breaks the triangle inequality. Departs: halves of the latent where both have MLPs of it, a norm where they have the
    root of the mean square, and the rise from x to y where they have that from y to x: the same up to signs.
    """
    if x.shape[-1] % 2:
        raise ShapeError(f"latents of {x.shape[-1]} numbers have no halves: use an even width")
    half = x.shape[-1] // 2
    rise = (y[..., half:].float() - x[..., half:].float()).amax(-1).relu()
    return euclidean(x[..., :half], y[..., :half]) + rise
