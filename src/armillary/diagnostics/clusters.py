"""Clusters of embeddings, how easily a neighbor rule learns them, and how many dimensions embeddings locally have."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import ShapeError, require
from ..randomness import numbered
from .pairs import distances


def k_means(x: Float[Tensor, "n D"], clusters: int, seed: int = 0, iterations: int = 50) -> Int64[Tensor, " n"]:
    """Which cluster each row belongs to: Lloyd's iterations from seeds spread by k-means++, float64.

    A cluster that loses all its rows stays empty.
    Raises:
        ShapeError: fewer rows than clusters.
        ConfigError: no cluster.
    Source: Arthur and Vassilvitskii (2007).
    """
    require(1, float("inf"), clusters=clusters)
    if x.ndim != 2 or len(x) < clusters:
        raise ShapeError(f"{clusters} clusters of shape {tuple(x.shape)}: give [n, D] with n of at least {clusters}")
    x = x.double()
    draw = numbered(1, seed).uniform("k_means", clusters).double()[0].to(x.device)
    center = x[(draw[0] * len(x)).long().clamp_max(len(x) - 1)][None]
    for u in draw[1:]:
        share = _away(x, center).amin(1).square().cumsum(0)
        center = torch.cat([center, x[torch.searchsorted(share, u * share[-1]).clamp_max(len(x) - 1)][None]])
    label = _away(x, center).argmin(1)
    for _ in range(iterations):
        member = torch.nn.functional.one_hot(label, clusters).to(x.dtype)  # [n, k]
        count = member.sum(0)[:, None]
        center = torch.where(count > 0, member.T @ x / count.clamp_min(1), center)
        before, label = label, _away(x, center).argmin(1)
        if torch.equal(before, label):
            break
    return label


def _away(x: Float[Tensor, "n D"], center: Float[Tensor, "k D"]) -> Float[Tensor, "n k"]:
    return torch.cdist(x, center, compute_mode="donot_use_mm_for_euclid_dist")


def explained(x: Float[Tensor, "n D"], label: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """Share of the variance that lies between clusters; NaN where there is no variance."""
    x = x.double()
    member = torch.nn.functional.one_hot(label).to(x.dtype)
    center = member.T @ x / member.sum(0)[:, None].clamp_min(1)
    within, total = (x - center[label]).square().sum(), (x - x.mean(0)).square().sum()
    return torch.where(total > 0, 1 - within / total, float("nan"))


def cluster_learnability(x: Float[Tensor, "n D"], clusters: int = 10, neighbors: int = 1, seed: int = 0) -> float:
    """How soon a neighbor rule learns k-means clusters: mean accuracy on row i from rows before it, in a drawn order.

    From chance to 1. Subsample first (`pairs.subsample`): it needs all distances.
    Source: Lavoie et al. (arXiv 2206.01251), section 3.2, the prequential codelength by accuracy (believed: the paper
    was not at hand; the number of clusters and neighbors are ours).
    """
    label = k_means(x, clusters, seed)
    order = numbered(1, seed).order("learnability", len(x))[0].to(x.device)
    away, label = distances(x[order]), label[order]
    earlier = torch.ones_like(away, dtype=torch.bool).tril(-1)
    nearest = away.masked_fill(~earlier, float("inf")).topk(min(neighbors, len(x) - 1), largest=False)
    vote = torch.nn.functional.one_hot(label, clusters)[nearest.indices].double()  # [n, k, clusters]
    guess = (vote * nearest.values.isfinite()[..., None]).sum(1).argmax(1)
    return float((guess == label)[1:].double().mean())


def intrinsic_dimension(x: Float[Tensor, "n D"], discard: float = 0.1) -> float:
    """Local number of dimensions, from the ratios of distances to the second and the first neighbor.

    Rows that coincide with another count once less; the largest `discard` of the ratios is left out. 0 where fewer than
    3 different rows remain.
    Source: TwoNN, Facco et al. (arXiv 1803.06992), the fit through the origin of its figure 1.
    """
    require(0, 0.9, discard=discard)
    x = torch.unique(x.double(), dim=0)
    if len(x) < 3:
        return 0.0
    near = distances(x).topk(3, largest=False).values[:, 1:]
    ratio = (near[:, 1] / near[:, 0].clamp_min(torch.finfo(x.dtype).tiny)).sort().values
    kept = ratio[: max(2, int(len(ratio) * (1 - discard)))].log()
    survival = -torch.log1p(-(torch.arange(1, len(kept) + 1, dtype=x.dtype, device=x.device) / (len(ratio) + 1)))
    return float((kept * survival).sum() / kept.square().sum()) if bool(kept.any()) else float("inf")


def clid(x: Float[Tensor, "n D"], clusters: int = 10, seed: int = 0) -> dict[str, float]:
    """Cluster learnability and intrinsic dimension, the two parts of CLID.

    The paper adds them after standardizing each over the models that are compared; of a single one there is no sum.
    Source: Lavoie et al. (arXiv 2206.01251).
    """
    return {
        "cluster_learnability": cluster_learnability(x, clusters, seed=seed),
        "intrinsic_dimension": intrinsic_dimension(x),
    }
