"""`armillary probe`: what a run's frozen representation holds, beside the untrained encoder and the raw input."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..contracts import build
from ..data.dataset import Dataset
from ..data.episodes import Episodes
from ..envs.two_rooms import TwoRooms
from ..nn.frozen import Frozen
from ..probes.extract import Encode, raw_input
from ..probes.ridge import ridge
from ..probes.suite import VIEWS, compared, input_of, pair, reports, tasks
from ..recipes.run import Json, Run
from ..report import page
from ..training.checkpoint import weights
from . import flags, screen, workspace

ABOUT = "Measure a run: probes of labels and masks (--probe.kinds), or a regression to a world's state."


@dataclass(frozen=True)
class Probing:
    """Flags of `probe` itself."""

    recipe: str = ""
    """path/to/file.py:function, if the run was made by a recipe of your own"""
    at: str = "newest"
    """checkpoint: newest, best-by-radar, or a step"""
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
        step, parts = probed(run, folder, asked.at)
    of = {"step": step, "data": getattr(run.data, "path", type(run.data).__name__.lower())}
    workspace.add_to_report(folder, {"probe": parts, "measured": of, "seconds": {"probe": time.perf_counter() - begun}})
    path = page.write(folder)
    if asked.json:
        screen.as_json({"probe": parts})
    else:
        screen.table(str(folder), ["", "this run", "untrained", "raw input", "over untrained"], _rows(parts))
        screen.say(str(path))
    return 0


def probed(run: Run, folder: Path, at: str = "newest") -> tuple[int, Json]:
    """The step of a checkpoint in the folder, and the part `probe` of report.json, from it and the run's own data."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method, untrained = build(run.method, run.seed).to(device), build(blank(run.method), run.seed).to(device)
    step = weights(folder, method, at)
    encoders: dict[str, Encode] = {"": method.encode, "untrained": untrained.encode}
    if isinstance(run.data, Episodes):
        splits, counts = _splits(run, folder, window=1), (run.probe.states, run.probe.states)
        pairs = {
            name: pair(encode, splits, "state", counts, device)
            for name, encode in {**encoders, "raw": raw_input(input_of(splits[0]))}.items()
        }
        name = "position" if isinstance(run.world, TwoRooms) else "state"
        return step, {name: compared({name: ridge(*both) for name, both in pairs.items()}, "r2")}
    asked = tasks(run.probe)
    measured = reports(run.probe, asked, encoders, _splits(run, folder), device)
    found: Json = {}
    for target in ("label", "mask"):
        parts = {name: compared(measured[name]) for name, (view, _) in asked.items() if VIEWS[view] == target}
        if parts:
            first = next(iter(parts.values()))
            shared = {name: first[name] for name in ("chance", "train", "test")}
            own = {name: {k: v for k, v in part.items() if shared.get(k) != v} for name, part in parts.items()}
            found[target] = own | shared
    return step, found


def blank(config: Any) -> Any:
    """A method's configuration without the weights of an encoder that was trained before: the untrained control."""
    network = getattr(config, "encoder", None)
    return replace(config, encoder=replace(network, file="")) if isinstance(network, Frozen) else config


def _splits(run: Run, folder: Path, **changes: int) -> tuple[Dataset, Dataset]:
    train, test = (workspace.open_split(run, folder, split, **changes) for split in ("train", "test"))
    return train, test


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
