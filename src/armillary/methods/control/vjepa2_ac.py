"""V-JEPA 2-AC: predict the next frame's patches from tokens of action and state beside them (arXiv 2506.09985).

  latent   z_t = LN(f(o_t)), f frozen, LN without parameters
  predict  p_{t+1} = LN(g(a_{<=t}, s_{<=t}, z_{<=t})): per frame a token of the action, one of the state s, the patches
  energy   mean |p_{t+1} - z_{t+1}| over all t, from true latents; + mean |q_t - z_t|, t = 1..rollout, where
           q_{t+1} = LN(g(a_{<=t}, s_{<=t}, z_0, q_1..q_t)) sees one true frame, and gradients flow through all of it
The encoder never trains, so nothing can collapse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import ConfigError, ShapeError, require
from ...functional.distance import layer_normalized, smooth_l1
from ...nn.attention import Initialization
from ...nn.encoder import ViT
from ...nn.frames import TokenPredictor
from ...nn.frozen import Frozen, FrozenEncoder
from ...nn.inputs import fitting
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Terms, Tokens

State = tuple[Tensor, Tensor, Tensor]  # latents [B, T, N, D], actions between [B, T - 1, A], states [B, T, P]


@dataclass(frozen=True)
class Config:
    """Defaults: facebookresearch/vjepa2:configs/train/vitg16/droid-256px-8f.yaml, on an image encoder of that size."""

    encoder: Frozen = Frozen(ViT(image=256, patch=16, width=1408, depth=40, heads=22, mlp_ratio=48 / 11))
    """the frozen encoder: sizes and weights"""
    action: int = 7
    """numbers in one macro-step's action: action dimensions times frame skip"""
    proprio: int = 7
    """numbers of the state token, read from the batch's proprioception; 0 leaves the token out"""
    proprio_moves: float = 0.0
    """in planning: what an action adds to the state, in its normalized unit, per normalized number of the action, for
    bodies whose actions are changes of that state; 0 keeps the last one that was seen"""
    history: int = 7
    """frames that the predictor sees"""
    rollout: int = 2
    """open-loop steps in training; 1 repeats the first teacher-forced one"""
    width: int = 1024
    """width inside the predictor"""
    depth: int = 24
    """blocks of the predictor"""
    heads: int = 16
    """attention heads of the predictor"""
    init: Initialization = "released"
    """the predictor's weights of std 0.02, as released, or by fan-in and fan-out, which small widths need"""

    def __post_init__(self) -> None:
        names = ("action", "history", "rollout", "width", "depth", "heads")
        require(1, math.inf, **{name: getattr(self, name) for name in names})
        require(0, math.inf, proprio=self.proprio)
        require(-math.inf, math.inf, proprio_moves=self.proprio_moves)
        if self.proprio_moves and (not self.proprio or self.action % self.proprio):
            raise ConfigError(
                f"proprio_moves needs actions that change each of the {self.proprio} numbers of the state, in a raw "
                f"step or several: {self.action} is no multiple; set it to 0, or method.action and method.proprio"
            )


class VJEPA2AC(Method):
    """World model of patches on a frozen encoder, conditioned by tokens; keeps the `Dynamics` contract."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, vit = config, config.encoder.vit
        self.encoder = FrozenEncoder(config.encoder)
        conditions = (config.action, config.proprio) if config.proprio else (config.action,)
        self.predictor = TokenPredictor(
            vit.width, config.width, config.depth, config.heads, vit.side, conditions, config.init
        )

    @property
    def weights(self) -> dict[str, float]:
        """Teacher forcing and rollout count alike."""
        return {"prediction": 1.0, "rollout": 1.0}

    def latents(self, image: Float[Tensor, "B T C h w"]) -> Float[Tensor, "B T N D"]:
        """Normalized patches of each frame alone; the released encoder is of video and sees each frame twice."""
        return layer_normalized(self.encoder(image))

    def states(self, batch: Batch) -> Float[Tensor, "B T P"]:
        """The proprioception, [B, T, 0] where none is used.

        Raises:
            ShapeError: it is missing or has another width than the method was built for.
        """
        if not self.config.proprio:
            return batch["image"].new_zeros(*batch["image"].shape[:2], 0)
        return fitting(batch.get("proprio"), self.config.proprio, "proprio")

    def predict(
        self, z: Float[Tensor, "B T N D"], action: Float[Tensor, "B T A"], state: Float[Tensor, "B T P"]
    ) -> Float[Tensor, "B T N D"]:
        """z[t+1] from z[<=t], a[<=t] and s[<=t] for every t at once.

        Raises:
            ShapeError: actions have another width than the method was built for.
        """
        told = [fitting(action, self.config.action, "action")] + ([state] if self.config.proprio else [])
        return layer_normalized(self.predictor(z, *told))

    def unrolled(
        self, z: Float[Tensor, "B T N D"], action: Float[Tensor, "B Ta A"], state: Float[Tensor, "B Ts P"]
    ) -> tuple[Float[Tensor, "B F N D"], Float[Tensor, "B R N D"]]:
        """Predictions of frames 1..history from true latents, and of 1..rollout from the first one alone.

        Raises:
            ShapeError: the window has fewer frames than either needs.
        """
        h, steps = self.config.history, self.config.rollout
        if z.shape[1] <= max(h, steps):
            raise ShapeError(
                f"windows of {z.shape[1]} frames are too short for history {h} and rollout {steps}: use "
                f"{max(h, steps) + 1}"
            )
        forced = self.predict(z[:, :h], action[:, :h], state[:, :h])
        free = torch.cat([z[:, :1], forced[:, :1]], 1)
        for t in range(2, steps + 1):
            free = torch.cat([free, self.predict(free, action[:, :t], state[:, :t])[:, -1:]], 1)
        return forced, free[:, 1:]

    def loss(self, batch: Batch, random: Random) -> Terms:
        """L1 distance of both kinds of predictions; the states of a rollout are the true ones, as released."""
        z = self.latents(batch["image"])
        forced, free = self.unrolled(z, batch["action"], self.states(batch))
        return {
            "prediction": smooth_l1(forced, z[:, 1 : forced.shape[1] + 1], beta=0.0),
            "rollout": smooth_l1(free, z[:, 1 : free.shape[1] + 1], beta=0.0),
        }

    def encode(self, batch: Batch) -> Tokens:
        """Patches under the frozen encoder; of windows those of all frames, coordinates (time, row, column)."""
        return self.encoder.tokens(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Teacher-forced predictions on the window, patch by patch, and the same patch in the frame before."""
        z = self.latents(batch["image"])
        predicted, _ = self.unrolled(z, batch["action"], self.states(batch))
        target, last = z[:, 1 : predicted.shape[1] + 1], z[:, : predicted.shape[1]]
        place = torch.arange(target[0, ..., 0].numel(), device=z.device).repeat(len(z))
        return Forecast(predicted.flatten(0, 2), target.flatten(0, 2), last.flatten(0, 2), place=place)

    def start(self, batch: Batch) -> State:
        """Dynamics: the state after the last frames of `batch`, image [B, T, C, h, w], action [B, T - 1, A]."""
        z = self.latents(batch["image"][:, -self.config.history :])
        frames, past = z.shape[1], fitting(batch["action"], self.config.action, "action")
        return z, past[:, past.shape[1] - frames + 1 :], self.states(batch)[:, -frames:]

    def step(self, state: State, action: Float[Tensor, "B A"]) -> State:
        """Dynamics: the state after one more (macro-)action."""
        z, past, body = state
        actions = torch.cat([past, fitting(action, self.config.action, "action")[:, None]], 1)  # [B, T, A]
        z = torch.cat([z, self.predict(z, actions, body)[:, -1:]], 1)[:, -self.config.history :]
        frames = z.shape[1]
        body = torch.cat([body, self.moved(body[:, -1], action)[:, None]], 1)[:, -frames:]
        return z, actions[:, actions.shape[1] - frames + 1 :], body

    def moved(self, state: Float[Tensor, "B P"], action: Float[Tensor, "B A"]) -> Float[Tensor, "B P"]:
        """The body's state after an action, whose raw steps add up; see `proprio_moves`."""
        if not self.config.proprio_moves:
            return state
        return state + self.config.proprio_moves * action.unflatten(1, (-1, self.config.proprio)).sum(1)

    def latent(self, state: State) -> Float[Tensor, "B N D"]:
        """Dynamics: normalized patches of the current frame; the released planner compares them by L1."""
        return state[0][:, -1]


def tiny() -> tuple[VJEPA2AC, Batch]:
    """A small instance without a state token, and a batch for the contract tests."""
    vit = ViT(image=16, patch=8, width=16, depth=1, heads=2, init="xavier")
    config = Config(Frozen(vit), action=4, proprio=0, history=2, width=24, depth=1, heads=2, init="xavier")
    random = numbered(8)
    image, action = random.normal("image", 4, 3, 16, 16), random.normal("action", 3, 4)
    proprio = random.normal("proprio", 4, 2)
    return VJEPA2AC(config), {"index": torch.arange(8), "image": image, "action": action, "proprio": proprio}


__all__ = ["VJEPA2AC", "Config", "Frozen", "State", "ViT", "tiny"]
