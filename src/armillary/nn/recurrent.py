"""Transitions: the next latent from the present one and an action, with no memory beside the latent.

For rollouts of many candidates a transition is also two parts, `inputs` and `moved`: the products of actions, of all
steps at once, and what is left, where latents that candidates share are one row of a broadcast axis.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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

    def inputs(self, action: Float[Tensor, "*B A"]) -> Float[Tensor, "*B G"]:
        """The actions' part of the gates."""
        with torch.autocast(action.device.type, enabled=False):
            return F.linear(action.float(), self.cell.weight_ih, self.cell.bias_ih)

    def moved(self, z: Float[Tensor, "*#B D"], given: Float[Tensor, "*B G"]) -> Float[Tensor, "*B D"]:
        """The next latent, given the actions' part."""
        with torch.autocast(z.device.type, enabled=False):
            z, gates = z.float(), 2 * z.shape[-1]
            own = F.linear(z, self.cell.weight_hh, self.cell.bias_hh)
            reset, update = (given[..., :gates] + own[..., :gates]).sigmoid().chunk(2, -1)
            new = torch.addcmul(given[..., gates:], reset, own[..., gates:])
            new = 2 * (2 * new).sigmoid() - 1  # its tanh, for which torch takes a tenth of the step on some CPUs
            return new.lerp(z, update)


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

    def inputs(self, action: Float[Tensor, "*B A"]) -> Float[Tensor, "*B G"]:
        """The actions' part of the hidden layer."""
        first = self.change[0]
        assert isinstance(first, nn.Linear)
        return F.linear(action, first.weight[:, -action.shape[-1] :], first.bias)

    def moved(self, z: Float[Tensor, "*#B D"], given: Float[Tensor, "*B G"]) -> Float[Tensor, "*B D"]:
        """The next latent, given the actions' part."""
        first = self.change[0]
        assert isinstance(first, nn.Linear)
        return z + self.change[1:](F.linear(z, first.weight[:, : z.shape[-1]]) + given)
