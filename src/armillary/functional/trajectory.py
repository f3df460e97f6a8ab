"""Terms that keep the latents of trajectories spread over the batch and over time, near from step to step, straight.

Float32. Over the batch of all ranks where samples are compared; terms of each trajectory alone are means of the rank's.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from ..parallel import all_mean
from .decorrelate import covariance, off_diagonal, variance_hinge
from .distance import squared

Samples = Literal["first", "each", "all"]  # the first step's latents, each step's alone, or those of all steps together


def moments(z: Float[Tensor, "B T D"], samples: Samples = "first") -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The hinge on standard deviations below 1, and the mean square of covariances between dimensions.

    Args:
        samples: "first", the latents of the first time step over the batch (vladisai/PLDM:pldm/objectives/vicreg.py);
            "each", every time step alone, then averaged (galilai-group/stable-worldmodel:stable_worldmodel/wm/loss.py);
            "all", the latents of all time steps together (facebookresearch/eb_jepa:eb_jepa/losses.py).
    Returns:
        The hinge in [0, 1) and the covariance term >= 0, which is divided by its D (D - 1) entries in all three, not by
        D as in VICReg; 0 for D = 1.
    Raises:
        ShapeError: fewer than 2 samples.
    """
    groups = {"first": (z[:, 0],), "each": z.unbind(1), "all": (z.flatten(0, 1),)}[samples]
    spreads, pairs = [covariance(group) for group in groups], max(1, z.shape[2] * (z.shape[2] - 1))
    hinge, beside = [variance_hinge(c) for c in spreads], [off_diagonal(c) / pairs for c in spreads]
    return torch.stack(hinge).mean(), torch.stack(beside).mean()


def time_variance(z: Float[Tensor, "B T D"], target: float = 1.0, eps: float = 1e-4) -> Float[Tensor, ""]:
    """How far standard deviations over the steps of a trajectory fall short of `target`.

    max(0, target - sqrt(var + eps)), the variance unbiased, mean over trajectories and dimensions; from 0 to target.
    Raises:
        ShapeError: fewer than 2 steps.
    Source: vladisai/PLDM:pldm/objectives/vicreg.py (`std_loss_t`, of the steps after the first).
    """
    return (target - (_moving(z).float().var(1) + eps).sqrt()).relu().mean()


def time_similarity(z: Float[Tensor, "B T D"]) -> Float[Tensor, ""]:
    """Mean squared difference between the latents of neighboring steps, with gradient to both.

    Raises:
        ShapeError: fewer than 2 steps.
    Source: vladisai/PLDM:pldm/objectives/vicreg.py (`sim_loss_t`).
    """
    return squared(_moving(z)[:, 1:], z[:, :-1])


def straightening(z: Float[Tensor, "B T *N D"], least: float = 1e-6) -> Float[Tensor, ""]:
    """How far trajectories are from straight: 1 - cosine of the angle between neighboring steps, mean.

    Of z[t+1] - z[t] and z[t+2] - z[t+1], of each token alone: 0 on a straight way at any speed, 1 where each step turns
    by a right angle, 2 where each goes back. Steps no longer than `least` have no direction: pairs with one of them are
    left out of the mean, which is over all ranks; 0, its gradient too, where none is left. Gradient goes to all three.
    Raises:
        ShapeError: fewer than 3 steps.
    Source: arXiv 2603.12231, section 3; agentic-learning-ai-lab/temporal-straightening:models/visual_world_model.py
    (`_cos_curvature`), whose mean is not a number where none is left. The paper's stop-gradient is on the target of the
    prediction, not here. galilai-group/stable-worldmodel:stable_worldmodel/wm/loss.py counts a still pair as cosine 0.
    """
    if z.shape[1] < 3:
        raise ShapeError(
            f"a bend needs at least 3 steps on axis 1, got shape {tuple(z.shape)}: use longer windows, or "
            "straighten_weight 0"
        )
    step = z.float().diff(dim=1)
    moves = step.detach().norm(dim=-1) > least
    direction = F.normalize(step, dim=-1, eps=least)
    bend, both = 1 - (direction[:, :-1] * direction[:, 1:]).sum(-1), moves[:, :-1] & moves[:, 1:]
    kept = all_mean(both.float().sum())
    return all_mean(bend.where(both, 0.0).sum()) / kept.where(kept > 0, 1.0)


def _moving(z: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
    if z.shape[1] < 2:
        raise ShapeError(
            f"a term over time needs at least 2 steps on axis 1, got shape {tuple(z.shape)}: use longer windows"
        )
    return z
