"""Transitions: the next latent from the present one and an action, with no memory beside the latent."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GRUTransition(nn.Module):
    """A GRU cell whose hidden state is the latent and whose only input is the action; float32, as states are fed back.

    Their norm of the new state is left to the caller, who has it from the encoder.
    Source: vladisai/PLDM:pldm/models/predictors.py (`RNNPredictorV2`);
    facebookresearch/eb_jepa:eb_jepa/architectures.py (`RNNPredictor`).
    """

    def __init__(self, width: int, action: int):
        super().__init__()
        self.cell = nn.GRUCell(action, width)

    def forward(self, z: Float[Tensor, "B D"], action: Float[Tensor, "B A"]) -> Float[Tensor, "B D"]:
        """The next latent."""
        with torch.autocast(z.device.type, enabled=False):
            return self.cell(action.float(), z.float())


class ResidualTransition(nn.Module):
    """The latent plus what an MLP makes of latent and action together.

    vladisai/PLDM has such an MLP (`MLPPredictor`), with Mish and without the latent added; it is not its default.
    """

    def __init__(self, width: int, action: int, hidden: int):
        super().__init__()
        self.change = nn.Sequential(nn.Linear(width + action, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, z: Float[Tensor, "B D"], action: Float[Tensor, "B A"]) -> Float[Tensor, "B D"]:
        """The next latent."""
        return z + self.change(torch.cat([z, action], -1))
