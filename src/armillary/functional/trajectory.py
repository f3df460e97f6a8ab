"""Terms that keep the latents of trajectories spread out over the batch and over time, and near from step to step.

Float32. Over the batch of all ranks where samples are compared; terms of each trajectory alone are means of the rank's.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
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


def _moving(z: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
    if z.shape[1] < 2:
        raise ShapeError(
            f"a term over time needs at least 2 steps on axis 1, got shape {tuple(z.shape)}: use longer windows"
        )
    return z
