"""Retrieval: which items of a gallery are nearest to a query."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import ConfigError, DataError
from .extract import Features
from .report import Report, check_classes, scored

CHUNK = 256  # queries at a time: the ranks of the whole gallery are held in memory


def retrieval(gallery: Features, query: Features | None = None, at: tuple[int, ...] = (1, 5, 10)) -> Report:
    """Mean average precision of the ranking of the gallery by cosine, exact, and recall@k.

    An item is right when it has the query's class. Average precision is the mean, over all right items, of the share of
    right items up to its rank. Recall@k is the share of queries with a right item among the k nearest. Of equal cosines
    the earlier row ranks first. Queries whose class no other item has are left out. Intervals resample queries (their
    groups), the gallery is held fixed. Chance is the expected score of a random order.

    Args:
        query: None: each row of the gallery asks for the others (leave one out).
    Returns:
        details: recall and recall_interval by k, queries that were left out.
    Raises:
        ConfigError: a k is not positive.
        DataError: fewer items than a k; no query has a right item; one class only, NaN, or no labels.
    """
    begun = time.perf_counter()
    asked, alone = (gallery, True) if query is None else (query, False)
    check_classes(gallery, asked)
    items = len(gallery.x) - alone
    if not at or min(at) < 1:
        raise ConfigError(f"recall is asked at {at}: give at least one number of neighbors, all positive")
    if items < max(at):
        raise DataError(f"{items} items are fewer than k = {max(at)} neighbors: lower k or give more rows")
    known, asking = F.normalize(gallery.x.float(), dim=1), F.normalize(asked.x.float(), dim=1)
    found = [
        _ranked(known, gallery.y, asking[rows], asked.y[rows], rows if alone else None, at)
        for rows in torch.arange(len(asking)).split(CHUNK)
    ]
    precision, recall, right = (torch.cat(part) for part in zip(*found, strict=True))
    usable = right > 0
    if not usable.any():
        raise DataError("no query has an item of its class in the gallery: give a gallery of the same classes")
    precision, recall, group = precision[usable], recall[usable], asked.group[usable]
    score, interval = scored(precision, group)
    details = {
        "recall": {str(k): float(hits.double().mean()) for k, hits in zip(at, recall.T, strict=True)},
        "recall_interval": {str(k): list(scored(hits, group)[1]) for k, hits in zip(at, recall.T, strict=True)},
        "left_out": int((~usable).sum()),
    }
    settings = {"at": list(at), "leave_one_out": alone}
    chance = float(random_order(right[usable], items).mean())
    return Report(
        "retrieval", score, interval, chance, settings, len(gallery.x), len(precision), time.perf_counter() - begun,
        precision, asked.index[usable], group, details, "mAP",
    )  # fmt: skip


def random_order(right: Int64[Tensor, " n"], items: int) -> Float[Tensor, " n"]:
    """The expected average precision of a random order of `items`, of which `right` are right.

    (H + (right - 1) / (items - 1) * (items - H)) / items with the harmonic number H of `items`.
    """
    harmonic = (1 / torch.arange(1, items + 1, dtype=torch.float64)).sum()
    return (harmonic + (right - 1) / max(items - 1, 1) * (items - harmonic)) / items


def _ranked(
    known: Float[Tensor, "m D"],
    y: Int64[Tensor, " m"],
    asking: Float[Tensor, "n D"],
    wanted: Int64[Tensor, " n"],
    itself: Int64[Tensor, " n"] | None,
    at: tuple[int, ...],
) -> tuple[Float[Tensor, " n"], Bool[Tensor, "n K"], Int64[Tensor, " n"]]:
    """Average precision and recall@k of each query, and how many right items there are."""
    cosine = asking @ known.T
    if itself is not None:
        cosine[torch.arange(len(asking)), itself] = -torch.inf  # last, and dropped below
    order = cosine.argsort(dim=1, descending=True, stable=True)[:, : len(known) - (itself is not None)]
    hit = y[order] == wanted[:, None]
    so_far = hit.cumsum(1)
    count = so_far[:, -1]
    precision = (hit * so_far / torch.arange(1, hit.shape[1] + 1)).sum(1) / count.clamp_min(1)
    return precision.double(), torch.stack([so_far[:, k - 1] > 0 for k in at], 1), count
