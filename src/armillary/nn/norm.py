"""Batch normalization over the batch of all ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ShapeError
from ..parallel import all_mean, ranks


class BatchNorm(nn.Module):
    """Normalize each feature over all other axes and all ranks; averages of them in evaluation.

    axis: of the features, -1, or 1 for maps [B, D, r, c]. affine: whether scale and shift are learned.
    eps 1e-5, running averages move by `momentum` per step towards the batch's mean and unbiased variance, as
    torch.nn.BatchNorm1d; that class puts features second and normalizes each rank alone. Statistics are float32.
    Raises:
        ShapeError: one row only, in training.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, affine: bool = True, axis: int = -1, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.axis, self.momentum, self.eps = axis, momentum, eps
        self.weight = nn.Parameter(torch.ones(width)) if affine else None
        self.bias = nn.Parameter(torch.zeros(width)) if affine else None
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """Normalized, scaled and shifted."""
        features = x if self.axis == 1 else x.reshape(-1, x.shape[-1])  # axis 1 is where torch looks for them
        if self.training and features[:, 0].numel() * ranks() < 2:
            raise ShapeError(f"batch normalization needs at least 2 rows in training, got {tuple(x.shape)}")
        if ranks() > 1 and self.training:
            return self._over_ranks(x.to(torch.promote_types(x.dtype, torch.float32))).to(x.dtype)
        averages, scale = (self.running_mean, self.running_var), (self.weight, self.bias)
        out = F.batch_norm(features, *averages, *scale, self.training, self.momentum, self.eps)
        return out.view(x.shape) if self.axis == -1 else out

    def _over_ranks(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        x = x.movedim(self.axis, -1)
        axes = tuple(range(x.ndim - 1))
        mean = all_mean(x.mean(axes))
        variance = all_mean((x - mean).square().mean(axes))
        count = x[..., 0].numel() * ranks()
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        out = (x - mean) * torch.rsqrt(variance + self.eps)
        if self.weight is not None and self.bias is not None:
            out = out * self.weight + self.bias
        return out.movedim(-1, self.axis)
