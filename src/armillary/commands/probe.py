"""`armillary probe`: what a run's frozen representation holds, beside the untrained encoder and the raw input."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..contracts import build
from ..data.dataset import Dataset
from ..data.episodes import Episodes
from ..envs.two_rooms import TwoRooms
from ..errors import DataError
from ..probes.attentive import attentive
from ..probes.clinical import clinical
from ..probes.extract import Encode, Features, extract, raw_input, raw_patches
from ..probes.knn import knn
from ..probes.linear import linear
from ..probes.lowshot import low_shot
from ..probes.report import Report, paired
from ..probes.retrieval import retrieval
from ..probes.ridge import ridge
from ..probes.segmentation import segmentation
from ..recipes.run import Json, Probe, Run
from ..report import page
from ..training.checkpoint import weights
from ..types import Batch
from . import flags, screen, workspace

ABOUT = "Measure a run: probes of labels and masks (--probe.kinds), or a regression to a world's state."
INPUTS = ("image", "video", "points", "wave", "spectrogram", "signal", "text")
Pair = tuple[Features, Features]  # of the train rows and of the test rows
Task = Callable[[Features, Features], Report]
RECALL = (1, 5, 10)  # neighbors; those that there are
VIEWS = {"label": "label", "tokens": "label", "mask": "mask"}  # what probes read, and their target; tokens are kept


@dataclass(frozen=True)
class Probing:
    """Flags of `probe` itself."""

    recipe: str = ""
    """path/to/file.py:function, if the run was made by a recipe of your own"""
    json: bool = False
    """print the results as JSON"""


def main(arguments: list[str]) -> int:
    """Probe a run's representation beside untrained and raw: armillary probe RUN."""
    name, rest = flags.first(arguments, "probe", "RUN", ABOUT)
    folder = Path(name)
    run = workspace.open_run(folder, flags.value(rest, "--recipe"))
    asked, run = flags.parse_with_run(Probing(), run, rest, "probe RUN", ABOUT, parts=("data", "probe"))
    workspace.add_to_report(folder, {})  # a folder that cannot be written shows before minutes of work, not after
    begun = time.perf_counter()
    with screen.err.status("probing the representation, the untrained encoder and the raw input"):
        parts = probed(run, folder)
    of = {"step": workspace.last_step(folder), "data": run.data.path}
    workspace.add_to_report(folder, {"probe": parts, "measured": of, "seconds": {"probe": time.perf_counter() - begun}})
    path = page.write(folder)
    if asked.json:
        screen.as_json({"probe": parts})
    else:
        screen.table(str(folder), ["", "this run", "untrained", "raw input", "over untrained"], _rows(parts))
        screen.say(str(path))
    return 0


def probed(run: Run, folder: Path) -> Json:
    """The part `probe` of report.json, from the newest checkpoint in the folder and the run's own data."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method, untrained = build(run.method, run.seed).to(device), build(run.method, run.seed).to(device)
    weights(folder, method)
    encoders: dict[str, Encode] = {"": method.encode, "untrained": untrained.encode}
    if isinstance(run.data, Episodes):
        splits, counts = _splits(run, folder, window=1), (run.probe.states, run.probe.states)
        pairs = {
            name: _pair(encode, splits, "state", counts, device)
            for name, encode in {**encoders, "raw": raw_input(_input(splits[0]))}.items()
        }
        name = "position" if isinstance(run.world, TwoRooms) else "state"
        return {name: _compared({name: ridge(*pair) for name, pair in pairs.items()}, "r2")}
    tasks = _tasks(run.probe)
    reports = _reports(run.probe, tasks, encoders, _splits(run, folder), device)
    found: Json = {}
    for target in ("label", "mask"):
        parts = {name: _compared(reports[name]) for name, (view, _) in tasks.items() if VIEWS[view] == target}
        if parts:
            first = next(iter(parts.values()))
            shared = {name: first[name] for name in ("chance", "train", "test")}
            own = {name: {k: v for k, v in part.items() if shared.get(k) != v} for name, part in parts.items()}
            found[target] = own | shared
    return found


def _tasks(probe: Probe) -> dict[str, tuple[str, Task]]:
    """The probes that are asked for, by name: which of `VIEWS` each reads, and itself."""
    few = {
        f"low_shot_{100 * shots:g}_percent" if shots < 1 else f"low_shot_{shots:g}_per_class": shots
        for shots in probe.shots
    }
    every: dict[str, dict[str, tuple[str, Task]]] = {
        "linear": {"linear": ("label", lambda *pair: linear(*pair, iterations=probe.iterations))},
        "knn": {
            "knn": (
                "label",
                lambda *pair: knn(*pair, k=min(probe.neighbors, len(pair[0].x)), temperature=probe.temperature),
            )
        },
        "attentive": {"attentive": ("tokens", attentive)},
        "low_shot": {name: ("label", partial(low_shot, shots=n, draws=probe.draws)) for name, n in few.items()},
        "retrieval": {
            "retrieval": ("label", lambda *pair: retrieval(*pair, at=tuple(k for k in RECALL if k <= len(pair[0].x))))
        },
        "clinical": {
            "clinical": ("label", partial(clinical, specificity=probe.specificity, iterations=probe.iterations))
        },
        "segmentation": {"segmentation": ("mask", partial(segmentation, ignore=probe.ignore))},
    }
    return {name: task for kind in probe.kinds for name, task in every[kind].items()}


def _reports(
    probe: Probe,
    tasks: dict[str, tuple[str, Task]],
    encoders: dict[str, Encode],
    splits: list[Dataset],
    device: torch.device,
) -> dict[str, dict[str, Report]]:
    """Each probe of each encoder and, where that has a meaning, of the raw input; one encoder's features at a time."""
    views, counts = {view for view, _ in tasks.values()}, (probe.train, probe.test)
    raw: dict[str, Encode] = {"label": raw_input(_input(splits[0]))}
    if views - {"label"} and _input(splits[0]) == "image":
        tokens = encoders[""](splits[0].prepare(_first(splits[0], device)))
        if tokens.pos.shape[-1] == 2:
            shape = [len(tokens.pos[0, :, axis].unique()) for axis in (0, 1)]
            raw |= dict.fromkeys(("tokens", "mask"), raw_patches("image", *shape))
    found: dict[str, dict[str, Report]] = {name: {} for name in tasks}
    for name, encode in {**encoders, "raw": None}.items():
        pairs: dict[str, Pair] = {}
        for view in sorted(views, reverse=True):  # tokens before labels
            if encode is not None and view == "label" and "tokens" in pairs:
                train, test = pairs["tokens"]
                pairs[view] = (train.pooled(), test.pooled())
            elif encode is not None or view in raw:
                pairs[view] = _pair(encode or raw[view], splits, VIEWS[view], counts, device, pool=view == "label")
        for task, (view, run) in tasks.items():
            if view in pairs:
                found[task][name] = run(*pairs[view])
    return found


def _splits(run: Run, folder: Path, **changes: int) -> list[Dataset]:
    return [workspace.open_split(run, folder, split, **changes) for split in ("train", "test")]


def _first(split: Dataset, device: torch.device | str = "cpu") -> Batch:
    return {key: value.to(device) for key, value in split.batch(torch.zeros(1, dtype=torch.int64)).items()}


def _input(split: Dataset) -> str:
    """The key of what the rows of a data set show."""
    held = _first(split)
    inputs = [key for key in INPUTS if key in held]
    if not inputs:
        raise DataError(f"rows hold {sorted(held)}, none of the inputs {INPUTS}; probes need one of them")
    return inputs[0]


def _pair(
    encode: Encode,
    splits: list[Dataset],
    target: str,
    counts: tuple[int, int],
    device: torch.device,
    pool: bool = True,
) -> Pair:
    train, test = (
        extract(encode, split, target, n, device=device, pool=pool) for split, n in zip(splits, counts, strict=True)
    )
    return train, test


def _compared(found: dict[str, Report], key: str = "score") -> Json:
    """A probe of the trained encoder, with the floors beside it and the paired difference from the untrained one."""
    trained, untrained = found[""], found["untrained"]
    row = trained.row()
    suffix = "" if key == "score" else f"_{key}"
    result: Json = {key: trained.score, "interval": row["interval"]}
    for name in [name for name in ("untrained", "raw") if name in found]:
        result |= {f"{name}{suffix}": found[name].score, f"{name}_interval": list(found[name].interval)}
    result |= {"difference": trained.score - untrained.score, "difference_interval": list(paired(trained, untrained))}
    if trained.measure not in ("accuracy", "R²"):
        result["measure"] = trained.measure
    result |= {name: row[name] for name in ("chance", "train", "test", "settings")}
    return result | {name: value for name, value in trained.details.items() if name not in result}


def _rows(parts: dict[str, Any], name: str = "") -> list[tuple[str, ...]]:
    """The results as lines of a table: trained with its interval, untrained, raw, and the paired difference."""
    if "interval" not in parts:
        inner = [(f"{name} {key}".strip(), part) for key, part in parts.items() if isinstance(part, dict)]
        return [line for title, part in inner for line in _rows(part, title)]
    key, suffix, measure = ("r2", "_r2", "R²") if "r2" in parts else ("score", "", parts.get("measure", "accuracy"))
    shown = [_shown(parts[key], parts["interval"])]
    for other in ("untrained", "raw"):
        shown.append(_shown(parts.get(f"{other}{suffix}"), parts.get(f"{other}_interval")))
    low, high = parts["difference_interval"]
    return [(f"{name}, {measure}", *shown, f"{low:+.3f} to {high:+.3f}")]


def _shown(value: float | None, interval: list[float] | None) -> str:
    return "" if value is None or interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
