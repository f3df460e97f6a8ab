"""Which probes are asked for, and all of them on several encoders of the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from ..errors import ConfigError, DataError
from ..types import Batch
from .attentive import attentive
from .clinical import clinical
from .extract import Encode, Features, Rows, extract, raw_input, raw_patches
from .knn import knn
from .linear import linear
from .lowshot import low_shot
from .report import Report, paired
from .retrieval import retrieval
from .segmentation import segmentation

INPUTS = ("image", "video", "points", "wave", "spectrogram", "signal", "text", "proprio")
RECALL = (1, 5, 10)  # neighbors; those that there are
VIEWS = {"label": "label", "tokens": "label", "mask": "mask"}  # what probes read, and their target; tokens are kept
Pair = tuple[Features, Features]  # of the train rows and of the test rows
Splits = tuple[Rows, Rows]
Task = Callable[[Features, Features], Report]
Kind = Literal["linear", "knn", "attentive", "low_shot", "segmentation", "retrieval", "clinical"]


COUNTS = ("train", "test", "states", "neighbors", "iterations", "draws", "cells")


@dataclass(frozen=True)
class Probe:
    """How representations are measured, always beside the untrained encoder and the raw input."""

    kinds: tuple[Kind, ...] = ("linear", "knn")
    """probes of labels, and segmentation of masks; worlds have their regression instead"""
    train: int = 5000
    """labeled rows on which probes are fitted, at most"""
    test: int = 5000
    """labeled rows on which they are scored, at most"""
    states: int = 2000
    """frames of a world on which the regression to its state is fitted, and scored, at most"""
    neighbors: int = 20
    """of the nearest-neighbor probe"""
    temperature: float = 0.07
    """of the neighbors' votes"""
    iterations: int = 200
    """of L-BFGS in the linear and the clinical probe"""
    shots: tuple[float, ...] = (0.01, 0.1, 1.0, 5.0, 10.0)
    """of low-shot probes: below 1 a share of the labeled rows, else rows of each class"""
    draws: int = 5
    """of the labeled rows in low-shot probes, over which scores are averaged"""
    ignore: int = 255
    """number in masks that stands for no class"""
    specificity: float = 0.9
    """at which the clinical probe gives the sensitivity"""
    cells: int = 1
    """parts of a token each way in segmentation, each with a linear map of its own; small things need them"""

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in COUNTS}
        if min(counts.values()) < 1:
            raise ConfigError(f"{counts} of the probe; each must be 1 or more")
        broken = any(n <= 0 or (n >= 1 and n % 1) for n in self.shots)
        if not self.kinds or not self.shots or broken or not 0 < self.specificity < 1:
            raise ConfigError(
                f"kinds {self.kinds}, shots {self.shots}, specificity {self.specificity} of the probe; give at least "
                "one kind and one number of shots, shots above 0 and whole from 1 on, and a specificity between 0 and 1"
            )


def tasks(probe: Probe) -> dict[str, tuple[str, Task]]:
    """The probes that are asked for, by name: which of `VIEWS` each reads, and itself."""
    iterations = probe.iterations
    made: dict[str, tuple[str, Task]] = {
        "linear": ("label", lambda *pair: linear(*pair, iterations=iterations)),
        "knn": (
            "label",
            lambda *pair: knn(*pair, k=min(probe.neighbors, len(pair[0].x)), temperature=probe.temperature),
        ),
        "attentive": ("tokens", attentive),
        "retrieval": ("label", lambda *pair: retrieval(*pair, at=tuple(k for k in RECALL if k <= len(pair[0].x)))),
        "clinical": ("label", partial(clinical, specificity=probe.specificity, iterations=iterations)),
        "segmentation": ("mask", partial(segmentation, ignore=probe.ignore, cells=probe.cells)),
    }
    found: dict[str, tuple[str, Task]] = {}
    for kind in probe.kinds:
        if kind == "low_shot":
            found |= {shots_name(n): ("label", partial(low_shot, shots=n, draws=probe.draws)) for n in probe.shots}
        else:
            found[kind] = made[kind]
    return found


def shots_name(shots: float) -> str:
    """The name of a low-shot probe."""
    return f"low_shot_{100 * shots:g}_percent" if shots < 1 else f"low_shot_{shots:g}_per_class"


def reports(
    probe: Probe,
    asked: Mapping[str, tuple[str, Task]],
    encoders: Mapping[str, Encode],
    splits: tuple[Rows, Rows],
    device: torch.device,
) -> dict[str, dict[str, Report]]:
    """Each probe (outer name) of each encoder and, where that has a meaning, of the raw input, called "raw".

    One encoder's features are in memory at a time. splits: train and test rows.
    """
    views, counts = {view for view, _ in asked.values()}, (probe.train, probe.test)
    raw = _raw(views, next(iter(encoders.values())), splits[0], device)
    found: dict[str, dict[str, Report]] = {name: {} for name in asked}
    for name, encode in {**encoders, "raw": None}.items():
        pairs: dict[str, Pair] = {}
        for view in sorted(views, reverse=True):  # tokens before labels
            if encode is not None and view == "label" and "tokens" in pairs:
                train, test = pairs["tokens"]
                pairs[view] = (train.pooled(), test.pooled())
            elif encode is not None or view in raw:
                pairs[view] = pair(encode or raw[view], splits, VIEWS[view], counts, device, pool=view == "label")
        for task, (view, run) in asked.items():
            if view in pairs:
                found[task][name] = run(*pairs[view])
    return found


def compared(found: Mapping[str, Report], key: str = "score") -> dict[str, object]:
    """A probe of the trained encoder "", with "untrained" and "raw" beside it, and its gain over the former, paired.

    key: what the score is called.
    """
    trained, untrained = found[""], found["untrained"]
    row = trained.row()
    suffix = "" if key == "score" else f"_{key}"
    result: dict[str, object] = {key: trained.score, "interval": row["interval"]}
    for name in [name for name in ("untrained", "raw") if name in found]:
        result |= {f"{name}{suffix}": found[name].score, f"{name}_interval": list(found[name].interval)}
    result |= {"difference": trained.score - untrained.score, "difference_interval": list(paired(trained, untrained))}
    if trained.measure not in ("accuracy", "R²"):
        result["measure"] = trained.measure
    result |= {name: row[name] for name in ("chance", "train", "test", "settings")}
    return result | {name: value for name, value in trained.details.items() if name not in result}


def _raw(views: set[str], encode: Encode, rows: Rows, device: torch.device) -> dict[str, Encode]:
    """The raw input for each view: itself, or patches on the grid of the encoder's tokens."""
    raw: dict[str, Encode] = {"label": raw_input(input_of(rows))}
    if views - {"label"} and input_of(rows) == "image":
        tokens = encode(rows.prepare(_first(rows, device)))
        if tokens.pos.shape[-1] == 2:
            shape = [len(tokens.pos[0, :, axis].unique()) for axis in (0, 1)]
            raw |= dict.fromkeys(("tokens", "mask"), raw_patches("image", *shape))
    return raw


def input_of(rows: Rows) -> str:
    """The key of what the rows of a data set show.

    Raises:
        DataError: they show nothing.
    """
    held = _first(rows)
    inputs = [key for key in INPUTS if key in held]
    if not inputs:
        raise DataError(f"rows hold {sorted(held)}, none of the inputs {INPUTS}; probes need one of them")
    return inputs[0]


def pair(
    encode: Encode,
    splits: tuple[Rows, Rows],
    target: str,
    counts: tuple[int, int],
    device: torch.device,
    pool: bool = True,
) -> Pair:
    """Features of train and test rows."""
    train, test = (
        extract(encode, split, target, n, device=device, pool=pool) for split, n in zip(splits, counts, strict=True)
    )
    return train, test


def _first(rows: Rows, device: torch.device | str = "cpu") -> Batch:
    return {key: value.to(device) for key, value in rows.batch(torch.zeros(1, dtype=torch.int64)).items()}
