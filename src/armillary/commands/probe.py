"""`armillary probe`: what a run's frozen representation holds, beside the untrained encoder and the raw input."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..contracts import build
from ..data.dataset import Dataset
from ..data.episodes import Episodes
from ..envs.two_rooms import TwoRooms
from ..errors import DataError
from ..probes.extract import Encode, Features, extract, raw_input
from ..probes.knn import knn
from ..probes.linear import linear
from ..probes.report import Report, paired
from ..probes.ridge import ridge
from ..recipes.run import Json, Run
from ..report import page
from ..training.checkpoint import weights
from . import flags, screen, workspace

ABOUT = "Measure a run: nearest neighbors and a linear classifier of labels, or a regression to a world's state."
INPUTS = ("image", "video", "points", "wave", "spectrogram", "signal", "text")
Pair = tuple[Features, Features]  # of the train rows and of the test rows


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
    probe = run.probe
    if isinstance(run.data, Episodes):
        splits, counts = _splits(run, folder, window=1), (probe.states, probe.states)
        name = "position" if isinstance(run.world, TwoRooms) else "state"
        return {name: _compared(ridge, _features(encoders, splits, "state", counts, device), "r2")}
    features = _features(encoders, _splits(run, folder), "label", (probe.train, probe.test), device)
    neighbors = min(probe.neighbors, len(features[""][0].x))
    found = {
        "linear": _compared(lambda *pair: linear(*pair, iterations=probe.iterations), features),
        "knn": _compared(lambda *pair: knn(*pair, k=neighbors, temperature=probe.temperature), features),
    }
    shared = {name: found["linear"][name] for name in ("chance", "train", "test")}
    own = {kind: {name: value for name, value in part.items() if name not in shared} for kind, part in found.items()}
    return {"label": own | shared}


def _splits(run: Run, folder: Path, **changes: int) -> list[Dataset]:
    return [workspace.open_split(run, folder, split, **changes) for split in ("train", "test")]


def _features(
    encoders: dict[str, Encode], splits: list[Dataset], target: str, counts: tuple[int, int], device: torch.device
) -> dict[str, Pair]:
    """Train and test features under each encoder and of the raw input, all of the same rows."""
    held = splits[0].batch(torch.zeros(1, dtype=torch.int64))
    inputs = [key for key in INPUTS if key in held]
    if not inputs:
        raise DataError(f"rows hold {sorted(held)}, none of the inputs {INPUTS}; probes need one of them")
    features = {}
    for name, encode in {**encoders, "raw": raw_input(inputs[0])}.items():
        train, test = (
            extract(encode, split, target, n, device=device) for split, n in zip(splits, counts, strict=True)
        )
        features[name] = (train, test)
    return features


def _compared(probe: Callable[[Features, Features], Report], features: dict[str, Pair], key: str = "score") -> Json:
    """A probe of the trained encoder, with the floors beside it and the paired difference from the untrained one."""
    found = {name: probe(*pair) for name, pair in features.items()}
    trained, untrained = found[""], found["untrained"]
    row = trained.row()
    suffix = "" if key == "score" else f"_{key}"
    result: Json = {key: trained.score, "interval": row["interval"]}
    for name in ("untrained", "raw"):
        result |= {f"{name}{suffix}": found[name].score, f"{name}_interval": list(found[name].interval)}
    result |= {"difference": trained.score - untrained.score, "difference_interval": list(paired(trained, untrained))}
    return result | {name: row[name] for name in ("chance", "train", "test", "settings", "rmse") if name in row}


def _rows(parts: dict[str, Any], name: str = "") -> list[tuple[str, ...]]:
    """The results as lines of a table: trained with its interval, untrained, raw, and the paired difference."""
    if "interval" not in parts:
        inner = [(f"{name} {key}".strip(), part) for key, part in parts.items() if isinstance(part, dict)]
        return [line for title, part in inner for line in _rows(part, title)]
    key, suffix, title = ("r2", "_r2", f"{name}, R²") if "r2" in parts else ("score", "", f"{name}, accuracy")
    values = [(parts[key], parts["interval"])]
    values += [(parts[f"{other}{suffix}"], parts[f"{other}_interval"]) for other in ("untrained", "raw")]
    low, high = parts["difference_interval"]
    shown = [f"{value:.3f} ({start:.3f} to {end:.3f})" for value, (start, end) in values]
    return [(title, *shown, f"{low:+.3f} to {high:+.3f}")]
