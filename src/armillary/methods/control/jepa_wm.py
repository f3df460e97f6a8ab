"""JEPA-WM: actions modulate a predictor of patches that is also trained on its own predictions (arXiv 2512.24497).

  latent   z_t = [f(o_t), P s_t]: patches under a frozen encoder, each with the embedded proprioception beside it
  predict  p_{t+1} = g(z_{t-w+1..t} | a_{t-w+1..t}): the action of a frame scales, shifts and gates its tokens (AdaLN)
  energy   1/3 d(p_{t+1}, z_{t+1}) over all t, + 1/2 d(q, z_{t+2}) at one t, drawn anew in each step,
           q = g(.., z_t, sg(p_{t+1}) | .., a_{t+1}); d = mean squared error of patches + that of proprioception
The encoder never trains. Neither a target nor a prediction that is fed back carries a gradient: steps learn alone.
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
from ...nn.attention import Initialization
from ...nn.encoder import ViT
from ...nn.frames import AdaptivePredictor
from ...nn.frozen import Frozen, FrozenEncoder
from ...nn.inputs import fitting
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Terms, Tokens

State = tuple[Tensor, Tensor]  # latents [B, T, N, D] of the last T <= history frames, actions between [B, T - 1, A]


@dataclass(frozen=True)
class Config:
    """Defaults: simulated worlds, facebookresearch/jepa-wms:configs/vjepa_wm/mz_sweep/*predAdaLN_ftprop*2roll*.yaml."""

    encoder: Frozen = Frozen(ViT(image=224, patch=14, width=384, depth=12, heads=6))
    """the frozen encoder: sizes and weights"""
    action: int = 10
    """numbers in one macro-step's action: action dimensions times frame skip"""
    proprio: int = 0
    """numbers of proprioception in a frame; 0 where the batch has none or it shall not be used"""
    proprio_width: int = 16
    """width of the embedded proprioception"""
    history: int = 3
    """frames that a token sees, its own included"""
    rollout: int = 2
    """open-loop steps in training, the teacher-forced one included"""
    width: int = 384
    """width inside the predictor, for patches"""
    depth: int = 6
    """blocks of the predictor"""
    heads: int = 16
    """attention heads of the predictor; they share `width` and `proprio_width` together"""
    init: Initialization = "released"
    """the predictor's weights of std 0.02, as released, or by fan-in and fan-out, which small widths need"""
    goal_proprio: float = 0.1
    """weight of the proprioception's mean squared error, beside that of the patches, in the distance to a goal"""

    def __post_init__(self) -> None:
        names = ("action", "proprio_width", "history", "rollout", "width", "depth", "heads")
        require(1, math.inf, **{name: getattr(self, name) for name in names})
        require(0, math.inf, proprio=self.proprio, goal_proprio=self.goal_proprio)


class JEPAWM(Method):
    """World model of patches on a frozen encoder, with actions that modulate; keeps the `Dynamics` contract."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, vit = config, config.encoder.vit
        self.encoder = FrozenEncoder(config.encoder)
        self.embed_proprio = nn.Linear(config.proprio, config.proprio_width) if config.proprio else None
        self.predictor = AdaptivePredictor(
            vit.width, config.proprio_width if config.proprio else 0, config.width, config.action, config.depth,
            config.heads, vit.side, config.history, config.init,
        )  # fmt: skip

    @property
    def weights(self) -> dict[str, float]:
        """1 / (rollout + 1) and 1 / rollout, as released; without a rollout, teacher forcing alone."""
        steps = self.config.rollout
        return {"prediction": 1 / (steps + 1)} | ({"rollout": 1 / steps} if steps > 1 else {})

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
        """z[t+1] from the frames and actions in the window that ends at t, for every t at once.

        Raises:
            ShapeError: actions have another width than the method was built for.
        """
        return self.predictor(z, fitting(action, self.config.action, "action"))

    def distance(self, predicted: Float[Tensor, "B T N D"], target: Float[Tensor, "B T N D"]) -> Float[Tensor, ""]:
        """Mean squared error of patches plus that of proprioception, each over its own dimensions."""
        width = self.config.encoder.vit.width
        visual = squared(predicted[..., :width], target[..., :width])
        return visual if self.embed_proprio is None else visual + squared(predicted[..., width:], target[..., width:])

    def open_loop(
        self, z: Float[Tensor, "B T N D"], action: Float[Tensor, "B Ta A"], forced: Float[Tensor, "B P N D"], first: int
    ) -> Float[Tensor, "B R N D"]:
        """Predictions of frames first + 2.. from true latents up to `first` and predictions, without their gradient."""
        h, seen, free = self.config.history, z[:, : first + 1], forced[:, first : first + 1]
        for t in range(first + 1, first + self.config.rollout):
            seen = torch.cat([seen, free[:, -1:].detach()], 1)
            following = self.predict(seen[:, -h:], action[:, : t + 1][:, -h:])[:, -1:]
            free = torch.cat([free, following], 1)
        return free[:, 1:]

    def windowed(self, batch: Batch) -> tuple[Float[Tensor, "B T N D"], Float[Tensor, "B P N D"]]:
        """All latents of the window, and teacher-forced predictions of all but the first.

        Raises:
            ShapeError: the window has no frame beyond the rollout.
        """
        z, steps = self.latents(batch), self.config.rollout
        if z.shape[1] < steps + 1:
            raise ShapeError(f"windows of {z.shape[1]} frames are too short for a rollout of {steps}: use {steps + 1}")
        return z, self.predict(z[:, :-1], batch["action"][:, : z.shape[1] - 1])

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Teacher forcing on the whole window, and a rollout that begins at one frame of it, the same for all rows."""
        z, forced = self.windowed(batch)
        target, steps = z[:, 1:].detach(), self.config.rollout
        terms = {"prediction": self.distance(forced, target)}
        if steps > 1:
            first = int(torch.randint(z.shape[1] - steps, (1,), generator=random.shared("prefix")))
            free = self.open_loop(z, batch["action"], forced, first)
            terms["rollout"] = self.distance(free, target[:, first + 1 : first + steps])
        return terms

    def encode(self, batch: Batch) -> Tokens:
        """Patches under the frozen encoder; of windows those of all frames, coordinates (time, row, column)."""
        return self.encoder.tokens(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Teacher-forced predictions on the window, patch by patch, and the same patch in the frame before."""
        z, predicted = self.windowed(batch)
        target, last = z[:, 1:], z[:, :-1]
        place = torch.arange(target[0, ..., 0].numel(), device=z.device).repeat(len(z))
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


def tiny() -> tuple[JEPAWM, Batch]:
    """A small instance that leaves proprioception aside, and a batch for the contract tests."""
    vit = ViT(image=16, patch=8, width=16, depth=1, heads=2, init="xavier")
    config = Config(
        Frozen(vit), action=4, proprio_width=4, history=2, width=16, depth=1, heads=2, init="xavier",
    )  # fmt: skip
    random = numbered(8)
    image, action = random.normal("image", 4, 3, 16, 16), random.normal("action", 3, 4)
    proprio = random.normal("proprio", 4, 3)
    return JEPAWM(config), {"index": torch.arange(8), "image": image, "action": action, "proprio": proprio}


__all__ = ["JEPAWM", "Config", "Frozen", "State", "ViT", "tiny"]
