"""Losses of two views that agree: contrastive ones, over the batch of all ranks, and the plain cosine. Float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from ..parallel import all_gather, all_mean, rank, ranks


def nt_xent(one: Float[Tensor, "B D"], two: Float[Tensor, "B D"], temperature: float = 0.1) -> Float[Tensor, ""]:
    """SimCLR's loss: each of the 2 N views must find its partner among the other 2 N - 1, by cosine.

    mean over i of -log(exp(cos(z_i, z_j) / t) / sum over k != i of exp(cos(z_i, z_k) / t)); N counts all ranks' rows,
    and gradients flow to the views and to what they are compared with. Symmetric: (one, two) equals (two, one).
    Raises:
        ShapeError: the views differ in shape, or there is one row and thus no negative.
    Source: SimCLR (arXiv 2002.05709), equation 1; temperature 0.1 for its longest ImageNet runs, 0.5 for CIFAR-10.
    """
    _paired(one, two, rows=2)
    with torch.autocast(one.device.type, enabled=False):
        one, two = F.normalize(one.float(), dim=-1), F.normalize(two.float(), dim=-1)
        everyone = torch.cat([all_gather(one), all_gather(two)])
        similarity = torch.cat([one, two]) @ everyone.T / temperature
        own = _places(one)
        itself, partner = torch.cat([own, own + len(everyone) // 2]), torch.cat([own + len(everyone) // 2, own])
        similarity = similarity.scatter(1, itself[:, None], -torch.inf)
        return all_mean(F.cross_entropy(similarity, partner))


def info_nce(query: Float[Tensor, "B D"], key: Float[Tensor, "B D"], temperature: float = 0.2) -> Float[Tensor, ""]:
    """One direction of MoCo v3's loss: each query must find its key among the keys of all ranks, by cosine.

    2 t * cross-entropy(cos(q_i, k_j) / t, i). MoCo v3 adds both directions. Keys come from the momentum encoder, so
    whoever calls computes them without gradient; a key that has one gets it. Unlike in `nt_xent`, queries are no
    negatives of each other, and the factor 2 t makes the gradient's size independent of the temperature.
    Raises:
        ShapeError: query and key differ in shape, or there is one row and thus no negative.
    Source: MoCo v3 (arXiv 2104.02057), equation 1 and algorithm 1; facebookresearch/moco-v3:moco/builder.py.
    """
    _paired(query, key, rows=2)
    with torch.autocast(query.device.type, enabled=False):
        query, key = F.normalize(query.float(), dim=-1), F.normalize(key.float(), dim=-1)
        similarity = query @ all_gather(key).T / temperature
        return all_mean(F.cross_entropy(similarity, _places(query))) * (2 * temperature)


def negative_cosine(p: Float[Tensor, "*B D"], z: Float[Tensor, "*B D"]) -> Float[Tensor, ""]:
    """Mean of -cos(p, z): -1 for equal directions, 1 for opposite ones. Detach what must get no gradient.

    SimSiam's loss is (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2. BYOL's distance of l2-normalized vectors
    is |p - z|^2 = 2 + 2 negative_cosine(p, z), and BYOL adds both directions.
    Raises:
        ShapeError: the two differ in shape.
    Source: SimSiam (arXiv 2011.10566), equations 1 and 2; BYOL (arXiv 2006.07733), equation 2.
    """
    _paired(p, z, rows=1)
    with torch.autocast(p.device.type, enabled=False):
        return all_mean(-F.cosine_similarity(p.float(), z.float(), dim=-1).mean())


def _places(mine: Tensor) -> Tensor:
    """Where this rank's rows are among those of all ranks."""
    return torch.arange(len(mine), device=mine.device) + rank() * len(mine)


def _paired(one: Tensor, two: Tensor, rows: int) -> None:
    if one.shape != two.shape:
        raise ShapeError(f"two views of the same rows have one shape, got {tuple(one.shape)} and {tuple(two.shape)}")
    if len(one) * ranks() < rows:
        raise ShapeError(f"at least {rows} rows are needed, got shape {tuple(one.shape)}: use a larger batch")
