"""Whether actions stand where they should: which shift of them best predicts how the state changes.

A ridge regression predicts x[t + 1] - x[t] from x[t], x[t] - x[t - 1] and the action a[t + shift], judged on episodes
that it was not fitted on. By the convention of stores a[t] makes the change, so shift 0 should predict it best. Data in
which a[t] is the action that led to x[t] predict it best with shift 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

SHIFTS = (-1, 0, 1)
FOLDS = 5
RIDGE = 1e-3  # times the number of rows; features have unit variance
CLEAR = 2.0  # standard errors, over episodes, by which another shift must be better
LESS = 0.97  # of the error of shift 0 that another shift must reach
SHORTEST = 5  # frames


@dataclass(frozen=True)
class Alignment:
    """Share of the variance of state changes that is explained on held-out episodes.

    explained: by shift, the episodes' mean. alone: without actions. best: the shift of the highest. clear: it is not 0,
    and better than 0 by more than chance. episodes: that were looked at.
    """

    explained: dict[int, float]
    alone: float
    best: int
    clear: bool
    episodes: int


def alignment(
    states: Sequence[Shaped[np.ndarray, "_ S"]], actions: Sequence[Shaped[np.ndarray, "_ A"]]
) -> Alignment | None:
    """The alignment of episodes' actions [T - 1, A] with their states [T, S]; None where there is nothing to judge by.

    That is: fewer than 3 episodes of 5 frames or more, or states that never change.
    """
    pairs = [(x.astype(np.float64), a.astype(np.float64)) for x, a in zip(states, actions, strict=True)]
    pairs = [(x, a) for x, a in pairs if len(x) >= SHORTEST]
    if len(pairs) < 3:
        return None
    change = [x[2:-1] - x[1:-2] for x, _ in pairs]
    spread = np.concatenate(change).std(0)
    moving = spread > 1e-9 * np.maximum(1.0, np.abs(np.concatenate([x for x, _ in pairs])).max(0))
    if not moving.any():
        return None
    targets = [(part / np.where(moving, spread, 1.0))[:, moving] for part in change]
    seen = [np.concatenate([x[1:-2], x[1:-2] - x[:-3]], 1) for x, _ in pairs]
    alone = _errors(seen, targets)
    errors = {
        s: _errors([np.concatenate(p, 1) for p in zip(seen, _moved(pairs, s), strict=True)], targets) for s in SHIFTS
    }
    explained = {shift: float(1 - error.mean()) for shift, error in errors.items()}
    best = max(explained, key=lambda shift: (explained[shift], shift == 0))
    gain = errors[0] - errors[best]
    sure = gain.mean() > CLEAR * gain.std(ddof=1) / np.sqrt(len(gain))
    clear = best != 0 and bool(sure) and bool(errors[best].mean() < LESS * errors[0].mean())
    return Alignment(explained, float(1 - alone.mean()), best, clear, len(pairs))


def _moved(pairs: Sequence[tuple[np.ndarray, np.ndarray]], shift: int) -> list[np.ndarray]:
    """a[t + shift] for the steps 1 to T - 3, for which all shifts exist."""
    return [action[1 + shift : len(action) - 1 + shift] for _, action in pairs]


def _errors(inputs: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> Float[np.ndarray, " E"]:
    """Error of each episode over the variance, by a ridge that was fitted on the other folds of episodes."""
    whole = np.concatenate(inputs)
    mean, std = whole.mean(0), whole.std(0)
    inputs = [np.c_[(part - mean) / np.where(std > 1e-12, std, 1.0), np.ones(len(part))] for part in inputs]
    grams = [(part.T @ part, part.T @ target) for part, target in zip(inputs, targets, strict=True)]
    total = [np.sum([gram[i] for gram in grams], 0) for i in (0, 1)]
    rows, errors = sum(map(len, inputs)), np.zeros(len(inputs))
    folds = min(FOLDS, len(inputs))
    for fold in range(folds):
        own = range(fold, len(inputs), folds)
        gram, moment = (total[i] - np.sum([grams[e][i] for e in own], 0) for i in (0, 1))
        weight = np.linalg.solve(gram + RIDGE * rows * np.eye(len(gram)), moment)
        for episode in own:
            errors[episode] = np.mean((inputs[episode] @ weight - targets[episode]) ** 2)
    return errors
