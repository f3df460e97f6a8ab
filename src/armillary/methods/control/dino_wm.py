"""DINO-WM: predict the patches of the next frame under a frozen encoder (arXiv 2411.04983).

  latent   z_t = [f(o_t), P s_t]: patches of the frame, each with the embedded proprioception s_t beside it
  predict  p_{t+1} = g([z_{<=t}, A a_{<=t}]), the embedded action beside each patch; no token sees a later frame
  energy   mean |p_{t+1} - sg(z_{t+1})|^2 over t, patches and dimensions; what stands at the action's is left out
The encoder f never trains, so nothing can collapse but P, whose share of the target is small.
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
from ...nn.encoder import ViT
from ...nn.frames import FramePredictor
from ...nn.frozen import Frozen, FrozenEncoder
from ...nn.inputs import fitting
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Terms, Tokens

State = tuple[Tensor, Tensor]  # latents [B, T, N, D] of the last T <= history frames, actions between [B, T - 1, A]


@dataclass(frozen=True)
class Config:
    """Defaults: gaoyuezhou/dino_wm:conf/{train,predictor/vit}.yaml, on a transformer of ours of DINOv2's size."""

    encoder: Frozen = Frozen(ViT(image=196, patch=14, width=384, depth=12, heads=6))
    """the frozen encoder: sizes and weights"""
    action: int = 10
    """numbers in one macro-step's action: action dimensions times frame skip"""
    action_width: int = 10
    """width of the embedded action"""
    proprio: int = 0
    """numbers of proprioception in a frame; 0 where the batch has none or it shall not be used"""
    proprio_width: int = 10
    """width of the embedded proprioception"""
    history: int = 3
    """frames that the predictor sees"""
    depth: int = 6
    """blocks of the predictor"""
    heads: int = 16
    """attention heads of the predictor"""
    head_width: int = 64
    """width of a head"""
    hidden: int = 2048
    """hidden width of the predictor's MLPs"""
    dropout: float = 0.1
    """in the predictor"""
    goal_proprio: float = 1.0
    """weight of the proprioception's mean squared error, beside that of the patches, in the distance to a goal"""

    def __post_init__(self) -> None:
        names = ("action", "action_width", "proprio_width", "history", "depth", "heads", "head_width", "hidden")
        require(1, math.inf, **{name: getattr(self, name) for name in names})
        require(0, math.inf, proprio=self.proprio, goal_proprio=self.goal_proprio)
        require(0, 1, dropout=self.dropout)


class DINOWM(Method):
    """World model of patches on a frozen encoder; keeps the `Dynamics` contract."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, vit = config, config.encoder.vit
        self.encoder = FrozenEncoder(config.encoder)
        self.embed_action = nn.Linear(config.action, config.action_width)
        self.embed_proprio = nn.Linear(config.proprio, config.proprio_width) if config.proprio else None
        width = vit.width + (config.proprio_width if config.proprio else 0) + config.action_width
        self.predictor = FramePredictor(
            width, config.history, vit.side**2, config.depth, config.heads, config.head_width, config.hidden,
            config.dropout,
        )  # fmt: skip

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"prediction": 1.0}

    def latents(self, batch: Batch) -> Float[Tensor, "B T N D"]:
        """Patches of each frame alone and, where it is used, the embedded proprioception beside each of them.

        Raises:
            ShapeError: the batch has no proprioception of the width that the method was built for.
        """
        z = self.encoder(batch["image"])
        if self.embed_proprio is None:
            return z
        beside = self.embed_proprio(fitting(batch.get("proprio"), self.config.proprio, "proprio"))
        return torch.cat([z, beside[:, :, None].expand(-1, -1, z.shape[2], -1)], -1)

    def predict(self, z: Float[Tensor, "B T N D"], action: Float[Tensor, "B T A"]) -> Float[Tensor, "B T N D"]:
        """z[t+1] from z[<=t] and a[<=t] for every t at once; T <= history.

        Raises:
            ShapeError: actions have another width than the method was built for.
        """
        beside = self.embed_action(fitting(action, self.config.action, "action"))
        beside = beside[:, :, None].expand(-1, -1, z.shape[2], -1)
        return self.predictor(torch.cat([z, beside], -1))[..., : z.shape[-1]]

    def unrolled(self, batch: Batch) -> tuple[Float[Tensor, "B T N D"], Float[Tensor, "B T N D"], Tensor]:
        """Teacher-forced predictions of frames 1..history, their targets without gradient, the latents before them.

        Raises:
            ShapeError: the window is shorter than history + 1 frames.
        """
        h, frames = self.config.history, batch["image"].shape[1]
        if frames < h + 1:
            raise ShapeError(f"windows of {frames} frames are too short for history {h} + 1: use {h + 1}")
        z = self.latents({name: x[:, : h + 1] for name, x in batch.items() if name in ("image", "proprio")})
        return self.predict(z[:, :h], batch["action"][:, :h]), z[:, 1:].detach(), z[:, :h]

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Squared error of the predictions, of patches and proprioception alike."""
        predicted, target, _ = self.unrolled(batch)
        return {"prediction": squared(predicted, target)}

    def encode(self, batch: Batch) -> Tokens:
        """Patches under the frozen encoder; of windows those of all frames, coordinates (time, row, column)."""
        return self.encoder.tokens(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Predictions on the window, patch by patch, and the same patch in the frame before."""
        predicted, target, last = self.unrolled(batch)
        place = torch.arange(target[0, ..., 0].numel(), device=target.device).repeat(len(target))
        return Forecast(predicted.flatten(0, 2), target.flatten(0, 2), last.flatten(0, 2), place=place)

    def start(self, batch: Batch) -> State:
        """Dynamics: the state after the last frames of `batch`, image [B, T, C, h, w], action [B, T - 1, A]."""
        h = self.config.history
        z = self.latents({name: x[:, -h:] for name, x in batch.items() if name in ("image", "proprio")})
        past = fitting(batch["action"], self.config.action, "action")
        return z, past[:, past.shape[1] - z.shape[1] + 1 :]

    def step(self, state: State, action: Float[Tensor, "B A"]) -> State:
        """Dynamics: the state after one more (macro-)action."""
        z, past = state
        actions = torch.cat([past, fitting(action, self.config.action, "action")[:, None]], 1)  # [B, T, A]
        z = torch.cat([z, self.predict(z, actions)[:, -1:]], 1)[:, -self.config.history :]
        return z, actions[:, actions.shape[1] - z.shape[1] + 1 :]

    def latent(self, state: State) -> Float[Tensor, "B N D"]:
        """Dynamics: patches of the current frame; a squared distance of two is N D_patch times the paper's objective.

        That is MSE(patches) + goal_proprio * MSE(proprioception), each over its own dimensions.
        """
        z, width, weight = state[0][:, -1], self.config.encoder.vit.width, self.config.goal_proprio
        if self.embed_proprio is None or not weight:
            return z[..., :width]
        return torch.cat([z[..., :width], z[..., width:] * math.sqrt(weight * width / self.config.proprio_width)], -1)


def tiny() -> tuple[DINOWM, Batch]:
    """A small instance that leaves proprioception aside, and a batch for the contract tests."""
    vit = ViT(image=16, patch=8, width=16, depth=1, heads=2, init="xavier")
    config = Config(
        Frozen(vit), action=4, action_width=4, proprio_width=4, history=2, depth=1, heads=2, head_width=8,
        hidden=32, dropout=0.0,
    )  # fmt: skip
    random = numbered(8)
    image, action = random.normal("image", 4, 3, 16, 16), random.normal("action", 3, 4)
    proprio = random.normal("proprio", 4, 3)
    return DINOWM(config), {"index": torch.arange(8), "image": image, "action": action, "proprio": proprio}


__all__ = ["DINOWM", "Config", "Frozen", "State", "ViT", "tiny"]
