"""Batch normalization over the batch of all ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ShapeError
from ..parallel import all_mean, ranks


class BatchNorm(nn.Module):
    """Normalize each feature (last axis) over all other axes and all ranks; averages of them in evaluation.

    eps 1e-5, running averages move by `momentum` per step towards the batch's mean and unbiased variance, as
    torch.nn.BatchNorm1d; that class puts features second and normalizes each rank alone. Statistics are float32.
    Raises:
        ShapeError: one row only, in training.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Normalized, scaled and shifted."""
        flat = x.reshape(-1, x.shape[-1])
        if self.training and len(flat) * ranks() < 2:
            raise ShapeError(f"batch normalization needs at least 2 rows in training, got {tuple(x.shape)}")
        if ranks() > 1 and self.training:
            out = self._over_ranks(flat.float()).to(x.dtype)
        else:
            out = F.batch_norm(
                flat,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                self.training,
                self.momentum,
                self.eps,
            )
        return out.view(x.shape)

    def _over_ranks(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        mean = all_mean(x.mean(0))
        variance = all_mean((x - mean).square().mean(0))
        count = len(x) * ranks()
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias
