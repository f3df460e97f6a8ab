"""V-JEPA's attentive probe: a learned query that attends to the tokens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import ConfigError
from ..nn.pooling import AttentiveClassifier
from ..randomness import numbered
from .extract import Features
from .linear import held_out, standardized
from .report import Report, check_classes, majority, scored

RATES = (1e-2, 3e-3, 1e-3)
CHUNK = 1024  # rows at a time where nothing is trained


def attentive(
    train: Features,
    test: Features,
    rates: tuple[float, ...] = RATES,
    epochs: int = 20,
    batch: int = 64,
    weight_decay: float = 0.01,
    depth: int = 1,
    heads: int = 0,
    seed: int = 0,
) -> Report:
    """Accuracy of an attentive classifier of the tokens [n, N, D], fitted by AdamW.

    Each channel is standardized over all train tokens. A tenth of the train rows is held out. Each learning rate is
    tried once on the others, its cosine going to 0 in the last epoch; of all rates and epochs the weights that are most
    accurate on the held-out rows, the first of equals, answer the test rows. `settings` holds the best accuracy of
    every rate; `tried` counts rates times epochs.

    Args:
        depth: 1, or more for self-attention blocks after the cross-attention.
        heads: 0 for the largest divisor of D with at least 32 channels a head.
    Raises:
        ConfigError: no rates, or an impossible setting.
        ShapeError: tokens were not kept.
        DataError: one class only, NaN, or no labels.
    Source: arXiv 2404.08471, appendix: AdamW, cosine from 1e-3 to 0 without warm-up, 20 epochs, gradients clipped at
        1. Departures: channels are standardized, as for `linear`, since small encoders hold little beside a constant
        (9 points on hand signs); a few rates are tried; decay is constant; no augmentation, as features are fixed.
    """
    begun = time.perf_counter()
    if not rates or min(rates) <= 0 or min(epochs, batch, depth) < 1 or min(heads, weight_decay) < 0:
        raise ConfigError(
            f"rates are {rates}, epochs {epochs}, batch {batch}, depth {depth}, heads {heads}, weight_decay "
            f"{weight_decay}: give at least one rate, rates, epochs, batch and depth positive, the others not negative"
        )
    classes = check_classes(train, test, tokens=True)
    width, held = train.x.shape[-1], held_out(len(train.x), seed)
    heads = heads or next(n for n in range(max(1, width // 32), 0, -1) if width % n == 0)
    tokens, asked = (
        part.view(-1, *train.x.shape[1:]) for part in standardized(train.x.flatten(0, 1), test.x.flatten(0, 1))
    )
    probe, best, tried = _chosen(
        lambda: _new(width, heads, classes, depth, seed),
        lambda probe, rate: _epochs(probe, tokens[~held], train.y[~held], rate, epochs, batch, weight_decay, seed),
        lambda probe: float((_answers(probe, tokens[held]) == train.y[held]).float().mean()),
        rates,
    )
    right = _answers(probe, asked) == test.y
    score, interval = scored(right, test.group, seed)
    settings = {**best, "validation": tried, "tried": len(tried) * epochs, "epochs": epochs, "batch": batch,
                "weight_decay": weight_decay, "depth": depth, "heads": heads, "seed": seed}  # fmt: skip
    return Report(
        "attentive", score, interval, majority(train, test), settings, len(train.x), len(right),
        time.perf_counter() - begun, right, test.index, test.group,
    )  # fmt: skip


def _new(width: int, heads: int, classes: int, depth: int, seed: int) -> AttentiveClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AttentiveClassifier(width, heads, classes, depth)


def _chosen(
    new: Callable[[], AttentiveClassifier],
    trained: Callable[[AttentiveClassifier, float], Iterator[int]],
    judged: Callable[[AttentiveClassifier], float],
    rates: tuple[float, ...],
) -> tuple[AttentiveClassifier, dict[str, float], dict[str, float]]:
    """The classifier of the best rate and epoch, which these are, and the best judgment of each rate."""
    probe, best, chosen, tried = new(), -1.0, {}, {}
    kept: dict[str, Tensor] = {}
    for rate in rates:
        probe = new()
        for epoch in trained(probe, rate):
            found = judged(probe)
            tried[str(rate)] = max(found, tried.get(str(rate), -1.0))
            if found > best:
                best, chosen = found, {"rate": rate, "epoch": epoch + 1}
                kept = {name: value.clone() for name, value in probe.state_dict().items()}
    probe.load_state_dict(kept)
    return probe, chosen, tried


def _epochs(
    probe: AttentiveClassifier,
    x: Float[Tensor, "n N D"],
    y: Int64[Tensor, " n"],
    rate: float,
    epochs: int,
    batch: int,
    weight_decay: float,
    seed: int,
) -> Iterator[int]:
    """Train; yields the number of each epoch when it is done."""
    optimizer = torch.optim.AdamW(probe.parameters(), lr=rate, weight_decay=weight_decay)
    steps = math.ceil(len(x) / batch)
    for epoch in range(epochs):
        order = numbered(1, seed, epoch).order("attentive", len(x))[0]
        for step, rows in enumerate(order.split(batch)):
            done = (epoch * steps + step) / (epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 + math.cos(math.pi * done)) / 2
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(probe(x[rows]), y[rows]).backward()
            torch.nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
            optimizer.step()
        yield epoch


@torch.no_grad()
def _answers(probe: AttentiveClassifier, x: Float[Tensor, "n N D"]) -> Int64[Tensor, " n"]:
    return torch.cat([probe(part).argmax(1) for part in x.split(CHUNK)])
