"""Value-guided JEPA: a world model whose distances tell the way that is left to a goal (arXiv 2601.00844).

  latent   z_t = f(o_t)        unroll  p_0 = z_{h-1}, p_{t+1} = p_t + g(p_{t-h+1..t}, a_t); gradients of it stay in g
  energy   expectile(d(z_t, z_g) - 1 - discount d(sg z_{t+1}, sg z_g)) + |p_t - z_t|^2: -d is the value of reaching g
           d: Euclidean, or a quasi-metric, which may tell there from back (interval, 2211.15120; residual, 2208.08133)
No teacher, no reconstruction, no reward: what differs must not be 0 far, which prevents collapse. Plans take d as cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ConfigError, ShapeError, require
from ...functional.distance import squared
from ...functional.trajectory import Samples, moments
from ...functional.value import euclidean, interval, reaching, residual
from ...nn.encoder import ConvNet, Encoder, ViT, encoder
from ...nn.heads import projector
from ...nn.recurrent import ResidualTransition
from ...parallel import all_gather, rank
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Terms, Tokens

State = tuple[Tensor]  # latents [B, history, D] of the last steps


@dataclass(frozen=True)
class Config:
    """Defaults: the paper's best, its `VF_quasi`, section 4.2 and appendix A.2, but for the encoder."""

    encoder: Encoder = ConvNet()
    """a small convolutional network (its last map), a residual network or a vision transformer"""
    width: int = 512
    """width of the latent"""
    action: int = 2
    """numbers in one macro-step's action: action dimensions times frame skip"""
    history: int = 1
    """latents that the predictor sees; 2 where one frame does not show velocities"""
    hidden: int = 1280
    """hidden width of the MLPs: projector and predictor"""
    rollout: int = 0
    """open-loop steps in training; 0 is all that the window has"""
    distance: Literal["euclidean", "interval", "residual"] = "interval"
    """of latents to goals: Euclidean, or a quasi-metric of intervals or of metric residuals"""
    group: int = 8
    """numbers of the latent in one component of the interval quasi-metric"""
    discount: float = 0.93
    """of one step; k steps are (1 - discount^k) / (1 - discount) far. The paper has 0.98 with `euclidean`"""
    expectile: float = 0.6
    """1/2 learns the ways that the data took, toward 1 the shortest of them. The paper has 0.8 with `euclidean`"""
    own_goals: int = 1
    """goals from a window itself: its last frame, then random ones"""
    random_goals: int = 16
    """goals from other windows of the batch, of each window"""
    value_weight: float = 1.0
    """weight of the value term; 0 is prediction alone"""
    variance_weight: float = 0.0
    """weight of standard deviations below 1, of the latents; 0 is none, as published where there is a value term"""
    covariance_weight: float = 0.0
    """weight of squared covariances between dimensions; 0 is none, as published where there is a value term"""
    samples: Samples = "all"
    """whose variances and covariances: of the window's first latents, of each step's, of all steps'"""
    separate: bool = True
    """keep the prediction's gradient from the encoder, which then learns of values alone"""

    def __post_init__(self) -> None:
        sizes = ("width", "action", "history", "hidden", "group")
        require(1, math.inf, **{name: getattr(self, name) for name in sizes})
        require(0, math.inf, rollout=self.rollout, own_goals=self.own_goals, random_goals=self.random_goals,
                value_weight=self.value_weight, variance_weight=self.variance_weight,
                covariance_weight=self.covariance_weight)  # fmt: skip
        require(0, 1, discount=self.discount, expectile=self.expectile)
        if self.value_weight and not self.own_goals + self.random_goals:
            raise ConfigError("own_goals and random_goals are both 0; values need a goal: raise one of them")
        if self.separate and not self.value_weight:
            raise ConfigError("separate without a value_weight leaves the encoder nothing to learn from: set it false")
        parts = {"interval": self.group, "residual": 2}.get(self.distance, 1)
        if self.width % parts:
            raise ConfigError(f"width is {self.width}, and distance {self.distance!r} takes multiples of {parts}")


class ValueGuided(Method):
    """World model whose latents are as far from a goal's as it is to go; keeps the `Dynamics` contract."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, D = config, config.width
        self.encoder = encoder(config.encoder)
        self.project = projector(self.encoder.out_width, config.hidden, D)
        self.predictor = ResidualTransition(D, (config.history - 1) * D + config.action, config.hidden)
        if config.distance == "interval":  # of the largest component beside their mean, before a sigmoid
            self.balance = nn.Parameter(torch.tensor(-1.0), requires_grad=config.value_weight > 0)

    @property
    def weights(self) -> dict[str, float]:
        """Prediction, and of the other terms those that have a weight."""
        c = self.config
        others = {"value": c.value_weight, "variance": c.variance_weight, "covariance": c.covariance_weight}
        return {"prediction": 1.0} | {name: weight for name, weight in others.items() if weight}

    def latents(self, image: Float[Tensor, "B T C h w"]) -> Float[Tensor, "B T D"]:
        """The latent of each frame alone."""
        return self.project(self.encoder.vector(image.flatten(0, 1))).unflatten(0, image.shape[:2])

    def goal_distance(self, z: Float[Tensor, "*#B D"], goal: Float[Tensor, "*#B D"]) -> Float[Tensor, "*#B"]:
        """How far it is from latents to goals' latents, >= 0, in discounted steps; for `planning.distance` learned."""
        if self.config.distance == "interval":
            return interval(z, goal, self.config.group, self.balance.float().sigmoid())
        return euclidean(z, goal) if self.config.distance == "euclidean" else residual(z, goal)

    def predict(self, seen: Float[Tensor, "B h D"], action: Float[Tensor, "B A"]) -> Float[Tensor, "B D"]:
        """The next latent from the last `history` ones and the action.

        Raises:
            ShapeError: actions have another width than the method was built for.
        """
        if action.shape[-1] != self.config.action:
            raise ShapeError(
                f"actions of a macro-step are {action.shape[-1]} numbers, the method was built for "
                f"{self.config.action}: set method.action to the action's dimensions times data.frame_skip"
            )
        return self.predictor(seen[:, -1], torch.cat([seen[:, :-1].flatten(1), action], 1))

    def unrolled(
        self, z: Float[Tensor, "B T D"], action: Float[Tensor, "B Ta A"]
    ) -> tuple[Float[Tensor, "B P D"], Float[Tensor, "B P D"]]:
        """Open-loop predictions from the first `history` latents, and their targets.

        Raises:
            ShapeError: the window has fewer frames than history + rollout, or no action between some.
        """
        h = self.config.history
        steps = self.config.rollout or max(1, z.shape[1] - h)
        if z.shape[1] < h + steps or action.shape[1] < h + steps - 1:
            raise ShapeError(
                f"windows of {z.shape[1]} frames and {action.shape[1]} actions are too short for history {h} + rollout "
                f"{steps}: use {h + steps} frames or more, with an action between any two"
            )
        seen, predicted = z[:, :h], []
        for t in range(h - 1, h - 1 + steps):
            predicted.append(self.predict(seen, action[:, t]))
            seen = torch.cat([seen[:, 1:], predicted[-1][:, None]], 1)
        return torch.stack(predicted, 1), z[:, h : h + steps]

    def goals(self, z: Float[Tensor, "B T D"], random: Random) -> tuple[Float[Tensor, "B N D"], Int[Tensor, "B N"]]:
        """Latents of the goals of each window, and at which of its own frames they are; -1 for those of others.

        Of the others each goal comes from the next row of a random round of the batch of all ranks, so from this one
        row only where there is no other. All is a function of the rows' identities, not of their order or ranks.
        """
        c, (rows, frames, _) = self.config, z.shape
        own = random.integers("goal/own", frames, c.own_goals)
        own[:, :1] = frames - 1
        mine = rank() * rows + torch.arange(rows, device=z.device)  # places in the batch of all ranks
        round_ = all_gather(random.bits("goal/row", c.random_goals)).argsort(dim=0, stable=True)  # places in each round
        donor = torch.empty_like(round_).scatter_(0, round_, round_.roll(-1, 0))[mine]  # [B, n]
        frame = random.integers("goal/frame", frames, c.random_goals)
        goal = torch.cat([z[torch.arange(rows, device=z.device)[:, None], own], all_gather(z)[donor, frame]], 1)
        return goal, torch.cat([own, frame.where(donor == mine[:, None], -1)], 1)

    def value(self, z: Float[Tensor, "B T D"], random: Random) -> Float[Tensor, ""]:
        """How far distances to goals are from values of reaching them, along the recorded steps.

        Raises:
            ShapeError: windows of one frame.
        """
        if z.shape[1] < 2:
            raise ShapeError("windows of 1 frame have no step whose value could be learned: use 2 frames or more")
        goal, at = self.goals(z, random)
        far = self.goal_distance(z[:, :, None], goal[:, None])  # [B, T, N]
        reached = torch.arange(z.shape[1] - 1, device=z.device)[:, None] == at[:, None]
        return reaching(far[:, :-1], far[:, 1:], reached, self.config.discount, self.config.expectile)

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Squared error of the unrolled predictions, the value term, and VICReg's terms where they have a weight."""
        z = self.latents(batch["image"])
        terms = {"prediction": squared(*self.unrolled(z.detach() if self.config.separate else z, batch["action"]))}
        if self.config.value_weight:
            terms["value"] = self.value(z, random)
        if self.config.variance_weight or self.config.covariance_weight:
            terms["variance"], terms["covariance"] = moments(z, self.config.samples)
        return {name: terms[name] for name in self.weights}

    def encode(self, batch: Batch) -> Tokens:
        """The latents of a window [B, T, C, h, w] as T tokens, or of single images as one; coordinate: the step."""
        image = batch["image"] if batch["image"].ndim == 5 else batch["image"][:, None]
        z = self.latents(image)
        return Tokens.over_time(z)

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Predictions on the window, and the latent before each target."""
        z, h = self.latents(batch["image"]), self.config.history
        predicted, target = self.unrolled(z, batch["action"])
        return Forecast(*(x.flatten(0, 1) for x in (predicted, target, z[:, h - 1 : h - 1 + target.shape[1]])))

    def start(self, batch: Batch) -> State:
        """Dynamics: the last latents of `batch`, image [B, T, C, h, w]; before its first frame nothing moved."""
        h = self.config.history
        z = self.latents(batch["image"][:, -h:])
        return (torch.cat([z[:, :1].expand(-1, h - z.shape[1], -1), z], 1),)

    def step(self, state: State, action: Float[Tensor, "B A"]) -> State:
        """Dynamics: the state after one more (macro-)action."""
        return (torch.cat([state[0][:, 1:], self.predict(state[0], action)[:, None]], 1),)

    def latent(self, state: State) -> Float[Tensor, "B D"]:
        """Dynamics: the current latent."""
        return state[0][:, -1]


def tiny() -> tuple[ValueGuided, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(  # latents spread as values ask, and the error of predicting them grows with them at first
        ConvNet(image=16, widths=(8, 8)), width=16, action=4, history=2, hidden=16, group=4, random_goals=3,
        value_weight=4.0,
    )  # fmt: skip
    random = numbered(8)
    image, action = random.normal("image", 4, 3, 16, 16), random.normal("action", 3, 4)
    return ValueGuided(config), {"index": torch.arange(8), "image": image, "action": action}


__all__ = ["Config", "ConvNet", "State", "ValueGuided", "ViT", "tiny"]
