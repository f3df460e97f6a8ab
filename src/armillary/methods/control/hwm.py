"""HWM: two world models at two time scales in one space of latents, for planning in two levels (arXiv 2604.03208).

  low    z_t = f(o_t)          energy  |g(z_{t-h+1..t}, a_{t-h+1..t}) - z_{t+1}|^2 + w SIGReg(z), as LeWM, or frozen
  high   m_t = A(a_t .. a_{t+s-1}), p_0 = sg z_t, p_{k+1} = G(p_k, m_{t+ks})       energy  |p_k - sg z_{t+ks}|^2
  planning searches m to the goal under G, then a to the first latent that G predicts (`planning.hierarchy`)
The high level sees detached latents, so it never changes them: the paper's frozen low level, in objective.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ConfigError, ShapeError, require
from ...functional.distance import squared
from ...functional.regularize import sigreg, unit_directions
from ...nn.encoder import ConvNet, Encoder, ViT, encoder
from ...nn.heads import projector
from ...nn.inputs import fitting
from ...nn.predictor import CausalPredictor
from ...nn.weights import fill
from ...parallel import all_mean
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Terms, Tokens

State = tuple[Tensor, Tensor]  # latents [B, T, D] of the last T <= history steps, actions between them [B, T - 1, A]
LOW = ("encoder", "project", "embed_action", "predictor", "project_prediction")  # named as LeWM names them
LEAST = 1e-6  # of the mean variance of macro-actions, added to each: directions without any are not followed


@dataclass(frozen=True)
class Config:
    """Low level: LeWM's, galilai-group/stable-worldmodel:scripts/train/config/lewm.yaml. High level: the released one.

    That is kevinghst/HWM_PLDM:pldm/configs/diverse_maze/icml/large_diverse_25maps_l2.yaml, whose predictor is a
    convolutional network on maps with coordinates of the body; here it is an MLP on vectors.
    """

    encoder: Encoder = ViT(image=224, patch=14, width=192, depth=12, heads=3, position="learned", class_token=True,
                           norm_eps=1e-12)  # fmt: skip
    """a vision transformer (its class token is used) or a small convolutional network (its last map)"""
    width: int = 192
    """width of the latent, of both levels"""
    action: int = 10
    """numbers in one macro-step's action: action dimensions times frame skip"""
    low_file: str = ""
    """model.safetensors of a finished run of LeWM or HWM with the same sizes, to freeze as the low level; empty trains
    both levels"""
    action_width: int = 10
    """low level: width of the first linear map of actions"""
    history: int = 3
    """low level: steps that the predictor sees"""
    rollout: int = 1
    """low level: open-loop steps in training; 1 is teacher forcing alone"""
    depth: int = 6
    """low level: blocks of the predictor"""
    heads: int = 16
    """low level: attention heads of the predictor"""
    head_width: int = 64
    """low level: width of a head"""
    hidden: int = 2048
    """low level: hidden width of the predictor's and the projectors' MLPs"""
    dropout: float = 0.1
    """low level: in the predictor"""
    sigreg_weight: float = 0.09
    """weight of SIGReg; both predictions have weight 1, as they share no weights"""
    directions: int = 1024
    """random directions of SIGReg, drawn anew each step"""
    knots: int = 17
    """points at which characteristic functions are compared"""
    stride: int = 10
    """macro-steps of the low level in one step of the high one"""
    high_rollout: int = 6
    """high level: open-loop steps in training"""
    macro_width: int = 8
    """numbers of a macro-action, into which `stride` actions are encoded"""
    macro_hidden: int = 32
    """hidden width of the action encoder, which has two hidden layers"""
    high_hidden: int = 512
    """hidden width of the high level's predictor, which has two hidden layers"""
    momentum: float = 0.01
    """share of a batch in the running statistics of macro-actions"""

    def __post_init__(self) -> None:
        names = ("width", "action", "action_width", "history", "rollout", "depth", "heads", "head_width", "hidden",
                 "directions", "stride", "high_rollout", "macro_width", "macro_hidden", "high_hidden")  # fmt: skip
        require(1, math.inf, **{name: getattr(self, name) for name in names})
        require(2, math.inf, knots=self.knots)
        require(0, 1, dropout=self.dropout)
        require(0, math.inf, sigreg_weight=self.sigreg_weight)
        require(1e-6, 1, momentum=self.momentum)


class HWM(Method):
    """Two levels in one space; it is the low level's `Dynamics`, and `high()` gives those of the high level."""

    seen: Tensor
    macro_mean: Tensor
    macro_covariance: Tensor
    reach: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config, D, M = config, config.width, config.macro_width
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
        self.macro = _maps(config.stride * config.action, config.macro_hidden, config.macro_hidden, M)
        self.change = _maps(D + M, config.high_hidden, config.high_hidden, D)
        self.register_buffer("seen", torch.zeros(()))  # batches that the statistics have seen
        self.register_buffer("macro_mean", torch.zeros(M))
        self.register_buffer("macro_covariance", torch.eye(M))
        self.register_buffer("reach", torch.ones(()))
        if config.low_file:
            for name in LOW:
                fill(getattr(self, name), config.low_file, name)
                getattr(self, name).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> HWM:
        """As ever, but a frozen low level stays in evaluation mode."""
        super().train(mode)
        for name in LOW if self.config.low_file else ():
            getattr(self, name).eval()
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The high level's prediction and, where it is trained, the low level's two terms."""
        low = {"prediction": 1.0, "sigreg": self.config.sigreg_weight}
        return {"high_prediction": 1.0} | ({} if self.config.low_file else low)

    def latents(self, image: Float[Tensor, "B T C h w"]) -> Float[Tensor, "B T D"]:
        """The latent of each frame alone."""
        return self.project(self.encoder.vector(image.flatten(0, 1))).unflatten(0, image.shape[:2])

    def predict(self, z: Float[Tensor, "B T D"], action: Float[Tensor, "B T A"]) -> Float[Tensor, "B T D"]:
        """Low level: z[t+1] from z[<=t] and a[<=t] for every t at once; T <= history.

        Raises:
            ShapeError: actions have another width than the method was built for.
        """
        embedded = self.embed_action(fitting(action, self.config.action, "action"))
        return self.project_prediction(self.predictor(z, embedded))

    def unrolled(
        self, z: Float[Tensor, "B T D"], action: Float[Tensor, "B Ta A"]
    ) -> tuple[Float[Tensor, "B P D"], Float[Tensor, "B P D"]]:
        """Low level: predictions and their targets, teacher-forced over the history, then open loop from its last one.

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

    def macros(self, action: Float[Tensor, "B Ta A"]) -> Float[Tensor, "B n M"]:
        """The macro-action of each run of `stride` actions, beginning at each step that has as many after it.

        Raises:
            ShapeError: fewer actions than `stride`, or of another width.
        """
        if action.shape[1] < self.config.stride:
            raise ShapeError(
                f"{action.shape[1]} actions are fewer than the {self.config.stride} of a step of the high level: use "
                f"windows of {self.config.stride * self.config.high_rollout + 1} frames, or a smaller method.stride"
            )
        runs = fitting(action, self.config.action, "action").unfold(1, self.config.stride, 1)  # [B, n, A, stride]
        return self.macro(runs.transpose(2, 3).flatten(2))

    def ahead(self, z: Float[Tensor, "B D"], macro: Float[Tensor, "B M"]) -> Float[Tensor, "B D"]:
        """High level: the latent `stride` macro-steps later."""
        return z + self.change(torch.cat([z, macro], -1))

    def high_unrolled(
        self, z: Float[Tensor, "B T D"], macro: Float[Tensor, "B n M"]
    ) -> tuple[Float[Tensor, "B s R D"], Float[Tensor, "B s R D"]]:
        """High level: R open-loop predictions from each of the window's s starts that have as many, and their targets.

        Raises:
            ShapeError: the window is shorter than stride * high_rollout + 1 frames.
        """
        stride, steps = self.config.stride, self.config.high_rollout
        starts = z.shape[1] - stride * steps
        if starts < 1:
            raise ShapeError(
                f"windows of {z.shape[1]} frames are too short for {steps} steps of {stride}: use {stride * steps + 1} "
                "(data.window), or a smaller method.high_rollout"
            )
        now, predicted, target = z[:, :starts], [], []
        for first in range(0, stride * steps, stride):
            now = self.ahead(now.flatten(0, 1), macro[:, first : first + starts].flatten(0, 1)).view(now.shape)
            predicted.append(now)
            target.append(z[:, first + stride : first + stride + starts])
        return torch.stack(predicted, 2), torch.stack(target, 2)

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Squared errors of both levels, and SIGReg of the latents at each time step over the batch.

        In training it also moves the statistics of macro-actions, which no term depends on.
        """
        z, macro = self.latents(batch["image"]), self.macros(batch["action"])
        if self.training:
            self._observe(z.detach(), macro.detach())
        terms = {"high_prediction": squared(*self.high_unrolled(z.detach(), macro))}
        if self.config.low_file:
            return terms
        directions = unit_directions(self.config.width, self.config.directions, random.shared("sigreg"))
        return terms | {
            "prediction": squared(*self.unrolled(z, batch["action"])),
            "sigreg": sigreg(z.transpose(0, 1), directions, self.config.knots),
        }

    @torch.no_grad()
    def _observe(self, z: Float[Tensor, "B T D"], macro: Float[Tensor, "B n M"]) -> None:
        """Running moments over all ranks: plain averages at first, exponential ones later."""
        stride, rows = self.config.stride, macro.flatten(0, 1).float()
        mean = all_mean(rows.mean(0))
        covariance = all_mean((rows - mean).T @ (rows - mean) / len(rows))
        reach = all_mean((z[:, stride:] - z[:, :-stride]).float().square().sum(-1).mean())
        self.seen += 1
        share = (1 / self.seen).clamp_min(self.config.momentum)
        moved = mean - self.macro_mean
        self.macro_covariance.lerp_(covariance + (1 - share) * torch.outer(moved, moved), share)
        self.macro_mean.lerp_(mean, share)
        self.reach.lerp_(reach, share)

    def encode(self, batch: Batch) -> Tokens:
        """The latents of a window [B, T, C, h, w] as T tokens, or of single images as one; coordinate: the step."""
        image = batch["image"] if batch["image"].ndim == 5 else batch["image"][:, None]
        z = self.latents(image)
        return Tokens.over_time(z)

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Predictions of the low level on the window, and the latent before each target."""
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

    def high(self, bound: float = 2.0) -> High:
        """The dynamics of the high level, with the statistics that it has now; see `High`.

        Args:
            bound: of plans, in standard deviations of the macro-actions of training. The paper's percentiles 2 and 98
                are 2.05 of a Gaussian.
        Raises:
            ConfigError: bound not above 0, or the method was never trained.
        """
        require(1e-6, math.inf, bound=bound)
        if not bool(self.seen > 0):
            raise ConfigError("no macro-action was seen in training, so plans have no bounds: train the method first")
        covariance = self.macro_covariance.double()
        least = LEAST * covariance.diagonal().mean().clamp_min(1e-6)
        root = torch.linalg.cholesky(covariance + least * torch.eye(len(covariance), dtype=torch.float64).to(least))
        return High(self, self.macro_mean.clone(), root.to(self.macro_mean), bound, self.reach.clone())


@dataclass(frozen=True)
class High:
    """The high level of a HWM for planning. A state is the latent alone, and one step is `stride` macro-steps.

    Its actions u are standardized macro-actions, m = mean + root u, with root the lower Cholesky factor of the
    covariance in training: there u has mean 0, standard deviation 1 and no correlation, so that a box around 0 holds
    macro-actions like those of the data. The paper clips each number of m to its percentiles, which also lets
    combinations through that never occur; and where macro-actions are far from the data, plans exploit the model
    (2607.12547). reach: the mean squared distance of latents one step apart in training.
    """

    method: HWM
    mean: Float[Tensor, " M"]
    root: Float[Tensor, "M M"]
    bound: float
    reach: Float[Tensor, ""]

    @property
    def stride(self) -> int:
        """Macro-steps of the low level in a step."""
        return self.method.config.stride

    @property
    def low(self) -> Float[Tensor, " M"]:
        """Least numbers of an action."""
        return torch.full_like(self.mean, -self.bound)

    @property
    def high(self) -> Float[Tensor, " M"]:
        """Largest numbers of an action."""
        return -self.low

    def start(self, batch: Batch) -> tuple[Tensor]:
        """Dynamics: the latent of the last frame of `batch`, image [B, T, C, h, w]."""
        return (self.method.latents(batch["image"][:, -1:])[:, 0],)

    def step(self, state: tuple[Tensor], action: Float[Tensor, "B M"]) -> tuple[Tensor]:
        """Dynamics: the latent after one more macro-action.

        Raises:
            ShapeError: it has another width.
        """
        if action.shape[-1] != len(self.mean):
            raise ShapeError(f"macro-actions of {action.shape[-1]} numbers; this high level takes {len(self.mean)}")
        return (self.method.ahead(state[0], self.mean + action @ self.root.T),)

    def latent(self, state: tuple[Tensor]) -> Float[Tensor, "B D"]:
        """Dynamics: the current latent."""
        return state[0]

    def encoded(self, action: Float[Tensor, "B Ta A"]) -> Float[Tensor, "B n M"]:
        """What an action of this level is for each run of `stride` of the low level's actions; see `HWM.macros`."""
        centered = (self.method.macros(action) - self.mean).flatten(0, -2)
        solved = torch.linalg.solve_triangular(self.root, centered.T, upper=False).T
        return solved.view(len(action), -1, len(self.mean))


def _maps(*widths: int) -> nn.Sequential:
    """Linear maps with GELU between them: no batch norm, as the inputs of rollouts are spread otherwise than data."""
    layers: list[nn.Module] = []
    for before, width in pairwise(widths):
        layers += [nn.Linear(before, width), nn.GELU()]
    return nn.Sequential(*layers[:-1])


def tiny() -> tuple[HWM, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(
        ConvNet(image=16, widths=(8, 8)), width=16, action=4, history=2, rollout=2, depth=1, heads=2, head_width=8,
        hidden=32, dropout=0.0, directions=32, stride=2, high_rollout=2, macro_width=3, macro_hidden=16, high_hidden=32,
    )  # fmt: skip
    random = numbered(8)
    image, action = random.normal("image", 6, 3, 16, 16), random.normal("action", 5, 4)
    return HWM(config), {"index": torch.arange(8), "image": image, "action": action}


__all__ = ["HWM", "Config", "ConvNet", "High", "State", "ViT", "tiny"]
