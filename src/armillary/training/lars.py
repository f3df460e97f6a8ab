"""LARS: stochastic gradient descent whose step is scaled by the norm of each weight (arXiv 1708.03888)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class LARS(torch.optim.Optimizer):
    """Momentum on trust * |p| / |g + decay p| * (g + decay p); groups whose `adapt` is False take g + decay p as it is.

    Source: You et al. (arXiv 1708.03888), as facebookresearch/vicreg:main_vicreg.py uses it (eta 0.001, momentum 0.9;
    biases and norms neither decayed nor adapted). A weight or gradient of norm 0 is not adapted.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float, momentum: float, trust: float):
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust, "adapt": True}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; a closure is not supported and must be None."""
        assert closure is None, "LARS evaluates no closure"
        for group in self.param_groups:
            held = [p for p in group["params"] if p.grad is not None]
            if not held:
                continue
            change = torch._foreach_add([p.grad for p in held], held, alpha=group["weight_decay"])
            if group["adapt"]:
                size, norms = torch._foreach_norm(held), torch._foreach_norm(change)
                for d, own, norm in zip(change, size, norms, strict=True):
                    d.mul_(torch.where((own > 0) & (norm > 0), group["trust"] * own / norm, 1.0))
            for p in held:
                if not self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            moments = [self.state[p]["momentum"] for p in held]
            torch._foreach_mul_(moments, group["momentum"])
            torch._foreach_add_(moments, change)
            torch._foreach_add_(held, moments, alpha=-group["lr"])
