"""LeWM: a world model learned end to end from pixels with two terms (LeWorldModel, arXiv 2603.19312).

  latent   z_t = f(o_t)           energy  |g(z_{t-h+1..t}, a_{t-h+1..t}) - z_{t+1}|^2, gradients through both sides
  collapse prevention: SIGReg on z at each time step. No teacher, no stop-gradient, no reconstruction, no reward.
With `rollout` > 1 the predictor is also fed its own predictions; the paper stops at teacher forcing. With
`straighten_weight` > 0 neighboring steps of z shall also point the same way (temporal straightening, arXiv 2603.12231).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ShapeError, require
from ...functional.distance import squared
from ...functional.regularize import sigreg, unit_directions
from ...functional.trajectory import straightening
from ...nn.encoder import ConvNet, Encoder, ViT, encoder
from ...nn.folded import FoldedPredictor
from ...nn.heads import projector
from ...nn.predictor import CausalPredictor
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Terms, Tokens

State = tuple[Tensor, Tensor]  # latents [B, T, D] of the last T <= history steps, actions between them [B, T - 1, A]


@dataclass(frozen=True)
class Config:
    """Defaults: the paper's Push-T model, galilai-group/stable-worldmodel:scripts/train/config/lewm.yaml."""

    encoder: Encoder = ViT(image=224, patch=14, width=192, depth=12, heads=3, position="learned", class_token=True,
                           norm_eps=1e-12)  # fmt: skip
    """a vision transformer (its class token is used) or a small convolutional network (its last map)"""
    width: int = 192
    """width of the latent"""
    action: int = 10
    """numbers in one macro-step's action: action dimensions times frame skip"""
    action_width: int = 10
    """width of the first linear map of actions"""
    history: int = 3
    """steps that the predictor sees"""
    rollout: int = 1
    """open-loop steps in training; 1 is teacher forcing alone, as published"""
    depth: int = 6
    """blocks of the predictor"""
    heads: int = 16
    """attention heads of the predictor"""
    head_width: int = 64
    """width of a head"""
    hidden: int = 2048
    """hidden width of the predictor's and the projectors' MLPs"""
    dropout: float = 0.1
    """in the predictor"""
    sigreg_weight: float = 0.09
    """weight of SIGReg; the prediction has weight 1"""
    directions: int = 1024
    """random directions of SIGReg, drawn anew each step"""
    knots: int = 17
    """points at which characteristic functions are compared"""
    straighten_weight: float = 0.0
    """weight of 1 - cosine between neighboring steps of the latents; 0 is none, as published"""

    def __post_init__(self) -> None:
        names = ("width", "action", "action_width", "history", "rollout", "depth", "heads", "head_width", "hidden")
        require(1, math.inf, directions=self.directions, **{name: getattr(self, name) for name in names})
        require(2, math.inf, knots=self.knots)
        require(0, 1, dropout=self.dropout)
        require(0, math.inf, sigreg_weight=self.sigreg_weight, straighten_weight=self.straighten_weight)


class LeWM(Method):
    """World model with a causal predictor conditioned on actions; keeps the `Dynamics` contract."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, D = config, config.width
        self.encoder = encoder(config.encoder)
        self.project = projector(self.encoder.out_width, config.hidden, D)
        self.embed_action = nn.Sequential(
            nn.Linear(config.action, config.action_width), nn.Linear(config.action_width, 4 * D), nn.SiLU(),
            nn.Linear(4 * D, D),
        )  # fmt: skip
        self.predictor = CausalPredictor(
            D, config.depth, config.heads, config.head_width, config.hidden, config.history, config.dropout
        )
        self.project_prediction = projector(D, config.hidden, D)

    @property
    def weights(self) -> dict[str, float]:
        """Prediction, SIGReg and, where it has a weight, straightening."""
        weights = {"prediction": 1.0, "sigreg": self.config.sigreg_weight}
        if self.config.straighten_weight:
            weights["straightening"] = self.config.straighten_weight
        return weights

    def latents(self, image: Float[Tensor, "B T C h w"]) -> Float[Tensor, "B T D"]:
        """The latent of each frame alone."""
        return self.project(self.encoder.vector(image.flatten(0, 1))).unflatten(0, image.shape[:2])

    def predict(self, z: Float[Tensor, "B T D"], action: Float[Tensor, "B T A"]) -> Float[Tensor, "B T D"]:
        """z[t+1] from z[<=t] and a[<=t] for every t at once; T <= history.

        Raises:
            ShapeError: actions have another width than the method was built for.
        """
        self.check(action)
        return self.project_prediction(self.predictor(z, self.embed_action(action)))

    def check(self, action: Float[Tensor, "*B A"]) -> None:
        """Refuse actions that the method was not built for.

        Raises:
            ShapeError: they have another width.
        """
        if action.shape[-1] != self.config.action:
            raise ShapeError(
                f"actions of a macro-step are {action.shape[-1]} numbers, the method was built for "
                f"{self.config.action}: set method.action to the action's dimensions times data.frame_skip"
            )

    def unrolled(
        self, z: Float[Tensor, "B T D"], action: Float[Tensor, "B Ta A"]
    ) -> tuple[Float[Tensor, "B P D"], Float[Tensor, "B P D"]]:
        """Predictions and their targets: teacher-forced over the history, then open loop from its last latent.

        Raises:
            ShapeError: the window is shorter than history + rollout frames.
        """
        h, steps = self.config.history, self.config.rollout
        if z.shape[1] < h + steps:
            raise ShapeError(
                f"windows of {z.shape[1]} frames are too short for history {h} + rollout {steps}: use {h + steps}"
            )
        predicted = self.predict(z[:, :h], action[:, :h])  # [B, h, D] of steps 1..h
        every, seen = [predicted], torch.cat([z[:, :h], predicted[:, -1:]], 1)
        for t in range(1, steps):
            following = self.predict(seen[:, -h:], action[:, t : t + h])[:, -1:]
            every.append(following)
            seen = torch.cat([seen, following], 1)
        return torch.cat(every, 1), z[:, 1 : h + steps]

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Squared error of the predictions, SIGReg of the encoded latents at each time step over the batch, bends."""
        z = self.latents(batch["image"])
        predicted, target = self.unrolled(z, batch["action"])
        directions = unit_directions(self.config.width, self.config.directions, random.shared("sigreg"))
        terms = {
            "prediction": squared(predicted, target),
            "sigreg": sigreg(z.transpose(0, 1), directions, self.config.knots),
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
        """Dynamics: the state after the last frames of `batch`, image [B, T, C, h, w], action [B, T - 1, A]."""
        z = self.latents(batch["image"][:, -self.config.history :])
        return z, batch["action"][:, batch["action"].shape[1] - z.shape[1] + 1 :]

    def step(self, state: State, action: Float[Tensor, "B A"]) -> State:
        """Dynamics: the state after one more (macro-)action."""
        z, past = state
        actions = torch.cat([past, action[:, None]], 1)  # [B, T, A]
        z = torch.cat([z, self.predict(z, actions)[:, -1:]], 1)[:, -self.config.history :]
        return z, actions[:, actions.shape[1] - z.shape[1] + 1 :]

    def latent(self, state: State) -> Float[Tensor, "B D"]:
        """Dynamics: the current latent."""
        return state[0][:, -1]

    def folded(self, dtype: torch.dtype = torch.float32, rows: int = 320) -> Folded:
        """These dynamics with the weights that they have now, for planning: faster, in evaluation, for good.

        Args:
            dtype: of weights and products; bfloat16 is twice as fast where the processor has it, and rounds latents by
                about 1 % of their spread over candidates.
            rows: candidates computed at once on a CPU, about. 150 to 300 are alike there; 75 cost a fifth more.
        """
        return Folded(self, FoldedPredictor(self.embed_action, self.predictor, self.project_prediction, dtype), rows)


@dataclass(frozen=True)
class Folded:
    """The dynamics of a LeWM for planning, see `FoldedPredictor`; its encoder is the method's."""

    method: LeWM
    predictor: FoldedPredictor
    rows: int

    def start(self, batch: Batch) -> State:
        """Dynamics: the state after the last frames of `batch`."""
        return self.method.start(batch)

    def step(self, state: State, action: Float[Tensor, "B A"]) -> State:
        """Dynamics: the state after one more (macro-)action."""
        z, past = state
        following = self.rollouts(state, action[:, None, None])[:, 0]  # [B, 1, D]
        z = torch.cat([z, following], 1)[:, -self.method.config.history :]
        return z, torch.cat([past, action[:, None]], 1)[:, past.shape[1] + 2 - z.shape[1] :]

    def latent(self, state: State) -> Float[Tensor, "B D"]:
        """Dynamics: the current latent."""
        return self.method.latent(state)

    def rollouts(self, state: State, actions: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S H D"]:
        """FastDynamics: the latents after each action of S candidates from each state."""
        self.method.check(actions)
        return self.predictor.rollouts(*state, actions, self.rows)


def tiny() -> tuple[LeWM, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(
        ConvNet(image=16, widths=(8, 8)), width=16, action=4, history=2, rollout=2, depth=1, heads=2, head_width=8,
        hidden=32, dropout=0.0, directions=32,
    )  # fmt: skip
    random = numbered(8)
    image, action = random.normal("image", 4, 3, 16, 16), random.normal("action", 3, 4)
    return LeWM(config), {"index": torch.arange(8), "image": image, "action": action}


__all__ = ["Config", "ConvNet", "LeWM", "State", "ViT", "tiny"]
