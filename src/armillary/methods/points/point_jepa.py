"""Point-JEPA: I-JEPA on groups of points, with blocks taken along a spatial chain (arXiv 2404.16432).

context  z = f(tokens of one run)        target  y = LN(f_teacher(all tokens), before its last norm) on each run
energy   smooth-L1(g(z, where), y), beta 2; the teacher averages the transformer, tokenizer and positions are shared
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import ascending, require
from ...functional.distance import layer_normalized, smooth_l1
from ...functional.schedule import line
from ...nn.attention import Initialization, initialize
from ...nn.predictor import MaskPredictor
from ...nn.teacher import EMA
from ...nn.tokenize.points import CoordinateWaves, PointTokenizer, coordinate_mlp
from ...nn.trunk import Trunk
from ...randomness import Random, numbered
from ...types import Batch, Forecast, Masks, Range, Terms, Tokens, gather
from ...views.runs import along, nearest_chain, runs, shared_runs


@dataclass(frozen=True)
class Config:
    """Defaults: the published ShapeNet run, Ayumu-J-S/Point-JEPA:configs."""

    groups: int = 64
    """neighbourhoods per cloud"""
    group_size: int = 32
    """points per neighbourhood"""
    tokenizer: tuple[int, int, int] = (128, 256, 512)
    """hidden widths of the PointNet that makes a token: of a point, of a point's feature, of the two together"""
    width: int = 384
    """embedding width"""
    depth: int = 12
    """blocks of the encoder"""
    heads: int = 6
    """attention heads of encoder and predictor"""
    predictor_width: int = 192
    """width inside the predictor"""
    predictor_depth: int = 6
    """blocks of the predictor"""
    targets: int = 4
    """target runs per cloud"""
    target_ratio: Range = (0.15, 0.2)
    """length of a target run over the number of groups"""
    context_ratio: Range = (0.4, 0.75)
    """length of the context run over what the targets leave"""
    masks: Literal["unbiased", "released"] = "unbiased"
    """runs drawn per cloud, or one draw for the whole batch as released"""
    init: Initialization = "released"
    """weights of std 0.02, as released, or by fan-in and fan-out, which small widths need"""
    position: Literal["learned", "sincos"] = "learned"
    """embedding of the coordinates: an MLP, as released, or fixed waves"""
    beta: float = 2.0
    """where smooth-L1 turns from quadratic to linear"""
    scale: Range = (0.8, 1.2)
    """each axis is scaled by its own factor from this range"""
    rotate: bool = True
    """turn each cloud about its second axis by a random angle"""
    momentum: Range = (0.9995, 0.99999)
    """EMA momentum of the teacher at the first step and at the end of the schedule"""

    def __post_init__(self) -> None:
        names = ("groups", "group_size", "width", "depth", "heads", "predictor_width", "predictor_depth", "targets")
        require(1, math.inf, tokenizer=self.tokenizer, **{name: getattr(self, name) for name in names})
        ratios = {name: getattr(self, name) for name in ("target_ratio", "context_ratio")}
        require(0, 1, momentum=self.momentum, **ratios)
        require(0, math.inf, beta=self.beta, scale=self.scale)
        ascending(scale=self.scale, **ratios)


class PointJEPA(Method):
    """Point tokenizer, transformer with positions before every block, teacher and mask predictor."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.tokenizer = PointTokenizer(config.width, config.groups, config.group_size, config.tokenizer)
        place = coordinate_mlp if config.position == "learned" else CoordinateWaves
        self.place = place(config.width)
        self.trunk = Trunk(config.width, config.depth, config.heads, eps=1e-5)
        initialize(self.trunk, config.init)
        self.teacher = EMA(self.trunk)
        self.predictor = MaskPredictor(
            config.width, config.predictor_width, config.predictor_depth, config.heads,
            place(config.predictor_width), eps=1e-5, init=config.init,
        )  # fmt: skip

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"prediction": 1.0}

    def masks(self, tokens: Tokens, random: Random) -> Masks:
        """Context and target runs along each cloud's own chain."""
        c, chain = self.config, nearest_chain(tokens.pos)
        if c.masks == "unbiased":
            return along(chain, runs(c.groups, random, c.targets, c.target_ratio, c.context_ratio))
        drawn = shared_runs(c.groups, len(chain), random.shared("runs"), c.targets, c.target_ratio, c.context_ratio)
        return along(chain, Masks(drawn.context.to(chain.device), drawn.targets.to(chain.device)))

    def predict(self, tokens: Tokens, masks: Masks) -> tuple[Float[Tensor, "B M K D"], Float[Tensor, "B M K D"]]:
        """Predicted and true embeddings at the targets; the teacher gives its last block's output, before the norm."""
        with torch.no_grad():
            full = self.teacher.module.hidden(tokens, self.place(tokens.pos))  # type: ignore[operator]
        target = gather(layer_normalized(full), masks.targets)  # [B, M, K, D]
        seen = tokens.take(masks.context)
        context = self.trunk(seen, self.place(seen.pos))
        return self.predictor(context, gather(tokens.pos, masks.targets)), target

    def augmented(self, points: Float[Tensor, "B n 3"], random: Random) -> Float[Tensor, "B n 3"]:
        """Scaled along each axis and turned about the second axis, per cloud."""
        low, high = self.config.scale
        points = points * (low + (high - low) * random.uniform("scale", 1, 3))
        if not self.config.rotate:
            return points
        angle = 2 * torch.pi * random.uniform("rotate", 1)
        cos, sin = angle.cos(), angle.sin()
        x, y, z = points.unbind(-1)
        return torch.stack([cos * x + sin * z, y, cos * z - sin * x], -1)

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Smooth-L1 between predicted and normalized target embeddings."""
        tokens = self.tokenizer(self.augmented(batch["points"], random))
        predicted, target = self.predict(tokens, self.masks(tokens, random))
        return {"prediction": smooth_l1(predicted, target, self.config.beta)}

    def after_step(self, progress: float) -> None:
        """The teacher follows the transformer; momentum is linear in progress."""
        self.teacher.update(self.trunk, line(self.config.momentum, progress))

    def encode(self, batch: Batch) -> Tokens:
        """Tokens of the trained transformer, which the released evaluation uses; coordinates are the centres."""
        tokens = self.tokenizer(batch["points"])
        return self.trunk(tokens, self.place(tokens.pos))

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Predictions at the targets of one draw of runs."""
        tokens = self.tokenizer(batch["points"])
        predicted, target = self.predict(tokens, self.masks(tokens, random))
        return Forecast(predicted.flatten(0, 2), target.flatten(0, 2))


def tiny() -> tuple[PointJEPA, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(
        groups=16, group_size=8, width=24, depth=2, heads=2, predictor_width=12, predictor_depth=1, targets=2,
        momentum=(0.9, 1.0),
    )  # fmt: skip
    return PointJEPA(config), {"index": torch.arange(8), "points": numbered(8).normal("points", 128, 3)}
