"""Terms that prevent collapse, as pure functions of embeddings. Computed in float32, over the batch of all ranks."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from ..parallel import all_mean, ranks

CHUNK = 128  # directions at a time: sines and cosines of a chunk stay in the cache


def knots_and_weights(
    knots: int, limit: float, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Points t_k of [0, limit], the normal characteristic function there, and quadrature weights times that window.

    The trapezoid rule is doubled, as the integrand is even: 2 dt inside, dt at both ends.
    """
    t = torch.linspace(0, limit, knots, device=device)
    weight = torch.full_like(t, 2 * limit / (knots - 1))
    weight[[0, -1]] /= 2
    phi = torch.exp(-0.5 * t.square())
    return t, phi, weight * phi


class _EppsPulley(torch.autograd.Function):
    """The statistic of projections x [G, B, S], with its gradient accumulated on the way forward.

    The knots are equally spaced, so cos(t_k x) and sin(t_k x) follow from those of one angle by the addition theorem
    c_{k+1} = 2 c_1 c_k - c_{k-1}; nothing of size K x G x B x S is ever stored.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, knots: int, limit: float) -> Tensor:
        t, phi, weight = knots_and_weights(knots, limit)
        step, samples = limit / (knots - 1), x.shape[-2] * ranks()
        total = x.new_zeros(())
        grad = torch.empty_like(x)
        chunk = x.shape[-1] if ranks() > 1 else CHUNK  # ranks agree on every knot's means: fewer, larger reductions
        for part, out in zip(x.split(chunk, -1), grad.split(chunk, -1), strict=True):
            angle = (part * step).contiguous()
            cos, sin = angle.cos(), angle.sin()
            double = cos * 2
            before = (torch.ones_like(cos), torch.zeros_like(sin))
            slope = torch.zeros_like(cos)  # d statistic / d x of this part
            for k in range(1, knots):  # the knot at 0 is always matched: cos = 1 = phi, sin = 0
                real = all_mean(cos.mean(-2, keepdim=True)) - phi[k]
                imaginary = all_mean(sin.mean(-2, keepdim=True))
                total += weight[k] * (real.square() + imaginary.square()).sum()
                slope.addcmul_(cos, imaginary * (2 * weight[k] * t[k])).addcmul_(sin, real * (-2 * weight[k] * t[k]))
                following = (torch.addcmul(-before[0], double, cos), torch.addcmul(-before[1], double, sin))
                before, (cos, sin) = (cos, sin), following
            out.copy_(slope)
        tests = x[..., 0, :].numel()  # statistics that are averaged; each is scaled by the number of samples
        ctx.save_for_backward(grad)
        ctx.scale = ranks() / tests  # d mean over all samples = 1 / samples, times samples; ranks: see all_sum
        return total * (samples / tests)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * (outer[0] * ctx.scale), None, None


def epps_pulley(x: Float[Tensor, "*G B S"], knots: int = 17, limit: float = 3.0) -> Float[Tensor, ""]:
    """Mean Epps-Pulley statistic of the samples on axis -2 against a standard normal, for each group and column.

    samples * integral over [-limit, limit] of |phi_x(t) - exp(-t^2/2)|^2 exp(-t^2/2) dt, over the samples of all ranks.
    Raises:
        ShapeError: fewer than 2 samples.
    Source: LeJEPA (arXiv 2511.08544); rbalestr-lab/lejepa:lejepa/univariate/epps_pulley.py.
    """
    if x.shape[-2] * ranks() < 2:
        raise ShapeError(f"the statistic needs at least 2 samples on axis -2, got shape {tuple(x.shape)}")
    with torch.autocast(x.device.type, enabled=False):
        flat = x.float().reshape(-1, *x.shape[-2:])
        return _EppsPulley.apply(flat, knots, limit)  # type: ignore[no-any-return]


def unit_directions(width: int, count: int, generator: torch.Generator) -> Float[Tensor, "D S"]:
    """Random unit vectors as columns, drawn on the CPU so that every rank and device has the same."""
    directions = torch.randn(width, count, generator=generator)
    return directions / directions.norm(dim=0)


def sigreg(
    z: Float[Tensor, "*G B D"], directions: Float[Tensor, "D S"], knots: int = 17, limit: float = 3.0
) -> Float[Tensor, ""]:
    """Sketched isotropic Gaussian regularizer: mean Epps-Pulley statistic on given unit directions.

    Args:
        z: embeddings; axis -2 holds the samples, leading groups (time, view) are tested one by one.
        directions: see `unit_directions`; drawn anew each step, without gradient.
    Returns:
        Scalar >= 0 that grows with the number of samples when the distribution is not a standard normal.
    Source: LeJEPA (arXiv 2511.08544), section 4; LeWM (2603.19312) per time step.
    """
    with torch.autocast(z.device.type, enabled=False):  # a bfloat16 characteristic function is too coarse
        projected = z.float() @ directions.to(z.device)
    return epps_pulley(projected, knots, limit)
