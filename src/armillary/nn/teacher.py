"""Modules that make targets."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class EMA(nn.Module):
    """A frozen exponential moving average of `source`. It never records a gradient.

    In evaluation mode, always; or, with `training`, in the mode of the method that holds it: batch norms then use the
    batch's statistics and keep running averages of their own (BYOL, MoCo v3).
    """

    def __init__(self, source: nn.Module, training: bool = False):
        super().__init__()
        self.follows_mode = training
        self.module = copy.deepcopy(source).requires_grad_(False).train(training)

    def train(self, mode: bool = True) -> EMA:
        """Stays in evaluation mode, whatever the mode, unless it was made with `training`."""
        return super().train(mode and self.follows_mode)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """What the averaged module gives."""
        return self.module(*inputs)

    @torch.no_grad()
    def update(self, source: nn.Module, momentum: float) -> None:
        """Move every parameter to momentum * own + (1 - momentum) * source's; copy the buffers, if none are its own."""
        own, new = [p.data for p in self.module.parameters()], [p.data for p in source.parameters()]
        torch._foreach_lerp_(own, new, 1 - momentum)  # type: ignore[call-overload]
        if self.follows_mode:
            return
        for mine, theirs in zip(self.module.buffers(), source.buffers(), strict=True):
            mine.copy_(theirs)
