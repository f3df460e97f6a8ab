"""How far the model's own predictions are from what comes, step by step, beside copying and shuffled actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Dynamics
from ..types import Batch
from .rollout import rollout
from .windows import alone, context


@dataclass(frozen=True)
class RolloutErrors:
    """Squared errors of n windows at each of H macro-steps, summed over the latent, and the target's variance.

    model: open-loop rollout. copy: the latent before the first action. shuffled: rollout with another window's actions.
    """

    model: Float[Tensor, "n H"]
    copy: Float[Tensor, "n H"]
    shuffled: Float[Tensor, "n H"]
    variance: float

    def nmse(self) -> Float[Tensor, " H"]:
        """Error over the variance of the target."""
        return self.model.mean(0) / self.variance

    def ratio(self) -> Float[Tensor, " H"]:
        """Error over that of copying the last observed latent."""
        return self.model.mean(0) / self.copy.mean(0)

    def by_horizon(self) -> list[dict[str, int | float]]:
        """One row per horizon: each error over the variance of the target."""
        columns = [x.mean(0) / self.variance for x in (self.model, self.copy, self.shuffled)]
        rows = enumerate(zip(*(c.tolist() for c in columns), strict=True), 1)
        return [{"horizon": h, "nmse": m, "copy_nmse": c, "shuffled_nmse": s} for h, (m, c, s) in rows]


@torch.no_grad()
def rollout_errors(dynamics: Dynamics, batch: Batch, history: int = 1) -> RolloutErrors:
    """Roll a world model out over prepared windows, from their first `history` frames.

    Args:
        batch: image [n, T, C, h, w], action [n, T - 1, A], proprio [n, T, P] where the model takes it; the horizon
            is T - history.
    """
    state = dynamics.start(context(batch, history))
    first = dynamics.latent(state)
    later = range(history, batch["image"].shape[1])
    truth = torch.stack([dynamics.latent(dynamics.start(alone(batch, t))) for t in later], 1)
    ahead = batch["action"][:, history - 1 :]

    def error(predicted: Tensor) -> Tensor:
        return (predicted - truth).float().square().flatten(2).sum(2)

    return RolloutErrors(
        error(rollout(dynamics, state, ahead)),
        error(first[:, None].expand_as(truth)),
        error(rollout(dynamics, state, ahead.roll(1, 0))),
        float(truth.flatten(0, 1).flatten(1).float().var(0).sum()),
    )
