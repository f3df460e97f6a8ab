"""How far each next latent is from what a world model expected of it: what surprise and its bounds are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Dynamics
from ..errors import ShapeError
from ..types import Batch


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
    image, action = batch["image"], batch["action"]
    if image.shape[1] < 2:
        raise ShapeError(f"windows of {image.shape[1]} frame: at least 2 are needed to expect one")
    before, predicted, came = [], [], []
    for t in range(1, image.shape[1]):
        first = max(0, t - history)
        state = dynamics.start({"image": image[:, first:t], "action": action[:, first : t - 1]})
        before.append(dynamics.latent(state))
        predicted.append(dynamics.latent(dynamics.step(state, action[:, t - 1])))
        came.append(dynamics.latent(dynamics.start({"image": image[:, t : t + 1], "action": action[:, :0]})))
    if before[0].ndim != 2:
        raise ShapeError(f"latents of shape {tuple(before[0].shape[1:])}: expectations are told of vectors only")
    return Expected(torch.stack(before, 1), action, torch.stack(predicted, 1), torch.stack(came, 1))
