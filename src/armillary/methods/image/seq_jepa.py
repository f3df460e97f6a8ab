"""seq-JEPA: predict the next view of an image from a sequence of views and what leads to it (arXiv 2505.03176).

sequence  views x_1 .. x_T+1 of one image; action a_t = parameters of x_t+1 less those of x_t
tokens    [f(x_t), e(a_t)] for t < T and [f(x_T), 0];  s = what a transformer says in an [AGG] token beside them
energy    mean of 1 - cos(g(s, e(a_T)), f_teacher(x_T+1))
Collapse prevention: the teacher is an average without gradient. f is to follow the actions, s to be one for all views.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...contracts import Method
from ...errors import ConfigError, require
from ...functional.contrast import negative_cosine
from ...functional.schedule import half_cosine
from ...nn.encoder import VisionTransformer, ViT, encoder
from ...nn.heads import mlp
from ...nn.norm import BatchNorm
from ...nn.resnet import ResNet
from ...nn.saliency import attended
from ...nn.teacher import EMA
from ...randomness import Random
from ...types import Batch, Forecast, Range, Terms, Tokens
from ...views.pixels import PixelViews, Transform, apply, draw, example
from ...views.saccades import contrast, fixations, foveae, window_means

Looks = tuple[Float[Tensor, "B n C s s"], Float[Tensor, "B n P"]]  # views, and the parameters of each
PARAMETERS = {"changes": 9, "saccades": 2}
SEEN = PixelViews(crop_scale=(0.2, 1.0), saturation=0.2, blur=1.0)
FOLLOWING = replace(SEEN, blur=0.1, solarize=0.2)


@dataclass(frozen=True)
class Config:
    """Defaults: CIFAR-100, as released (hafezgh/seq-jepa:seq-jepa/src/main_transformed_views.py and datasets.py)."""

    encoder: ViT | ResNet = ResNet()
    """sizes of the encoder of a view; foveae are smaller than its image"""
    sequence: Literal["changes", "saccades"] = "changes"
    """views are the image cropped and with other colors, or foveae of it"""
    views: int = 3
    """views that are seen before the one that is predicted; 4 for saccades"""
    action_width: int = 128
    """width of the embedding of an action"""
    depth: int = 3
    """blocks of the transformer over the sequence"""
    heads: int = 4
    """its attention heads"""
    hidden: int = 1024
    """width inside the predictor"""
    momentum: Range = (0.996, 1.0)
    """EMA momentum of the teacher at the first step and at the end of the schedule"""
    seen: PixelViews = SEEN
    """crop and colors of the views that are seen"""
    following: PixelViews = FOLLOWING
    """crop and colors of the view that is predicted"""
    fovea: float = 1 / 3
    """side of a fovea over that of the image"""
    gaze: Literal["anywhere", "contrast", "attention"] = "contrast"
    """foveae are drawn uniformly, by the contrast they show, or by the attention that a ViT's last block pays them"""
    inhibition: float = 0.5
    """no fovea is within this share of its side, in both directions, of an earlier one; 0 forbids the place alone"""
    read: Literal["aggregate", "view"] = "aggregate"
    """what probes read: [AGG] of a sequence of views (invariant), or the encoder's tokens of the image (equivariant)"""
    read_views: int = 0
    """views of the sequence that probes read; 0 for as many as in training"""

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("views", "action_width", "depth", "heads", "hidden")}
        require(1, math.inf, **sizes)
        require(0, math.inf, read_views=self.read_views)
        require(0, 1, momentum=self.momentum, inhibition=self.inhibition)
        require(0.01, 1, fovea=self.fovea)
        if self.width % self.heads:
            raise ConfigError(
                f"encoder width {self.encoder.width} and action_width {self.action_width} are {self.width} together, "
                f"no multiple of {self.heads} heads: change action_width or heads"
            )
        if self.seen.size or self.following.size:
            raise ConfigError(
                f"seen.size is {self.seen.size}, following.size {self.following.size}: all views have the encoder's "
                "size; leave these at 0"
            )
        if self.gaze == "attention" and not isinstance(self.encoder, ViT):
            raise ConfigError("gaze is attention, which a ResNet has not: use contrast or anywhere, or a ViT")

    @property
    def width(self) -> int:
        """Width of a token: view and action."""
        return self.encoder.width + self.action_width


class Aggregator(nn.Module):
    """A post-norm transformer over tokens and one more, which is what comes out; tokens are a set, without positions.

    Source: hafezgh/seq-jepa:seq-jepa/src/models.py (PyTorch's encoder layers with ReLU, [AGG] starts at zero).
    """

    def __init__(self, width: int, depth: int, heads: int):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(width))
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, batch_first=True) for _ in range(depth)),
            nn.LayerNorm(width),
        )

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B D"]:
        """The aggregate of each sequence."""
        return self.blocks(torch.cat([self.token.expand(len(x), 1, -1), x], 1))[:, 0]


class SeqJEPA(Method):
    """Encoder and its average, embedding of actions, aggregator, predictor."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = encoder(config.encoder)
        self.teacher = EMA(self.encoder, training=True)
        self.action = nn.Sequential(
            nn.Linear(PARAMETERS[config.sequence], config.action_width, bias=False),
            BatchNorm(config.action_width, affine=False),
        )
        self.aggregator = Aggregator(config.width, config.depth, config.heads)
        self.predictor = mlp((config.width + config.action_width, config.hidden, config.encoder.width))

    @property
    def weights(self) -> dict[str, float]:
        """One term."""
        return {"prediction": 1.0}

    def looks(
        self, batch: Batch, random: Random, seen: int, following: int, before: Float[Tensor, "B T P"] | None = None
    ) -> Looks:
        """So many views as are seen and as are predicted, and the parameters of each, whose differences are actions.

        before: parameters of views that these follow; saccades do not return to them.
        """
        image, c = batch["image"], self.config
        if c.sequence == "saccades":
            size = self.fovea(image)
            sides = torch.tensor(image.shape[-2:], device=image.device)
            visited = None if before is None else (before * sides).round().long()
            corner = fixations(self.weigh(image, size), seen + following, random, int(c.inhibition * size),
                               visited=visited)  # fmt: skip
            share = [corner[..., axis] / image.shape[axis - 2] for axis in (0, 1)]
            return foveae(image, corner, size), torch.stack(share, -1).to(image)
        drawn = [draw(random, c.seen, f"seen {k}") for k in range(seen)]
        drawn += [draw(random, c.following, f"following {k}") for k in range(following)]
        views = [apply(image, batch.get("normalization"), one, c.encoder.image) for one in drawn]
        return torch.stack(views, 1), torch.stack([parameters(one) for one in drawn], 1).to(image)

    def fovea(self, image: Float[Tensor, "B C h w"]) -> int:
        """Side of a fovea in pixels: whole patches of a ViT."""
        unit = self.config.encoder.patch if isinstance(self.config.encoder, ViT) else 1
        return max(1, round(self.config.fovea * min(image.shape[-2:]) / unit)) * unit

    @torch.no_grad()
    def weigh(self, image: Float[Tensor, "B C h w"], size: int) -> Float[Tensor, "B r c"]:
        """How much draws the eye to each place where a fovea can be; in float32, so that views are always the same."""
        teacher = self.teacher.module
        if self.config.gaze == "attention" and isinstance(teacher, VisionTransformer):
            patch, last = teacher.config.patch, teacher.config.depth - 1
            with torch.autocast(image.device.type, enabled=False):
                salience = attended(teacher, image.float(), last)[1].unflatten(1, (image.shape[-2] // patch, -1))
            return window_means(salience.repeat_interleave(patch, 1).repeat_interleave(patch, 2), size)
        if self.config.gaze == "contrast":
            return contrast(image, size)
        return torch.ones(len(image), *(side - size + 1 for side in image.shape[-2:]), device=image.device)

    def features(self, views: Float[Tensor, "B n C s s"]) -> Float[Tensor, "B n D"]:
        """f of each view."""
        return self.encoder(views.flatten(0, 1)).pooled().unflatten(0, views.shape[:2])

    @torch.no_grad()
    def targets(self, views: Float[Tensor, "B n C s s"]) -> Float[Tensor, "B n D"]:
        """The teacher's f of each view."""
        return self.teacher(views.flatten(0, 1)).pooled().unflatten(0, views.shape[:2])

    def aggregate(self, features: Float[Tensor, "B T D"], told: Float[Tensor, "B n E"]) -> Float[Tensor, "B F"]:
        """s of views and of the n = T - 1 embedded actions between them; the last token's action is zero."""
        return self.aggregator(torch.cat([features, F.pad(told, (0, 0, 0, 1))], -1))

    def predict(self, views: Float[Tensor, "B T C s s"], actions: Float[Tensor, "B T P"]) -> Float[Tensor, "B D"]:
        """The next view's embedding, from views and the action after each."""
        told = self.action(actions)
        whole = self.aggregate(self.features(views), told[:, :-1])
        return self.predictor(torch.cat([whole, told[:, -1]], -1))

    def loss(self, batch: Batch, random: Random) -> Terms:
        """One less the cosine, from 0 to 2."""
        views, where = self.looks(batch, random, self.config.views, 1)
        predicted = self.predict(views[:, :-1], where.diff(dim=1))
        return {"prediction": 1 + negative_cosine(predicted, self.targets(views[:, -1:])[:, 0])}

    def after_step(self, progress: float) -> None:
        """The teacher follows; its momentum rises along half a cosine."""
        self.teacher.update(self.encoder, half_cosine(self.config.momentum, progress))

    def encode(self, batch: Batch) -> Tokens:
        """The aggregate of views that the image's index alone sets, one token at coordinate 0; or its tokens."""
        if self.config.read == "view":
            return self.encoder(batch["image"])
        views, where = self.looks(batch, Random(0, 0, batch["index"]), self.config.read_views or self.config.views, 0)
        whole = self.aggregate(self.features(views), self.action(where.diff(dim=1)))
        return Tokens(whole[:, None], whole.new_zeros(len(whole), 1, 1))

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """Directions of the next view, predicted and true, and those of the views before it."""
        views, where = self.looks(batch, random, self.config.views, 1)
        predicted = F.normalize(self.predict(views[:, :-1], where.diff(dim=1)).float(), dim=-1)
        true = F.normalize(self.targets(views).float(), dim=-1)
        return Forecast(predicted, true[:, -1], last=true[:, -2], seen=true[:, :-1].mean(1))

    @torch.no_grad()
    def copies(
        self, batch: Batch, random: Random, count: int = 256
    ) -> tuple[Float[Tensor, "B S D"], Float[Tensor, "B S D"]]:
        """Directions of `count` possible next views after one sequence, as predicted and as the teacher has them.

        Call it in evaluation mode, in which norms treat each row alone, and feed both to
        `diagnostics.equivariance.reciprocal_rank`.
        """
        views, where = self.looks(batch, random, self.config.views, 0)
        whole = self.aggregate(self.features(views), self.action(where.diff(dim=1)))
        found, wanted = [], []
        for copy in range(count):
            view, there = self.looks(batch, random.child(copy), 0, 1, where)
            told = self.action(there - where[:, -1:])[:, 0]
            found.append(F.normalize(self.predictor(torch.cat([whole, told], -1)).float(), dim=-1))
            wanted.append(F.normalize(self.targets(view)[:, 0].float(), dim=-1))
        return torch.stack(found, 1), torch.stack(wanted, 1)


def parameters(transform: Transform) -> Float[Tensor, "B P"]:
    """What actions tell: box, brightness, contrast, saturation, hue, blur; not mirror, gray, solarization."""
    vector = transform.vector()
    return torch.cat([vector[:, :4], vector[:, 5:9], vector[:, 10:11]], 1)


def tiny() -> tuple[SeqJEPA, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(ResNet(image=32, base=4, blocks=(1, 1)), action_width=8, depth=1, heads=2, hidden=16,
                    momentum=(0.9, 1.0))  # fmt: skip
    return SeqJEPA(config), example()
