"""PLDM: a world model of latents that are spread out, slow, and tell which action was taken (arXiv 2502.14819).

  latent   z_t = norm(f(o_t))     unroll  p_0 = z_0, p_{t+1} = norm(g(p_t, a_t)): no frame is seen after the first
  energy   w1 |p_t - z_t|^2, gradients through both sides; of z alone: w2 hinge on its std over the batch, w3 its
           covariances squared, w4 hinge on its std over time, w5 |z_{t+1} - z_t|^2, w6 |q(z_t, z_{t+1}) - a_t|^2
No teacher, no stop-gradient, no reconstruction, no reward. EB-JEPA (arXiv 2602.03604) weighs the same terms otherwise.
With `straighten_weight` > 0 neighboring steps of z shall also point the same way (temporal straightening, 2603.12231).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ShapeError, require
from ...functional.distance import squared
from ...functional.trajectory import Samples, moments, straightening, time_similarity, time_variance
from ...nn.encoder import ConvNet, Encoder, ViT, encoder
from ...nn.recurrent import GRUTransition, ResidualTransition
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Terms, Tokens

State = tuple[Tensor]  # the latent [B, D]


@dataclass(frozen=True)
class Weights:
    """Weights of the terms. Defaults: Two Rooms, vladisai/PLDM:pldm/configs/wall/icml/noise0.yaml and its neighbors."""

    prediction: float = 1.0
    """squared error of the unrolled predictions"""
    variance: float = 3.9843
    """standard deviations below 1 over the batch"""
    covariance: float = 6.9238
    """covariances between dimensions over the batch"""
    time_variance: float = 0.24535
    """standard deviations below 1 over the steps of a trajectory, its first left out"""
    time_similarity: float = 0.74242
    """squared difference of the latents of neighboring steps"""
    inverse_dynamics: float = 1.072
    """squared error of the action that is read off the latents around it"""

    def __post_init__(self) -> None:
        require(0, math.inf, **asdict(self))


# facebookresearch/eb_jepa:examples/ac_video_jepa/cfgs/train.yaml; with `samples="all"` and `rollout=8`
EB_JEPA = Weights(variance=16, covariance=8, time_variance=0, time_similarity=12, inverse_dynamics=1)


@dataclass(frozen=True)
class Config:
    """Defaults: the released Two Rooms model, vladisai/PLDM:pldm/configs/wall/icml/noise0.yaml, but for its encoder.

    That is an Impala network on 65 pixels and 2 channels, a linear map and a layer norm; here the network is `encoder`.
    """

    encoder: Encoder = ConvNet()
    """a small convolutional network (its last map), a residual network or a vision transformer"""
    width: int = 512
    """width of the latent"""
    action: int = 2
    """numbers in one macro-step's action: action dimensions times frame skip"""
    predictor: Literal["gru", "mlp"] = "gru"
    """a GRU whose state is the latent, as published, or a residual MLP"""
    hidden: int = 512
    """hidden width of the MLPs: inverse dynamics, and the predictor where it is one"""
    rollout: int = 0
    """open-loop steps in training; 0 is all that the window has, as published"""
    samples: Samples = "first"
    """whose variances and covariances: of the window's first latents, as released, of each step's, of all steps'"""
    weights: Weights = Weights()
    """weights of the terms"""
    straighten_weight: float = 0.0
    """weight of 1 - cosine between neighboring steps of the latents; 0 is none, as published"""

    def __post_init__(self) -> None:
        require(1, math.inf, width=self.width, action=self.action, hidden=self.hidden)
        require(0, math.inf, rollout=self.rollout, straighten_weight=self.straighten_weight)


class PLDM(Method):
    """World model whose predictor carries the latent from action to action; keeps the `Dynamics` contract."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, D, A = config, config.width, config.action
        self.encoder = encoder(config.encoder)
        self.project = nn.Linear(self.encoder.out_width, D)
        self.norm = nn.LayerNorm(D)  # of encoded and of predicted latents: one scale for both
        self.predictor = GRUTransition(D, A) if config.predictor == "gru" else ResidualTransition(D, A, config.hidden)
        self.inverse = nn.Sequential(nn.Linear(2 * D, config.hidden), nn.ReLU(), nn.Linear(config.hidden, A))

    @property
    def weights(self) -> dict[str, float]:
        """Those of the configuration; straightening where it has one."""
        weights = asdict(self.config.weights)
        if self.config.straighten_weight:
            weights["straightening"] = self.config.straighten_weight
        return weights

    def latents(self, image: Float[Tensor, "B T C h w"]) -> Float[Tensor, "B T D"]:
        """The latent of each frame alone."""
        return self.norm(self.project(self.encoder.vector(image.flatten(0, 1)))).unflatten(0, image.shape[:2])

    def predict(self, z: Float[Tensor, "B D"], action: Float[Tensor, "B A"]) -> Float[Tensor, "B D"]:
        """The next latent.

        Raises:
            ShapeError: actions have another width than the method was built for.
        """
        if action.shape[-1] != self.config.action:
            raise ShapeError(
                f"actions of a macro-step are {action.shape[-1]} numbers, the method was built for "
                f"{self.config.action}: set method.action to the action's dimensions times data.frame_skip"
            )
        return self.norm(self.predictor(z, action))

    def unrolled(
        self, z: Float[Tensor, "B T D"], action: Float[Tensor, "B Ta A"]
    ) -> tuple[Float[Tensor, "B P D"], Float[Tensor, "B P D"]]:
        """Open-loop predictions from the first latent, and their targets, through which gradients flow as well.

        Raises:
            ShapeError: the window has fewer frames than rollout + 1, or no action between some.
        """
        steps = self.config.rollout or max(1, z.shape[1] - 1)
        if z.shape[1] < steps + 1 or action.shape[1] < steps:
            raise ShapeError(
                f"windows of {z.shape[1]} frames and {action.shape[1]} actions are too short for a rollout of {steps}: "
                f"use {steps + 1} frames or more, with an action between any two"
            )
        predicted = [z[:, 0]]
        for t in range(steps):
            predicted.append(self.predict(predicted[-1], action[:, t]))
        return torch.stack(predicted[1:], 1), z[:, 1 : steps + 1]

    def loss(self, batch: Batch, random: Random) -> Terms:
        """The error of the unrolled predictions, and five terms of the encoded latents alone, or six."""
        z = self.latents(batch["image"])
        predicted, target = self.unrolled(z, batch["action"])
        variance, covariance = moments(z, self.config.samples)
        action = self.inverse(torch.cat([z[:, :-1], z[:, 1:]], -1))
        terms = {
            "prediction": squared(predicted, target),
            "variance": variance,
            "covariance": covariance,
            "time_variance": time_variance(z[:, 1:]),
            "time_similarity": time_similarity(z),
            "inverse_dynamics": squared(action, batch["action"][:, : z.shape[1] - 1]),
        }
        if self.config.straighten_weight:
            terms["straightening"] = straightening(z)
        return terms

    def encode(self, batch: Batch) -> Tokens:
        """The latents of a window [B, T, C, h, w] as T tokens, or of single images as one; coordinate: the step."""
        image = batch["image"] if batch["image"].ndim == 5 else batch["image"][:, None]
        z = self.latents(image)
        return Tokens.over_time(z)

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Predictions on the window, and the latent before each target."""
        z = self.latents(batch["image"])
        predicted, target = self.unrolled(z, batch["action"])
        return Forecast(predicted.flatten(0, 1), target.flatten(0, 1), z[:, : target.shape[1]].flatten(0, 1))

    def start(self, batch: Batch) -> State:
        """Dynamics: the latent of the last frame of `batch`, image [B, T, C, h, w]."""
        return (self.latents(batch["image"][:, -1:])[:, 0],)

    def step(self, state: State, action: Float[Tensor, "B A"]) -> State:
        """Dynamics: the latent after one more (macro-)action."""
        return (self.predict(state[0], action),)

    def latent(self, state: State) -> Float[Tensor, "B D"]:
        """Dynamics: the current latent."""
        return state[0]


def tiny() -> tuple[PLDM, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(ConvNet(image=16, widths=(8, 8)), width=16, action=4, hidden=16)
    random = numbered(8)
    image, action = random.normal("image", 4, 3, 16, 16), random.normal("action", 3, 4)
    return PLDM(config), {"index": torch.arange(8), "image": image, "action": action}


__all__ = ["EB_JEPA", "PLDM", "Config", "ConvNet", "State", "ViT", "Weights", "tiny"]
