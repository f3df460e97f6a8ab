"""ACT-JEPA: a policy that predicts its next actions and, beside them, what it will see, as latents (arXiv 2501.14622).

  tokens   s = f(o_t): cells of the image's last map and proprioception through a transformer; latent z = mean of s
  actions  a^_{t..t+H-1} = d([s, goal], H queries)        latents  z^_{t+1..t+H} = g([s, goal], H queries)
  energy   mean |a^ - a|  +  w mean |z^ - LN(z_teacher)|; the teacher is an average of f without gradient
With w = 0 what is left is behavior cloning of a chunk of actions (ACT, arXiv 2304.13705, without its style variable).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ConfigError, ShapeError, require
from ...functional.distance import layer_normalized, smooth_l1
from ...functional.position import sincos
from ...functional.schedule import line
from ...nn.attention import initialize
from ...nn.encoder import ConvNet, Encoder, ResNet, ViT, encoder
from ...nn.inputs import fitting
from ...nn.predictor import MaskPredictor
from ...nn.teacher import EMA
from ...nn.trunk import Trunk
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Range, Terms, Tokens


@dataclass(frozen=True)
class Config:
    """Defaults: sizes of ACT (arXiv 2304.13705, appendix); those of ACT-JEPA were not to be read."""

    encoder: Encoder | None = ResNet(image=224, stem="large")
    """network of the images; none where the batch has no images or they shall not be used"""
    proprio: int = 0
    """numbers of proprioception in a frame; 0 where the batch has none or it shall not be used"""
    action: int = 14
    """numbers in one macro-step's action: action dimensions times frame skip"""
    chunk: int = 100
    """macro-steps that are predicted at once, of actions and of latents"""
    goal: bool = False
    """told where to go, by one more token; in training a later frame of the window serves as the goal"""
    width: int = 512
    """width of tokens and latents"""
    depth: int = 4
    """blocks over the tokens of an observation"""
    decoder_depth: int = 7
    """blocks that make the actions"""
    predictor_depth: int = 4
    """blocks that make the latents"""
    heads: int = 8
    """attention heads everywhere"""
    latent_weight: float = 1.0
    """weight of the latents; the actions have weight 1. At 0 this is plain cloning of chunks"""
    momentum: Range = (0.996, 1.0)
    """EMA momentum of the teacher at the first step and at the end of the schedule"""

    def __post_init__(self) -> None:
        sizes = ("action", "chunk", "width", "depth", "decoder_depth", "predictor_depth", "heads")
        require(1, math.inf, **{name: getattr(self, name) for name in sizes})
        require(0, math.inf, proprio=self.proprio, latent_weight=self.latent_weight)
        require(0, 1, momentum=self.momentum)
        if self.width % 4 or self.width % self.heads:
            raise ConfigError(f"width {self.width} with {self.heads} heads: use a multiple of 4 and of the heads")
        if self.encoder is None and not self.proprio:
            raise ConfigError("neither encoder nor proprio is set: the policy would be blind, set one of them")


class Observer(nn.Module):
    """Tokens of one observation: cells of the image's last map with their places, and one of proprioception."""

    def __init__(self, config: Config):
        super().__init__()
        width = config.width
        self.encoder = None if config.encoder is None else encoder(config.encoder)
        if config.encoder is not None:
            cells = config.encoder.widths[-1] if isinstance(config.encoder, ConvNet) else config.encoder.width
            self.into = nn.Linear(cells, width)
        self.body: nn.Module | None = None
        if config.proprio:
            self.body = nn.Sequential(nn.Linear(config.proprio, width), nn.GELU(), nn.Linear(width, width))
        self.trunk = Trunk(width, config.depth, config.heads)
        initialize(self.trunk, "xavier")

    def forward(
        self, image: Float[Tensor, "B C h w"] | None, proprio: Float[Tensor, "B P"] | None
    ) -> Float[Tensor, "B N D"]:
        """Tokens of what is given, at least one of both."""
        parts = []
        if self.encoder is not None and image is not None:
            cells = self.encoder(image)
            x = self.into(cells.x)
            parts.append(x + sincos(cells.pos.flip(-1), x.shape[-1]))
        if self.body is not None and proprio is not None:
            parts.append(self.body(proprio)[:, None])
        return self.trunk(_placed(torch.cat(parts, 1))).x


class ACTJEPA(Method):
    """Policy of chunks: `act` gives actions, and no consequences of other ones, hence it is no world model."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, D = config, config.width
        self.observer = Observer(config)
        self.teacher = EMA(self.observer)
        self.embed_goal = nn.Linear(D, D) if config.goal else None
        self.decoder = MaskPredictor(
            D, D, config.decoder_depth, config.heads, init="xavier", shared=True, out=config.action
        )
        self.predictor = MaskPredictor(D, D, config.predictor_depth, config.heads, init="xavier", shared=True)

    @property
    def weights(self) -> dict[str, float]:
        """Actions and latents."""
        return {"action": 1.0, "latent": self.config.latent_weight}

    def seen(self, batch: Batch, steps: slice | None = None) -> tuple[Tensor | None, Tensor | None]:
        """Image [B, t, C, h, w] and proprioception [B, t, P] at `steps` of windows; None for what is not used.

        Raises:
            ShapeError: one that it was built for is missing or of another width.
        """
        steps, image, proprio = steps or slice(None), None, None
        if self.config.encoder is not None:
            if "image" not in batch:
                raise ShapeError("image is missing in the batch, the method was built for it: set method.encoder None")
            image = batch["image"][:, steps]
        if self.config.proprio:
            proprio = fitting(batch.get("proprio"), self.config.proprio, "proprio")[:, steps]
        return image, proprio

    def context(self, batch: Batch, at: int, goal: Batch | None) -> Tokens:
        """What both predictions are made from: the tokens of frame `at` of windows and, if asked for, of the goal.

        Of a goal the image is seen where the method sees images, else the proprioception.
        Raises:
            ShapeError: as `seen`; or there is no goal and the method was built for one.
        """
        image, proprio = self.seen(batch, slice(at, at + 1 or None))
        s = self.observer(image if image is None else image[:, 0], proprio if proprio is None else proprio[:, 0])
        if self.embed_goal is None:
            return _placed(s)
        if goal is None or self.key not in goal:
            raise ShapeError(f"the method was built with goals: give one with {self.key}, or set method.goal False")
        there = goal[self.key][:, -1]
        z = self.observer(there, None) if self.key == "image" else self.observer(None, there)
        return _placed(torch.cat([s, self.embed_goal(z.mean(1, keepdim=True))], 1))

    @property
    def key(self) -> str:
        """What frames are told by: images where there are any; of a goal nothing else is seen."""
        return "proprio" if self.config.encoder is None else "image"

    def query(self, context: Tokens) -> Float[Tensor, "B 1 H 1"]:
        """The steps 1..chunk, which both predictors are asked for; what is seen stands at step 0."""
        steps = torch.arange(1, self.config.chunk + 1, device=context.x.device, dtype=torch.float32)
        return steps[None, None, :, None].expand(len(context.x), -1, -1, -1)

    def hindsight(self, batch: Batch, random: Random) -> Batch | None:
        """A goal for each window: one of its frames after the first, each as likely as another."""
        if not self.config.goal:
            return None
        frames = batch[self.key]
        ahead = 1 + random.integers("goal", frames.shape[1] - 1, 1)[:, 0]
        return {self.key: frames[torch.arange(len(frames), device=frames.device), ahead][:, None]}

    def targets(self, batch: Batch) -> Float[Tensor, "B T D"]:
        """The teacher's latents of the window's first frame and the `chunk` that follow, normalized, without gradient.

        Raises:
            ShapeError: the window is shorter than that, or lacks actions between the frames.
        """
        frames, H = next(x.shape[1] for x in self.seen(batch) if x is not None), self.config.chunk
        actions = fitting(batch.get("action"), self.config.action, "action")
        if frames < H + 1 or actions.shape[1] < H:
            raise ShapeError(
                f"windows of {frames} frames and {actions.shape[1]} actions are too short for a chunk of {H}: use "
                f"{H + 1} frames or more, with an action between any two"
            )
        return layer_normalized(self.latents(self.teacher, batch, slice(0, H + 1)))

    def latents(self, observer: nn.Module, batch: Batch, steps: slice | None = None) -> Float[Tensor, "B T D"]:
        """The mean token of each frame alone."""
        given = self.seen(batch, steps)
        shape = next(x.shape[:2] for x in given if x is not None)
        return observer(*(None if x is None else x.flatten(0, 1) for x in given)).mean(1).unflatten(0, shape)

    def loss(self, batch: Batch, random: Random) -> Terms:
        """L1 of the chunk of actions, and of the chunk of latents."""
        target = self.targets(batch)[:, 1:]
        context = self.context(batch, 0, self.hindsight(batch, random))
        query = self.query(context)
        action, latent = self.decoder(context, query)[:, 0], self.predictor(context, query)[:, 0]
        return {
            "action": smooth_l1(action, batch["action"][:, : self.config.chunk], beta=0.0),
            "latent": smooth_l1(latent, target, beta=0.0),
        }

    def after_step(self, progress: float) -> None:
        """The teacher follows the observer; momentum is linear in progress."""
        self.teacher.update(self.observer, line(self.config.momentum, progress))

    def act(self, batch: Batch, goal: Batch | None = None) -> Float[Tensor, "B H A"]:
        """Policy: the next `chunk` (macro-)actions after the last frame of `batch`, in the units of training.

        goal: windows whose last frame is to be reached; not looked at where the method was built without goals.
        """
        context = self.context(batch, -1, goal)
        return self.decoder(context, self.query(context))[:, 0]

    def encode(self, batch: Batch) -> Tokens:
        """The latents that the policy acts on, of a window as T tokens, of single frames as one; coordinate: step."""
        single = self.key in batch and batch[self.key].ndim == (4 if self.key == "image" else 2)
        held = {name: batch[name] for name in ("image", "proprio") if name in batch}
        z = self.latents(self.observer, {name: x[:, None] for name, x in held.items()} if single else held)
        return Tokens.over_time(z)

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Predicted latents on the window, step after step, beside the latent of the first frame."""
        z, context = self.targets(batch), self.context(batch, 0, self.hindsight(batch, random))
        predicted = self.predictor(context, self.query(context))[:, 0]
        return Forecast(predicted.flatten(0, 1), z[:, 1:].flatten(0, 1), z[:, :1].expand_as(predicted).flatten(0, 1))


def _placed(x: Float[Tensor, "B N D"]) -> Tokens:
    """Tokens at step 0."""
    return Tokens(x, torch.zeros_like(x[..., :1]))


def tiny() -> tuple[ACTJEPA, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(
        ConvNet(image=16, widths=(8, 8)), proprio=3, action=4, chunk=2, goal=True, width=16, depth=1, decoder_depth=1,
        predictor_depth=1, heads=2, momentum=(0.9, 1.0),
    )  # fmt: skip
    random = numbered(8)
    image, action = random.normal("image", 4, 3, 16, 16), random.normal("action", 3, 4)
    proprio = random.normal("proprio", 4, 3)
    return ACTJEPA(config), {"index": torch.arange(8), "image": image, "action": action, "proprio": proprio}


__all__ = ["ACTJEPA", "Config", "ConvNet", "ResNet", "ViT", "tiny"]
