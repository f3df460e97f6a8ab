"""Weighted k-nearest neighbours."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F

from ..errors import ConfigError, DataError
from .extract import Features
from .report import Report, check_classes, majority, scored

CHUNK = 1024  # test rows at a time: the similarities of a chunk are held in memory


def knn(train: Features, test: Features, k: int = 20, temperature: float = 0.07) -> Report:
    """Accuracy of a vote of the k nearest train rows by cosine, weighted by exp(cosine / temperature).

    Raises:
        ConfigError: k or temperature are not positive.
        DataError: fewer train rows than k, one class only, NaN, or no labels.
    Source: Wu et al. (arXiv 1805.01978), section 3.4; k and temperature as facebookresearch/dino:eval_knn.py.
    """
    begun = time.perf_counter()
    if k < 1 or temperature <= 0:
        raise ConfigError(f"k is {k}, temperature {temperature}: both must be positive")
    classes = check_classes(train, test)
    if len(train.x) < k:
        raise DataError(f"{len(train.x)} train rows are fewer than k = {k} neighbours: lower k or give more rows")
    known, asked = F.normalize(train.x.float(), dim=1), F.normalize(test.x.float(), dim=1)
    answers = []
    for part in asked.split(CHUNK):
        cosine, place = (part @ known.T).topk(k, dim=1)
        # Relative to the nearest one, so that the exponential of a low temperature stays finite.
        weight = ((cosine - cosine[:, :1]) / temperature).exp()
        votes = weight.new_zeros(len(part), classes).scatter_add_(1, train.y[place], weight)
        answers.append(votes.argmax(1))
    right = torch.cat(answers) == test.y
    score, interval = scored(right, test.group)
    return Report(
        "knn", score, interval, majority(train, test), {"k": k, "temperature": temperature}, len(train.x), len(test.x),
        time.perf_counter() - begun, right, test.index, test.group,
    )  # fmt: skip
