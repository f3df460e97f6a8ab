"""LeJEPA: all views of an image agree, and embeddings are standard normal (arXiv 2511.08544).

views    z_v = projector(f(view_v)), some global, some local
energy   (1 - lambda) * mean over v of |mean of the global z - z_v|^2 / K + lambda * mean over v of SIGReg(z_v)
No teacher, no predictor, no stopped gradient: SIGReg alone prevents collapse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...contracts import Method
from ...errors import require
from ...functional.distance import squared
from ...functional.regularize import sigreg, unit_directions
from ...nn.encoder import Encoder, ViT, encoder
from ...nn.heads import mlp
from ...randomness import Random
from ...types import Batch, Forecast, Terms, Tokens
from ...views.pixels import PixelViews, example, pixel_view

GLOBAL = PixelViews(crop_scale=(0.3, 1.0), saturation=0.2, solarize=0.2, size=224)
LOCAL = PixelViews(crop_scale=(0.05, 0.3), saturation=0.2, solarize=0.2, size=98)


@dataclass(frozen=True)
class Config:
    """Defaults: ViT-L/14 on ImageNet, views as in rbalestr-lab/lejepa:README.md, projector as in its MINIMAL.md."""

    encoder: Encoder = ViT(image=224, patch=14, width=1024, depth=24, heads=16, class_token=True)
    """sizes of the encoder"""
    hidden: int = 2048
    """width of both hidden layers of the projector"""
    out: int = 16
    """width of the projections"""
    globals: int = 2
    """large views per image"""
    locals: int = 6
    """small views per image"""
    global_view: PixelViews = GLOBAL
    """how large views are drawn"""
    local_view: PixelViews = LOCAL
    """how small views are drawn"""
    center: Literal["global", "all"] = "global"
    """views regress to the mean of the global ones (the paper), or of all (MINIMAL.md)"""
    sigreg_weight: float = 0.05
    """lambda: share of the regularizer in the energy; 0.02 in MINIMAL.md"""
    directions: int = 1024
    """random directions of SIGReg per step; 256 in MINIMAL.md"""
    knots: int = 17
    """points of its quadrature"""
    limit: float = 3.0
    """end of its quadrature"""

    def __post_init__(self) -> None:
        require(1, math.inf, globals=self.globals, hidden=self.hidden, out=self.out, directions=self.directions)
        require(2, math.inf, knots=self.knots, views=self.globals + self.locals)
        require(0, math.inf, locals=self.locals, limit=self.limit)
        require(0, 1, sigreg_weight=self.sigreg_weight)


class LeJEPA(Method):
    """Encoder and projector, both trained through every view."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.encoder = encoder(config.encoder)
        self.projector = mlp((self.encoder.out_width, config.hidden, config.hidden, config.out))

    @property
    def weights(self) -> dict[str, float]:
        """The two terms share the energy."""
        return {"prediction": 1 - self.config.sigreg_weight, "sigreg": self.config.sigreg_weight}

    def project(
        self, large: list[Float[Tensor, "B C h w"]], small: list[Float[Tensor, "B C s t"]]
    ) -> Float[Tensor, "V B K"]:
        """Projections of all views, the large ones first; views of one size go through the encoder together."""
        vectors = torch.cat([self.encoder.vector(torch.cat(views)) for views in (large, small) if views])
        return self.projector(vectors).unflatten(0, (len(large) + len(small), -1))

    def views(self, batch: Batch, random: Random) -> Float[Tensor, "V B K"]:
        """Projections of the views of one draw."""
        c = self.config
        large = [pixel_view(batch, random, c.global_view, f"global/{v}") for v in range(c.globals)]
        small = [pixel_view(batch, random, c.local_view, f"local/{v}") for v in range(c.locals)]
        return self.project(large, small)

    def middle(self, z: Float[Tensor, "V B K"]) -> Float[Tensor, "V B K"]:
        """What each view is drawn to; with gradient."""
        seen = z[: self.config.globals] if self.config.center == "global" else z
        return seen.mean(0).expand_as(z)

    def loss(self, batch: Batch, random: Random) -> Terms:
        """Distance to the center, and the distance of each view's distribution from a standard normal.

        Source: the paper's algorithm 2; rbalestr-lab/lejepa:MINIMAL.md. SIGReg is averaged over views, as released.
        """
        c = self.config
        z = self.views(batch, random)
        directions = unit_directions(c.out, c.directions, random.shared("directions"))
        return {
            "prediction": squared(z, self.middle(z)),
            "sigreg": sigreg(z, directions, c.knots, c.limit),
        }

    def encode(self, batch: Batch) -> Tokens:
        """Tokens of the encoder; the paper probes the encoder's output, not the projection."""
        return self.encoder(batch["image"])

    def forecast(self, batch: Batch, random: Random) -> Forecast:
        """The views beside their center."""
        z = self.views(batch, random)
        return Forecast(z.flatten(0, 1), self.middle(z).flatten(0, 1))


def tiny() -> tuple[LeJEPA, Batch]:
    """A small instance and a batch for the contract tests."""
    config = Config(
        ViT(image=32, patch=8, width=32, depth=2, heads=2), hidden=32, out=8, locals=2, directions=32,
        global_view=PixelViews(crop_scale=(0.3, 1.0)), local_view=PixelViews(crop_scale=(0.05, 0.3), size=16),
    )  # fmt: skip
    return LeJEPA(config), example()
