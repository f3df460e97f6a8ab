"""How far embeddings are from an isotropic normal distribution, by the statistic that SIGReg trains with."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from ..functional.regularize import epps_pulley, unit_directions


def normality(x: Float[Tensor, "n D"], directions: int = 256, seed: int = 0, scaled: bool = True) -> float:
    """Mean Epps-Pulley statistic of the rows along fixed random directions, over the number of rows.

    0 for a standard normal distribution of endless rows (about 1 / n of them by chance), up to about 0.5 for constants.
    scaled: center the rows and divide all by one number, so that their mean variance is 1: the shape is judged, not the
    size, as representations other than LeJEPA's have any size.
    Raises:
        ShapeError: fewer than 2 rows.
    Source: SIGReg as a statistic, LeJEPA (arXiv 2511.08544), section 4; centering and scaling are ours.
    """
    if x.ndim != 2 or len(x) < 2:
        raise ShapeError(f"embeddings of shape {tuple(x.shape)}: give [n, D] of at least 2 rows")
    x = x.double()
    if scaled:
        x = x - x.mean(0)
        size = x.square().mean().sqrt()
        x = x / size if size > 0 else x
    unit = unit_directions(x.shape[1], directions, torch.Generator().manual_seed(seed)).to(x.device)
    return float(epps_pulley(x.float() @ unit)) / len(x)
