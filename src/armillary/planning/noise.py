"""Noise over the steps of a plan, from white standard normal noise: AR(1), colored, on knots."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def smooth(white: Float[Tensor, "B S H A"], correlation: float) -> Float[Tensor, "B S H A"]:
    """AR(1) noise over the steps from white noise; its variance stays 1 at every step."""
    if correlation == 0:
        return white
    steps = [white[:, :, 0]]
    for step in white.unbind(2)[1:]:
        steps.append(correlation * steps[-1] + math.sqrt(1 - correlation**2) * step)
    return torch.stack(steps, 2)


def colored(white: Float[Tensor, "B S 2 F A"], horizon: int, exponent: float) -> Float[Tensor, "B S H A"]:
    """Gaussian noise over the steps whose power falls as 1 / frequency^exponent: 0 is white, 2 a slow drift.

    white: standard normal; real and imaginary parts of the F = horizon // 2 + 1 frequencies.
    Source: Timmer and König (1995), as in iCEM (2008.06389). Frequency 0 gets the power of the lowest one.
    Departure: the variance of a step is exactly 1; the package that iCEM uses leaves the mean over the steps out of the
    count, so that its noise is larger.
    """
    amplitude, both = spectrum(horizon, exponent, white)
    waves = torch.complex(white[:, :, 0] * both[0], white[:, :, 1] * both[1]) * amplitude
    return torch.fft.irfft(waves, n=horizon, dim=2)


def spectrum(horizon: int, exponent: float, like: Tensor) -> tuple[Float[Tensor, "F 1"], Float[Tensor, "2 F 1"]]:
    """Standard deviations of the frequencies, and how real and imaginary parts share them.

    Frequency 0, and the highest one of an even horizon, have no imaginary part; their real part carries it all.
    """
    frequency = torch.fft.rfftfreq(horizon, dtype=like.dtype, device=like.device)
    frequency[0] = 1 / horizon
    amplitude = frequency ** (-exponent / 2)
    parts = torch.ones(2, len(frequency), dtype=like.dtype, device=like.device)
    for alone in (0, -1) if horizon % 2 == 0 else (0,):
        parts[:, alone] = torch.tensor([math.sqrt(2), 0.0])
    weight = parts.square().sum(0) * torch.where(parts[1] > 0, 2.0, 1.0)  # a pair of conjugates counts twice over
    power = (weight * amplitude.square()).sum() / horizon**2
    return (amplitude / power.sqrt())[:, None], parts[..., None]


def knotted(white: Float[Tensor, "B S P A"], horizon: int, linear: bool) -> Float[Tensor, "B S H A"]:
    """Noise drawn at P knots, evenly spaced from the first step to the last, and held or interpolated between them.

    Interpolated noise has less variance between knots than at them.
    """
    place = torch.linspace(0, white.shape[2] - 1, horizon, device=white.device)
    before = place.floor().long().clamp(0, white.shape[2] - 1)
    if not linear:
        return white[:, :, before]
    share = (place - before)[:, None]
    after = (before + 1).clamp_max(white.shape[2] - 1)
    return (1 - share) * white[:, :, before] + share * white[:, :, after]
