"""Armillary: joint-embedding predictive architectures and world models. Names are imported when first used."""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOME = {
    "Tokens": "types",
    "Masks": "types",
    "Forecast": "types",
    "Random": "randomness",
    "Method": "contracts",
    "Dynamics": "contracts",
    "Environment": "contracts",
    "Planner": "contracts",
    "Plan": "contracts",
    "build": "contracts",
    "check_method": "contracts",
    "check_dynamics": "contracts",
    "check_planner": "contracts",
    "check_env": "contracts",
    "rollout": "planning.rollout",
    "CEM": "planning.cem",
    "RandomShooting": "planning.shooting",
    "Loop": "training.loop",
    "Optim": "training.optim",
    "train": "training.loop",
    "Run": "recipes.run",
    "open_data": "data.dataset",
    "Images": "data.formats.images",
    "Points": "data.formats.points",
    "Episodes": "data.episodes",
    "EpisodeWriter": "data.episodes",
    "examine": "diagnostics.health",
    "Monitor": "diagnostics.monitor",
    "paired": "probes.report",
    "extract": "probes.extract",
    "knn": "probes.knn",
    "linear": "probes.linear",
    "attentive": "probes.attentive",
    "low_shot": "probes.lowshot",
    "segmentation": "probes.segmentation",
    "retrieval": "probes.retrieval",
    "clinical": "probes.clinical",
    "ridge": "probes.ridge",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'armillary' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
