"""Modules that make targets."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class EMA(nn.Module):
    """A frozen exponential moving average of `source`, in evaluation mode. It never records a gradient."""

    def __init__(self, source: nn.Module):
        super().__init__()
        self.module = copy.deepcopy(source).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> EMA:
        """Stays in evaluation mode, whatever the mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """What the averaged module gives."""
        return self.module(*inputs)

    @torch.no_grad()
    def update(self, source: nn.Module, momentum: float) -> None:
        """Move every parameter to momentum * own + (1 - momentum) * source's; copy the buffers."""
        own, new = [p.data for p in self.module.parameters()], [p.data for p in source.parameters()]
        torch._foreach_lerp_(own, new, 1 - momentum)  # type: ignore[call-overload]
        for mine, theirs in zip(self.module.buffers(), source.buffers(), strict=True):
            mine.copy_(theirs)
