"""Fast-LeWM: all latents of a plan in one pass, each from the actions up to it (Fast LeWorldModel, arXiv 2606.26217).

  latent   z_t = f(o_t)           prefix  c_k = e(z_0, a_1..a_k), a causal transformer over the state and the actions
  energy   mean over k = 1..H of |g(z_0, c_k) - z_k|^2, gradients through both sides; no prediction is fed back
  collapse prevention: SIGReg on z at each time step. No teacher, no stop-gradient, no reconstruction, no reward.
The whole prefix is the unit of prediction where LeWM has the single step, so errors do not run through a plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ConfigError, ShapeError, require
from ...functional.distance import squared
from ...functional.position import sincos
from ...functional.regularize import sigreg, unit_directions
from ...functional.trajectory import straightening
from ...nn.attention import Block
from ...nn.encoder import ConvNet, Encoder, ViT, encoder
from ...nn.heads import projector
from ...nn.inputs import fitting
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Terms, Tokens

State = tuple[Tensor, Tensor]  # the anchor, a latent [B, D]; the actions since, [B, K, A], K from 0 to horizon


@dataclass(frozen=True)
class Config:
    """Defaults: Yuntian-Gao/Fast-LeWorldModel:config/train/Fast-lewm.yaml, module.py; 17.9 M parameters, as the paper.

    Its dropout is in the predictor alone.
    """

    encoder: Encoder = ViT(image=224, patch=14, width=192, depth=12, heads=3, position="learned", class_token=True,
                           norm_eps=1e-12)  # fmt: skip
    """a vision transformer (its class token is used) or a small convolutional network (its last map)"""
    width: int = 192
    """width of the latent and of a prefix, even"""
    action: int = 10
    """numbers in one macro-step's action: action dimensions times frame skip"""
    action_width: int = 32
    """width of the first linear map of actions"""
    horizon: int = 5
    """actions of the longest prefix, in training and in one pass; longer plans go on from its last prediction"""
    prefix_depth: int = 3
    """blocks of the transformer over prefixes"""
    prefix_heads: int = 6
    """its attention heads, which share `width`"""
    depth: int = 6
    """blocks of the predictor"""
    inner: int = 1024
    """width between the two linear maps that stand in a block of the predictor where attention would"""
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
        names = ("width", "action", "action_width", "horizon", "prefix_depth", "prefix_heads", "depth", "inner")
        require(
            1, math.inf, hidden=self.hidden, directions=self.directions, **{name: getattr(self, name) for name in names}
        )
        require(2, math.inf, knots=self.knots)
        require(0, 1, dropout=self.dropout)
        require(0, math.inf, sigreg_weight=self.sigreg_weight, straighten_weight=self.straighten_weight)
        if self.width % 2 or self.width % self.prefix_heads:
            raise ConfigError(
                f"width is {self.width}, prefix_heads {self.prefix_heads}; use an even width that the heads divide"
            )


class PrefixEncoder(nn.Module):
    """A token for each prefix of the actions: it sees the state and the actions up to its own, none after it."""

    def __init__(self, config: Config):
        super().__init__()
        D = config.width
        self.embed_state = nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))
        self.embed_action = nn.Sequential(
            nn.Linear(config.action, config.action_width), nn.Linear(config.action_width, 4 * D), nn.SiLU(),
            nn.Linear(4 * D, D),
        )  # fmt: skip
        self.blocks = nn.ModuleList(Block(D, config.prefix_heads) for _ in range(config.prefix_depth))
        self.norm = nn.LayerNorm(D)

    def forward(self, z: Float[Tensor, "B D"], action: Float[Tensor, "B K A"]) -> Float[Tensor, "B K D"]:
        """Tokens of the prefixes of lengths 1..K from the state z."""
        x = torch.cat([self.embed_state(z)[:, None], self.embed_action(action)], 1)
        places = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        x = x + sincos(places[:, None], x.shape[-1])
        for block in self.blocks:
            x = block(x, mask=places[:, None] >= places)
        return self.norm(x)[:, 1:]


class PrefixBlock(nn.Module):
    """A linear map through `inner` numbers and an MLP; the prefix scales and shifts their norms and gates them.

    AdaLN-zero: as it begins, a block does nothing. A `ConditionedBlock` is the same on sequences of one token, where
    its attention is a linear map.
    """

    def __init__(self, config: Config):
        super().__init__()
        D, self.dropout = config.width, config.dropout
        self.value_norm, self.mlp_norm = nn.LayerNorm(D), nn.LayerNorm(D)
        self.value, self.out = nn.Linear(D, config.inner, bias=False), nn.Linear(config.inner, D)
        self.fc1, self.fc2 = nn.Linear(D, config.hidden), nn.Linear(config.hidden, D)
        self.modulation = nn.Linear(D, 6 * D)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Float[Tensor, "B K D"], prefix: Float[Tensor, "B K D"]) -> Float[Tensor, "B K D"]:
        """One block, on each token alone."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(prefix)).chunk(6, -1)
        plain = F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale1) + shift1
        x = x + gate1 * self._dropped(self.out(self.value(self.value_norm(plain))))
        plain = F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale2) + shift2
        return x + gate2 * self._dropped(self.fc2(self._dropped(F.gelu(self.fc1(self.mlp_norm(plain))))))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class PrefixPredictor(nn.Module):
    """The latent after each prefix from the state and the prefix's token: joined by an MLP, then through blocks."""

    def __init__(self, config: Config):
        super().__init__()
        D = config.width
        self.join_norm = nn.LayerNorm(3 * D)
        self.join = nn.Sequential(nn.Linear(3 * D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))
        nn.init.zeros_(self.join[2].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.join[2].bias)  # type: ignore[arg-type]
        self.blocks = nn.ModuleList(PrefixBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(D)

    def forward(self, z: Float[Tensor, "B D"], prefix: Float[Tensor, "B K D"]) -> Float[Tensor, "B K D"]:
        """Each prefix alone: what it knows of the actions is in its token."""
        x = z[:, None].expand_as(prefix)
        x = x + self.join(self.join_norm(torch.cat([x, prefix, x * prefix], -1)))
        for block in self.blocks:
            x = block(x, prefix)
        return self.norm(x)


class FastLeWM(Method):
    """World model that predicts from prefixes of actions; keeps the contracts `Dynamics` and `FastDynamics`."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, D = config, config.width
        self.encoder = encoder(config.encoder)
        self.project = projector(self.encoder.out_width, config.hidden, D)
        self.prefixes, self.predictor = PrefixEncoder(config), PrefixPredictor(config)
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

    def predict(self, z: Float[Tensor, "B D"], action: Float[Tensor, "B K A"]) -> Float[Tensor, "B K D"]:
        """The latents after each of K <= horizon actions from z, at once: the k-th from z and the first k actions.

        Raises:
            ShapeError: actions have another width than the method was built for, or there are more than `horizon`.
        """
        if action.shape[1] > self.config.horizon:
            raise ShapeError(f"{action.shape[1]} actions, prefixes of {self.config.horizon} are learned: use rollouts")
        prefix = self.prefixes(z, fitting(action, self.config.action, "action"))
        return self.project_prediction(self.predictor(z, prefix))

    def unrolled(
        self, z: Float[Tensor, "B T D"], action: Float[Tensor, "B Ta A"]
    ) -> tuple[Float[Tensor, "B H D"], Float[Tensor, "B H D"]]:
        """Predictions from the window's first latent for prefixes of 1..horizon actions, and their targets.

        Raises:
            ShapeError: the window has fewer frames than horizon + 1, or no action between some.
        """
        H = self.config.horizon
        if z.shape[1] < H + 1 or action.shape[1] < H:
            raise ShapeError(
                f"windows of {z.shape[1]} frames and {action.shape[1]} actions are too short for prefixes of {H} "
                f"actions: use {H + 1} frames or more, with an action between any two"
            )
        return self.predict(z[:, 0], action[:, :H]), z[:, 1 : H + 1]

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Squared error after each prefix, SIGReg of the encoded latents at each time step over the batch, bends."""
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
        """Dynamics: the latent of the last frame of `batch`, image [B, T, C, h, w], as the anchor; no action since."""
        anchor = self.latents(batch["image"][:, -1:])[:, 0]
        return anchor, anchor.new_zeros(len(anchor), 0, self.config.action)

    def step(self, state: State, action: Float[Tensor, "B A"]) -> State:
        """Dynamics: the prefix with one more (macro-)action; a full one first gives way to its own last prediction.

        Nothing else is computed: a plan whose last latent alone is asked for costs one prediction.
        """
        anchor, since = state
        if since.shape[1] == self.config.horizon:
            anchor, since = self.latent(state), since[:, :0]
        return anchor, torch.cat([since, fitting(action, self.config.action, "action")[:, None]], 1)

    def latent(self, state: State) -> Float[Tensor, "B D"]:
        """Dynamics: the current latent, predicted from the anchor and the actions since."""
        anchor, since = state
        if not since.shape[1]:
            return anchor
        prefix = self.prefixes(anchor, since)[:, -1:]
        return self.project_prediction(self.predictor(anchor, prefix))[:, 0]

    def rollouts(self, state: State, actions: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S H D"]:
        """FastDynamics: the latents after each action of S candidates from each state, `horizon` of them in one pass.

        Raises:
            ShapeError: actions have another width than the method was built for.
        """
        plans = fitting(actions, self.config.action, "action").flatten(0, 1)
        anchor, since = (x[:, None].expand(-1, actions.shape[1], *x.shape[1:]).flatten(0, 1) for x in state)
        found = []
        for part in torch.cat([since, plans], 1).split(self.config.horizon, 1):
            found.append(self.predict(anchor, part))
            anchor = found[-1][:, -1]
        return torch.cat(found, 1)[:, since.shape[1] :].unflatten(0, actions.shape[:2])

    def disagreement(self, state: State, actions: Float[Tensor, "B S H A"], first: int = 2) -> Float[Tensor, "B S"]:
        """Squared distance of the last latent from that of two stages, `first` actions and then the others.

        The paper's self-consistency, a cost of plans: energy + beta * disagreement. It is no term of training there.
        Raises:
            ShapeError: no action is left for one of the stages.
        Source: Yuntian-Gao/Fast-LeWorldModel:jepa.py (`criterion`), config/eval (2 actions, then 3).
        """
        if not 0 < first < actions.shape[2]:
            raise ShapeError(f"plans of {actions.shape[2]} actions, {first} of them first: leave some for both stages")
        midway = self.rollouts(state, actions[:, :, :first])[:, :, -1].flatten(0, 1)
        rest = actions[:, :, first:].flatten(0, 1)
        staged = self.rollouts((midway, rest[:, :0]), rest[:, None])[:, 0, -1].unflatten(0, actions.shape[:2])
        return (self.rollouts(state, actions)[:, :, -1] - staged).float().square().sum(-1)


def tiny() -> tuple[FastLeWM, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(
        ConvNet(image=16, widths=(8, 8)), width=16, action=4, action_width=8, horizon=3, prefix_depth=1, prefix_heads=2,
        depth=1, inner=16, hidden=32, dropout=0.0, directions=32,
    )  # fmt: skip
    random = numbered(8)
    image, action = random.normal("image", 4, 3, 16, 16), random.normal("action", 3, 4)
    return FastLeWM(config), {"index": torch.arange(8), "image": image, "action": action}


__all__ = ["Config", "ConvNet", "FastLeWM", "State", "ViT", "tiny"]
