"""A run folder as a demo would leave it, made of small generated numbers: what the report's tests look at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

STEPS, EPISODES, SIZE = 90, 6, 64
FLOOR, WALL, DOT = (18, 22, 33), (104, 122, 158), (255, 176, 46)


def world(folder: Path) -> Path:
    """The folder of a world model: log, report, planned episodes."""
    folder.mkdir(parents=True, exist_ok=True)
    _dump(folder / "run.json", RUN)
    _dump(folder / "report.json", WORLD)
    rows = log(np.random.default_rng(0), 1000, 4200)
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    np.savez(folder / "episodes.npz", **film(np.random.default_rng(1)))
    return folder


def images(folder: Path) -> Path:
    """The folder of an image method: no actions, no plans."""
    folder.mkdir(parents=True, exist_ok=True)
    _dump(folder / "run.json", {**RUN, "recipe": "ijepa_cifar10", "method": "ijepa"})
    _dump(folder / "report.json", IMAGES)
    rows = log(np.random.default_rng(2), 400, 20000, energy=0.4)
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def log(random: np.random.Generator, rows: int, steps: int, energy: float = 1.4) -> list[dict[str, object]]:
    """Rows of a healthy run: falling terms, a warm-up and a decay, diagnostics in every tenth row."""
    found: list[dict[str, object]] = []
    for i in range(rows):
        progress = i / (rows - 1)
        noise = random.normal(1, 0.12, 2)
        prediction = energy * (0.04 + 0.96 * np.exp(-9 * progress)) * noise[0]
        sigreg = 0.3 * energy * (0.1 + 0.9 * np.exp(-14 * progress)) * noise[1]
        rate = 5e-4 * min(progress / 0.1, 1) * (0.5 + 0.5 * np.cos(np.pi * progress))
        row: dict[str, object] = {
            "step": round(progress * steps),
            "energy": prediction + 0.1 * sigreg,
            "terms": {"prediction": prediction, "sigreg": sigreg},
            "learning_rate": rate,
            "gradient_norm": abs(random.normal(0.6, 0.1)),
            "samples_per_second": 1700 + random.normal(0, 30),
        }
        if i % 10 == 0:
            grown = 1 - np.exp(-7 * progress)
            row["diagnostics"] = {
                "participation": 2 + 38 * grown + random.normal(0, 0.6),
                "rankme": 6 + 73 * grown + random.normal(0, 0.8),
                "r2": 0.985 * grown + random.normal(0, 0.004),
                "copy_ratio": 0.06 + 0.94 * np.exp(-8 * progress) + abs(random.normal(0, 0.006)),
            }
        found.append(row)
    return found


def film(random: np.random.Generator) -> dict[str, np.ndarray]:
    """The arrays of `episodes.npz`: walks from a start through the door to a goal, drawn as Two Rooms draws them."""
    starts = random.uniform(9, 24, (EPISODES, 2)) + (0, 30)
    goals = np.where(np.arange(EPISODES)[:, None] % 2, random.uniform((42, 12), (55, 55), (EPISODES, 2)), starts[::-1])
    paths, success, first = [], [], []
    for i in range(EPISODES):
        through = [starts[i], (27, 20), (37, 20), goals[i]] if i % 2 else [starts[i], goals[i] - (3, 22), goals[i]]
        path = _walk(random, np.array(through))
        if i == 3:
            path = np.minimum(path, (28.5, 64))  # one that never finds the door
        near = np.linalg.norm(path - goals[i], axis=1) <= 4.5
        paths.append(path)
        success.append(near.any())
        first.append(near.argmax() if near.any() else -1)
    positions = np.stack(paths)
    return {
        "frames": np.stack([[draw(place) for place in path] for path in positions]),
        "goal": np.stack([draw(goal) for goal in goals]),
        "positions": positions.astype(np.float32),
        "goals": goals.astype(np.float32),
        "success": np.array(success),
        "first": np.array(first),
        "task": np.array(["same_room", "other_room"] * (EPISODES // 2)),
    }


def draw(place: Float[np.ndarray, " 2"]) -> UInt8[np.ndarray, "h w 3"]:
    """The world with the dot at (x, y)."""
    image = np.full((SIZE, SIZE, 3), FLOOR, dtype=np.float64)
    image[:, 31:34] = WALL
    image[15:25, 31:34] = FLOOR
    for side in (slice(0, 3), slice(SIZE - 3, SIZE)):
        image[side] = image[:, side] = WALL
    middle = np.arange(SIZE) + 0.5
    bell = np.exp(-((middle - place[:, None]) ** 2) / (2 * 1.7**2))
    dot = (bell[1][:, None] * bell[0])[..., None]
    return (image + (np.array(DOT) - image) * dot + 0.5).astype(np.uint8)


def _walk(random: np.random.Generator, corners: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "n 2"]:
    place, path, corner = corners[0].astype(np.float64), [], 1
    for _ in range(STEPS + 1):
        path.append(place.copy())
        toward = corners[corner] - place
        distance = np.linalg.norm(toward)
        if distance < 2 and corner < len(corners) - 1:
            corner += 1
        step = toward / max(distance, 1e-6) * min(1.9, distance) + random.normal(0, 0.35, 2)
        place = np.clip(place + step, 4, 60)
    return np.stack(path)


def _dump(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


SPECTRUM = [float(v) for v in np.exp(-(np.linspace(0, 5.5, 128) ** 1.15))]
MACHINE = {"cpu": "Example CPU at 2.6 GHz", "cores": 2, "memory": "8 GiB", "system": "Linux 6.1", "threads": 2}
RUN: dict[str, object] = {
    "recipe": "lewm_two_rooms",
    "method": "lewm",
    "date": "2026-03-01T10:24:07",
    "seed": 0,
    "command": "armillary demo",
    "version": "0.1.0",
    "commit": "478abf2c90d1e0f5",
    "torch": "2.9.1",
    "python": "3.11.2",
    "device": "cpu",
    "threads": 2,
    "values": {
        "method": {
            "encoder": {"width": 128, "channels": [32, 64, 128], "patch": None},
            "predictor": {"width": 192, "depth": 3, "heads": 6},
            "sigreg_weight": 0.1,
            "history": 3,
        },
        "data": {"path": "runs/demo/data", "window": 9, "frame_skip": 3},
        "optim": {"lr": 5e-4, "weight_decay": 1e-3, "warmup": 0.1, "betas": [0.9, 0.999], "decay_mask_token": False},
        "steps": 4200,
        "batch": 64,
        "seed": 0,
    },
}
DIAGNOSTICS = {
    "participation": 40.2, "rankme": 79.1, "min_std": 0.31, "dimensions": 128, "r2": 0.984, "copy_ratio": 0.06,
    "spectrum": SPECTRUM,
}  # fmt: skip
TRAINING = {
    "steps": 4200,
    "samples": 268800,
    "seconds": 208.4,
    "cpu_seconds": 401.0,
    "skipped": 0,
    "parameters": 441728,
}


def _plan(success: float, low: float, high: float, random: float, ceiling: float) -> dict[str, object]:
    return {
        "success": success, "interval": [low, high],
        "at_end": success - 0.03, "at_end_interval": [low - 0.04, high - 0.02],
        "random": random, "random_interval": [max(0.0, random - 0.06), random + 0.08],
        "true_dynamics": ceiling, "true_dynamics_interval": [ceiling - 0.07, min(1.0, ceiling + 0.03)],
        "difference": success - ceiling, "difference_interval": [success - ceiling - 0.05, success - ceiling + 0.06],
        "goals": 100, "seconds_per_plan": 0.253,
    }  # fmt: skip


WORLD: dict[str, object] = {
    "recipe": "lewm_two_rooms", "method": "lewm", "seed": 0, "commit": "478abf2c90d1e0f5", "machine": MACHINE,
    "summary": "From 64×64 pixels alone it learned where the dot is (R² 0.998) and how it moves, and planning with it "
    "reaches 99 % of goals in the same room and 94 % through the door",
    "verdict": "healthy",
    "training": TRAINING,
    "diagnostics": DIAGNOSTICS,
    "probe": {
        "position": {
            "r2": 0.9978, "interval": [0.9974, 0.9981], "untrained_r2": 0.713, "untrained_interval": [0.701, 0.726],
            "raw_r2": 0.462, "raw_interval": [0.437, 0.489],
            "difference": 0.2848, "difference_interval": [0.272, 0.297],
            "chance": 0.0, "train": 8000, "test": 2000,
            "settings": "ridge regression, penalty chosen on a tenth of the training episodes",
        }
    },
    "rollout": {
        "horizon": 4, "nmse": 0.021, "nmse_interval": [0.018, 0.025], "ratio": 0.058, "ratio_interval": [0.05, 0.067],
        "by_horizon": [
            {
                "horizon": h, "nmse": 0.0042 + 0.0042 * h, "copy_nmse": 1.35 * (1 - np.exp(-h / 6)),
                "shuffled_nmse": 1.05 * (1 - np.exp(-h / 5)),
            }
            for h in range(1, 15)
        ],
    },
    "plan": {
        "same_room": _plan(0.99, 0.946, 0.998, 0.19, 1.0),
        "other_room": _plan(0.94, 0.875, 0.972, 0.02, 0.9),
        "harness": {
            "image": "64 x 64 px", "speed": "at most 2.45 px a step", "door": "10 px wide", "margin": "6 px",
            "success": "within 4.5 px of the goal at any step", "steps": 90, "goal": "given as an image",
            "planner": "CEM: 300 candidates, 6 iterations, 14 macro-steps of 3",
        },
    },
    "seconds": {"total": 452.0, "collect": 24.0, "train": 208.4, "probe": 11.0, "rollout": 3.2, "plan": 196.0},
}  # fmt: skip


def _score(score: float, floor: float, raw: float) -> dict[str, object]:
    return {
        "score": score, "interval": [score - 0.01, score + 0.01], "untrained": floor,
        "untrained_interval": [floor - 0.01, floor + 0.01], "raw": raw, "raw_interval": [raw - 0.01, raw + 0.01],
        "difference": score - floor, "difference_interval": [score - floor - 0.006, score - floor + 0.006],
    }  # fmt: skip


IMAGES: dict[str, object] = {
    "recipe": "ijepa_cifar10", "method": "ijepa", "seed": 0, "commit": "478abf2c90d1e0f5", "machine": MACHINE,
    "verdict": "dimensional collapse: 3 of 128 directions used",
    "training": {**TRAINING, "steps": 20000, "parameters": 3200000, "seconds": 2391.0},
    "diagnostics": {**DIAGNOSTICS, "participation": 3.1, "rankme": 8.2,
                    "spectrum": [2.0 ** -(i / 2) for i in range(128)]},
    "probe": {
        "label": {
            "linear": _score(0.486, 0.412, 0.391), "knn": _score(0.402, 0.331, 0.354), "chance": 0.1, "train": 50000,
            "test": 10000, "settings": {"solver": "L-BFGS", "neighbors": 20},
        }
    },
    "seconds": {"total": 2480.0},
}  # fmt: skip
