"""Released planners as settings of ours: the same numbers from the same noise, to 1e-5.

Each returns a `CEM` or `MPPI` that can be changed by `dataclasses.replace`. Ours returns the best plan that it saw,
inside the bounds. For what the original returns, pass `watch=rounds.append`: the last mean is `rounds[-1].mean`, an
elite drawn by its weight is `rounds[-1].drawn(planner.temperature, random)`. Where the original has no bounds, give
bounds that nothing reaches. Standard deviations `std` are in the units of actions, which for most originals are actions
divided by their standard deviation in the data: to plan in the environment's units, give that as `std`.
`inverse_temperature` multiplies energies, `temperature` divides them. docs/guide/planners.md has the table.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy
from .cem import CEM
from .mppi import MPPI

Bound = Float[Tensor, " A"]


def planet() -> CEM:
    """PlaNet's CEM (1811.04551; google-research/planet c04226b), for actions in -1 to 1; no warm start, the mean.

    Variances are 1e-6 larger than those of the elites.
    """
    return CEM(12, 1000, 100, 10, std=1 / 2, std_min=0.0, std_added=1e-3 / 2)


def dino_wm_cem(low: Bound, high: Bound, std: float | Bound = 1.0, iterations: int = 10) -> CEM:
    """DINO-WM's CEM (2411.04983; gaoyuezhou/dino_wm 0a9492f): the mean, no bounds; 30 iterations on Push-T.

    Its warm start is the rest of the last plan, filled up with zeros: `padded`.
    """
    first = fractions(std, low, high)
    return CEM(5, 300, 30, iterations, std=first, std_min=0.0, include_mean=True, unbiased=True)


def stable_worldmodel_cem(low: Bound, high: Bound, std: float | Bound = 1.0) -> CEM:
    """The CEM of stable-worldmodel and LeWM (2605.21800; addbab4): DINO-WM's with 30 iterations; its "var" is a std."""
    return dino_wm_cem(low, high, std, iterations=30)


def stable_worldmodel_mppi(low: Bound, high: Bound, std: float | Bound = 1.0, temperature: float = 0.5) -> MPPI:
    """The MPPI of stable-worldmodel (2605.21800; addbab4): the mean of 30 weighted elites, a constant spread."""
    first = fractions(std, low, high)
    return MPPI(5, 300, 30, temperature, elites=30, std=first, refit_std=False, include_mean=True)


def eb_jepa_cem(low: Bound, high: Bound, std: float | Bound = 1.5, max_norm: float = 2.45) -> CEM:
    """The CEM of EB-JEPA (2602.03604; eb_jepa 966e61e): the mean of elites whose actions are at most `max_norm`."""
    first = fractions(std, low, high)
    return CEM(90, 200, 20, 20, std=first, std_min=0.0, unbiased=True, max_norm=max_norm)


def eb_jepa_mppi(
    low: Bound, high: Bound, std: float | Bound = 2.0, inverse_temperature: float = 0.005, elites: int = 20
) -> MPPI:
    """The MPPI of EB-JEPA (2602.03604; eb_jepa 966e61e): an elite drawn by its weight; all weigh nearly alike.

    Its limit of the norm is read and never applied.
    """
    return _fitted(90, 200, 20, inverse_temperature, elites, fractions(std, low, high))


def jepa_wms_cem(
    low: Bound, high: Bound, std: float | Bound = 1.0, momentum: float = 0.0, std_momentum: float = 0.0
) -> CEM:
    """The CEM of JEPA-WMs (2512.24497; jepa-wms 6eafb14): the mean of clipped elites, with momentum where it is set.

    15 iterations for Metaworld, DROID and RoboCasa.
    """
    first = fractions(std, low, high)
    return CEM(
        6, 300, 10, 30, std=first, std_min=0.0, include_mean=True, unbiased=True,
        momentum=momentum, std_momentum=std_momentum,
    )  # fmt: skip


def jepa_wms_mppi(low: Bound, high: Bound, std: float | Bound = 2.0, inverse_temperature: float = 0.5) -> MPPI:
    """The MPPI of JEPA-WMs (2512.24497; jepa-wms 6eafb14): an elite drawn by its weight, no bounds.

    Its least standard deviation is an argument that nothing uses; sizes here are those of its CEM.
    """
    return _fitted(6, 300, 30, inverse_temperature, 10, fractions(std, low, high))


def td_mpc2(inverse_temperature: float = 0.5) -> MPPI:
    """TD-MPC2's MPPI (2310.16828; tdmpc2 e9f5932), for actions in -1 to 1: an elite drawn by its weight.

    Besides the 488 samples its policy's 24 plans compete in every iteration: give them as `proposals`. Its warm start
    is the last mean, shifted and filled up with zeros: `padded`.
    """
    return MPPI(3, 488, 6, 1 / inverse_temperature, elites=64, std=2 / 2, std_min=0.05 / 2, std_max=2 / 2)


def pldm(
    low: Bound, high: Bound, std: float | Bound = 12**0.5, temperature: float = 0.005, samples: int = 2000
) -> MPPI:
    """PLDM's MPPI (2502.14819; PLDM cbaf674, a copy of pytorch_mppi): the mean, all samples, a constant spread.

    std is the root of its `noise_sigma`, a covariance. For mazes: std sqrt(5), temperature 0.0025, 500 samples.
    """
    first = fractions(std, low, high)
    return MPPI(96, samples, 1, temperature, std=first, refit_std=False, noise_penalty=True)


def vjepa2_ac(momentum: float = 0.15, std_momentum: float = 0.15) -> CEM:
    """The CEM of V-JEPA 2-AC (2506.09985; vjepa2 c2963a4) over x, y, z and the gripper: the mean.

    Plan between `VJEPA2_AC_LOW` and `VJEPA2_AC_HIGH` on `with_rotation(energy)`; `vjepa2_ac_action` is what it acts on.
    """
    first = fractions(torch.tensor([0.05, 0.05, 0.05, 1.0]), VJEPA2_AC_LOW, VJEPA2_AC_HIGH)
    return CEM(2, 400, 10, 10, std=first, std_min=0.0, unbiased=True, momentum=momentum, std_momentum=std_momentum)


VJEPA2_AC_HIGH = torch.tensor([0.05, 0.05, 0.05, 0.75])
VJEPA2_AC_LOW = -VJEPA2_AC_HIGH


def with_rotation(energy: Energy) -> Energy:
    """The energy of (x, y, z, gripper), from one of the seven actions of V-JEPA 2-AC, whose rotations are 0."""

    def seven(actions: Float[Tensor, "B S H 4"]) -> Float[Tensor, "B S"]:
        return energy(_seven(actions))

    return seven


def vjepa2_ac_action(mean: Float[Tensor, "B H 4"]) -> Float[Tensor, "B H 7"]:
    """The seven actions that V-JEPA 2-AC executes for a mean: no rotation, and a gripper below 0.25 stays as it is."""
    grip = mean[..., 3:]
    return _seven(torch.cat([mean[..., :3], torch.where(grip.abs() < 0.25, 0.0, grip)], -1))


def padded(actions: Float[Tensor, "B H A"], steps: int = 1) -> Float[Tensor, "B H A"]:
    """A warm start after `steps` actions were taken: they are dropped and zeros fill up (DINO-WM, TD-MPC2)."""
    return torch.cat([actions[:, steps:], torch.zeros_like(actions[:, :steps])], 1)


def fractions(std: float | Bound, low: Bound, high: Bound) -> tuple[float, ...]:
    """Standard deviations in the units of actions, as fractions of the actions' ranges."""
    return tuple((std / (high - low).double()).tolist())


def _fitted(
    horizon: int, samples: int, iterations: int, inverse_temperature: float, elites: int, std: tuple[float, ...]
) -> MPPI:
    """The MPPI that EB-JEPA and JEPA-WMs share."""
    return MPPI(horizon, samples, iterations, 1 / inverse_temperature, elites=elites, std=std, std_min=0.0)


def _seven(actions: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 7"]:
    return torch.cat([actions[..., :3], torch.zeros_like(actions[..., :3]), actions[..., 3:]], -1)
