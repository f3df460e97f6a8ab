"""How far each next latent is from what a world model expected of it: what surprise and its bounds are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Dynamics
from ..errors import ShapeError
from ..types import Batch
from .windows import SEEN, observed


@dataclass(frozen=True)
class Expected:
    """n windows of T frames, step by step. before, predicted, came: latents [n, T - 1, D]; action: [n, T - 1, A]."""

    before: Float[Tensor, "n U D"]
    action: Float[Tensor, "n U A"]
    predicted: Float[Tensor, "n U D"]
    came: Float[Tensor, "n U D"]

    def error(self) -> Float[Tensor, "n U"]:
        """Squared distance of what came from what was expected."""
        return (self.came - self.predicted).float().square().sum(2)


@torch.no_grad()
def expected(dynamics: Dynamics, batch: Batch, history: int = 1) -> Expected:
    """Predict each frame of prepared windows from the `history` true frames before it, or as many as there are.

    Args:
        batch: image [n, T, C, h, w] and action [n, T - 1, A].
    Raises:
        ShapeError: windows of fewer than 2 frames, or latents that are no vectors.
    """
    frames, action = batch["image"].shape[1], batch["action"]
    if frames < 2:
        raise ShapeError(f"windows of {frames} frame: at least 2 are needed to expect one")
    before, predicted, came = [], [], observed(dynamics, batch)[:, 1:]
    for t in range(1, frames):
        first = max(0, t - history)
        seen = {name: batch[name][:, first:t] for name in SEEN if name in batch}
        state = dynamics.start({**seen, "action": action[:, first : t - 1]})
        before.append(dynamics.latent(state))
        predicted.append(dynamics.latent(dynamics.step(state, action[:, t - 1])))
    if came.ndim != 3:
        raise ShapeError(f"latents of shape {tuple(came.shape[2:])}: expectations are told of vectors only")
    return Expected(torch.stack(before, 1), action, torch.stack(predicted, 1), came)
