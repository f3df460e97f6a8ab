"""`armillary train`: a recipe, its data, the loop, and the first page of its report."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..contracts import build
from ..data.dataset import open_data
from ..errors import CollapseError, ConfigError
from ..parallel import barrier, rank
from ..recipes import run as runs
from ..recipes.run import Run
from ..report import page
from ..training.allocator import keep_memory
from ..training.distribute import processes
from ..training.log import Row
from ..training.loop import Outcome
from ..training.loop import train as fit
from . import flags, screen, workspace
from .progress import Watch
from .workspace import Reference

ABOUT = "Train a recipe (`armillary list`, or path/to/file.py:function). Flags set its fields; it goes to runs/RECIPE."
FIXED = ("method", "seed", "batch")  # what a checkpoint belongs to


@dataclass(frozen=True)
class Train:
    """Flags of `train` itself."""

    resume: bool = False
    """continue the run in the folder, from its newest checkpoint and with its settings"""
    fresh: bool = False
    """move the run in the folder aside, to RECIPE.1 or the next free number, and start anew"""
    out: Path | None = None
    """run folder; by default runs/RECIPE"""


def main(arguments: list[str]) -> int:
    """Train a recipe: armillary train RECIPE [--resume | --fresh] [fields]."""
    name, rest = flags.first(arguments, "train", "RECIPE", ABOUT)
    reference = workspace.find(name)
    asked, run = flags.parse_with_run(Train(), reference.run, rest, f"train {name}", ABOUT)
    folder = asked.out or reference.folder
    if asked.resume and asked.fresh:
        raise ConfigError("--resume continues the run, --fresh starts it anew; give one of them")
    with processes() as device:
        if asked.resume:
            run = continued(reference, folder, rest)
        elif rank() == 0:
            begin(reference, run, folder, asked.fresh)
        barrier()
        # What is resumed keeps its settings in run.json until training goes on with the new ones.
        keep = asked.resume and rank() == 0
        save = (lambda: runs.save(folder, run, reference.name, reference.sha256)) if keep else None
        try:
            outcome = trained(run, folder, asked.resume, device, save)
        except CollapseError:
            if rank() == 0:
                page.write(folder)  # of a run that collapsed a report is what is needed most
            raise
        if rank() == 0:
            finish(reference, run, folder, outcome)
    return 128 + signal.Signals[outcome.stopped] if outcome.stopped else 0


def begin(reference: Reference, run: Run, folder: Path, fresh: bool) -> None:
    """Make the run folder and write run.json into it.

    Raises:
        ConfigError: there is a run already and `fresh` does not say to move it, or the folder holds something else.
    """
    if workspace.occupied(folder) and not (workspace.never_began(folder) and not fresh):
        if not fresh:
            step = workspace.last_step(folder)
            raise ConfigError(
                f"{folder} holds a run (step {step:,}): continue it with --resume, move it aside with --fresh, or "
                "choose another folder with --out"
            )
        screen.say(f"the old run is now {workspace.set_aside(folder)}")
    runs.save(folder, run, reference.name, reference.sha256)


def continued(reference: Reference, folder: Path, rest: list[str]) -> Run:
    """The run in `folder` with the flags that were given now, to be continued.

    Raises:
        CheckpointError: there is no run.
        ConfigError: it is of another recipe or file, or a flag changes what its checkpoints belong to.
    """
    workspace.check_made_by(reference, folder)
    stored = runs.load(folder, reference.run)
    _, run = flags.parse_with_run(Train(), stored, rest, "train", ABOUT)
    changed = [part for part in FIXED if getattr(run, part) != getattr(stored, part)]
    if changed:
        raise ConfigError(
            f"{folder} was trained with another {' and '.join(changed)}; leave these flags away to continue it, or "
            "start anew with --fresh or --out"
        )
    done = workspace.last_step(folder)
    if run.steps < min(done, stored.steps):
        raise ConfigError(f"{folder} is at step {done:,}, beyond --steps {run.steps:,}; give more steps, or none")
    return run


def trained(
    run: Run, folder: Path, resume: bool, device: torch.device, began: Callable[[], None] | None = None
) -> Outcome:
    """Open the data, build the method and train it, with progress on rank 0; `began` is called once it goes well."""
    keep_memory()
    if resume and (folder / "statistics.json").is_file():
        dataset = workspace.open_split(run, folder, "train")
    else:
        dataset = open_data(run.data, "train")
        if rank() == 0:
            workspace.save_statistics(dataset, folder)
    method = build(run.method, run.seed).to(device)
    done = workspace.last_step(folder) if resume else 0
    left = [began] if began else []
    with Watch("training", run.steps, done, shown=rank() == 0) as watch:

        def told(row: Row) -> None:
            while left:
                left.pop()()
            watch.at(int(str(row["step"])), note(row))

        outcome = fit(
            method, dataset, run.steps, run.batch, run.optim, run.loop, run.seed, folder, resume, on_log=told
        )  # fmt: skip
    while left:  # stopped before the first row
        left.pop()()
    if rank() == 0:
        bad = getattr(dataset, "bad", {})
        workspace.add_to_report(folder, {"data": {"rows": len(dataset), "unreadable": len(bad), "bad": bad}})
    return outcome


def note(row: Row) -> str:
    """Energy and, where the representations were just examined, the verdict."""
    energy, verdict = row.get("energy"), row.get("verdict")
    parts = [f"energy {energy:.4g}" if isinstance(energy, float) else "", str(verdict or "")]
    return ", ".join(filter(None, parts))


def finish(reference: Reference, run: Run, folder: Path, outcome: Outcome) -> None:
    """Add the training to report.json, write the page, and say what came of it."""
    if outcome.stopped:
        screen.say(
            f"stopped by {outcome.stopped} after step {outcome.steps:,} of {run.steps:,}; continue with --resume"
        )
        return
    workspace.add_to_report(folder, training_part(outcome))
    path = page.write(folder)
    rows = [
        ("steps", f"{outcome.steps:,} ({outcome.samples:,} samples, {outcome.precision})"),
        ("time", f"{screen.duration(outcome.seconds)} ({screen.duration(outcome.cpu_seconds)} of CPU)"),
        ("parameters", f"{outcome.parameters:,}"),
        ("health", outcome.health.verdict if outcome.health else "not examined"),
        ("report", path),
        ("next", f"armillary probe {folder}" + (f" --recipe {reference.name}" if reference.sha256 else "")),
    ]
    screen.table(str(folder), ["", ""], rows)


def training_part(outcome: Outcome) -> runs.Json:
    """What report.json says of a training."""
    names = ("steps", "samples", "seconds", "cpu_seconds", "skipped", "parameters", "precision", "resumed")
    parts: runs.Json = {
        "training": {name: getattr(outcome, name) for name in names},
        "seconds": {"train": outcome.seconds},
    }
    if outcome.health:
        parts["verdict"] = outcome.health.verdict
        parts["diagnostics"] = {**outcome.health.row(), "spectrum": [float(v) for v in outcome.health.spectrum]}
    return parts
