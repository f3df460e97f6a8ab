"""What a world model of adroit_door must beat: copying the state, and a ridge regression, by horizon.

    python benchmarks/door_floor.py FOLDER [--json FILE]

FOLDER holds any trajectories that `armillary convert` reads. The ridge predicts x[t + 1] - x[t] from x[t] and a[t]. It
is fitted on the training episodes and judged on the data's own test part (else a hash holds out a tenth), for each
horizon at all steps from which it fits; beyond one step it is fed its own predictions. Mean squared errors: `raw` in
the data's units, which its README quotes (0.75 of copying at one step), `scaled` with each number divided
by its standard deviation in the training episodes. Ratios are over copying.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from armillary.data.convert import prepared
from armillary.data.dataset import held_out
from armillary.data.trajectories import Columns, open_trajectories

HORIZON = 10
STRENGTHS = (1e-6, 1e-4, 1e-2, 1.0, 1e2)  # of the ridge, chosen on a fifth of the training episodes


def episodes_of(path: Path) -> tuple[list[Columns], list[Columns]]:
    """Training and test episodes."""
    source = open_trajectories(path)
    parts = source.recording.parts
    test = np.array([part == "test" for part in parts]) if parts else held_out(source.recording.names, 0.1)
    every = [prepared(source.read(i), source.name(i))[0] for i in range(len(source))]
    return tuple([e for e, t in zip(every, test, strict=True) if t == wanted] for wanted in (False, True))


def rows(episodes: list[Columns]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x[t], a[t] and x[t + 1] of all steps."""
    states = [e["state"].astype(np.float64) for e in episodes]
    actions = np.concatenate([e["action"].astype(np.float64) for e in episodes])
    return np.concatenate([x[:-1] for x in states]), actions, np.concatenate([x[1:] for x in states])


class Ridge:
    """x[t + 1] - x[t] as a linear function of standardized x[t] and a[t]."""

    def __init__(self, episodes: list[Columns], strength: float) -> None:
        x, action, following = rows(episodes)
        inputs = np.concatenate([x, action], 1)
        self.mean, self.std = inputs.mean(0), inputs.std(0) + 1e-12
        z = np.c_[(inputs - self.mean) / self.std, np.ones(len(inputs))]
        self.weight = np.linalg.solve(z.T @ z + strength * np.eye(z.shape[1]), z.T @ (following - x))

    def __call__(self, x: np.ndarray, action: np.ndarray) -> np.ndarray:
        z = (np.concatenate([x, action], 1) - self.mean) / self.std
        return x + np.c_[z, np.ones(len(z))] @ self.weight


def errors(episodes: list[Columns], model: Ridge | None, scale: np.ndarray) -> dict[str, list[float]]:
    """Mean squared errors by horizon, open loop; of copying where there is no model."""
    states, actions = ([e[key].astype(np.float64) for e in episodes] for key in ("state", "action"))
    seen, found = list(states), {"raw": [], "scaled": []}
    for h in range(1, HORIZON + 1):
        seen = [x[:-1] for x in seen]  # the last one has no frame h steps later
        if model is not None:
            seen = [model(x, a[h - 1 :]) for x, a in zip(seen, actions, strict=True)]
        gap = np.concatenate([x - s[h:] for x, s in zip(seen, states, strict=True)])
        found["raw"].append(float(np.mean(gap**2)))
        found["scaled"].append(float(np.mean((gap / scale) ** 2)))
    return found


def main() -> None:
    """Print the floors by horizon."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    train, test = episodes_of(asked.path)
    scale = rows(train)[0].std(0) + 1e-12
    inner = [e for i, e in enumerate(train) if i % 5], train[::5]
    strength = min(STRENGTHS, key=lambda s: errors(inner[1], Ridge(inner[0], s), scale)["scaled"][0])
    ridge, copy = errors(test, Ridge(train, strength), scale), errors(test, None, scale)
    print(f"{len(train)} episodes for training, {len(test)} for the test; ridge strength {strength:g}")
    print(f"{'horizon':>7}" + "".join(f"{f'{name} copy':>15}{'ridge':>10}{'ratio':>7}" for name in copy))
    for h in range(HORIZON):
        print(
            f"{h + 1:7}"
            + "".join(f"{copy[n][h]:15.6f}{ridge[n][h]:10.6f}{ridge[n][h] / copy[n][h]:7.3f}" for n in copy)
        )
    if asked.json:
        asked.json.write_text(json.dumps({"strength": strength, "copy": copy, "ridge": ridge}, indent=1) + "\n")


if __name__ == "__main__":
    main()
