"""What self-distillation needs behind an encoder: a head onto prototypes, and the center of its logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..functional.distill import new_center
from .attention import Initialization, initialize


class PrototypeHead(nn.Module):
    """Three linear maps with GELU between them, a unit vector, its cosine with each prototype.

    Source: DINO (arXiv 2104.14294), section 3.1 and appendix C; facebookresearch/dino:vision_transformer.py, whose
    weight-normalized last layer with gain 1 this is.
    """

    def __init__(self, width: int, hidden: int, bottleneck: int, count: int, init: Initialization = "released"):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        initialize(self.layers, init)
        self.prototypes = nn.Linear(bottleneck, count, bias=False)  # used without their lengths

    def forward(self, x: Float[Tensor, "*B D"], learn: float | Float[Tensor, ""] = 1.0) -> Float[Tensor, "*B K"]:
        """Logits from -1 to 1; `learn` scales the gradient of the prototypes."""
        kept = self.prototypes.weight.detach()
        weight = F.normalize(kept + learn * (self.prototypes.weight - kept), dim=1)
        return F.linear(F.normalize(self.layers(x), dim=-1), weight)


class Center(nn.Module):
    """A running mean of logits that moves once per step, by what all passes of the step saw; see `new_center`."""

    value: Tensor
    total: Tensor
    passes: Tensor

    def __init__(self, width: int, momentum: float = 0.9):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(width))
        self.register_buffer("total", torch.zeros(width), persistent=False)  # of the new centers of this step's passes
        self.register_buffer("passes", torch.zeros(()), persistent=False)

    @torch.no_grad()
    def see(self, logits: Float[Tensor, "*B K"]) -> None:
        """Take note of a batch or micro-batch in training; `value` stays as it is until the step is done."""
        if self.training:
            self.total += new_center(self.value, logits, self.momentum)
            self.passes += 1

    @torch.no_grad()
    def step(self) -> None:
        """Move to what was seen since the last step, if anything was."""
        self.value.copy_(torch.where(self.passes > 0, self.total / self.passes.clamp_min(1), self.value))
        self.total.zero_()
        self.passes.zero_()
