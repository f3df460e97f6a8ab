"""`armillary demo`: a world model learned from pixels in minutes, probed, rolled out and planned with."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, ConfigError, DataError
from ..recipes import run as runs
from ..recipes.run import Json, Run
from ..report import page, pictures
from ..training.checkpoint import checkpoints, lock
from . import flags, plan, probe, screen, train, workspace, worlds
from .progress import Watch

ABOUT = (
    "Learn a world model of Two Rooms from pixels, see that it did not collapse, and plan with it. Minutes on a CPU."
)
RECIPE = "lewm_two_rooms"
LEARNED = 0.8  # share that is explained from which on the summary calls a thing learned
Tree = dict[str, Any]  # of numbers, texts, lists and trees: what JSON holds


@dataclass(frozen=True)
class Demo:
    """Flags of `demo`. An unfinished demo in the folder is continued, a finished one moved aside."""

    out: Path = Path("runs/demo")
    """run folder"""
    seed: int = 0
    """of everything; the same seed gives the same numbers again"""
    fresh: bool = False
    """move an unfinished demo aside, too, instead of continuing it"""
    episodes: int = 500
    """episodes that are collected"""
    length: int = 90
    """actions in an episode"""
    steps: int = 0
    """optimizer steps; 0 takes the recipe's number"""
    goals: int = 0
    """tasks of each kind; 0 takes the recipe's number"""


def main(arguments: list[str]) -> int:
    """Learn a world from pixels, check it, plan with it, and write a report: armillary demo."""
    asked = flags.parse(Demo, arguments, "demo", ABOUT)
    run = configured(asked)
    resume = begin(asked, run)
    collect(asked, run)
    with Watch("training", run.steps) as watch:
        watch.at(workspace.last_step(asked.out) if resume else 0, "reading the episodes")
    outcome = train.trained(run, asked.out, resume and bool(checkpoints(asked.out)), torch.device("cpu"))
    if outcome.stopped:
        screen.say(f"stopped by {outcome.stopped}; the same command continues")
        return 130 if outcome.stopped == "SIGINT" else 143
    workspace.add_to_report(asked.out, train.training_part(outcome))
    measure(run, asked.out)
    return 0


def configured(asked: Demo) -> Run:
    """The recipe with the flags of the demo."""
    run = workspace.find(RECIPE).run
    planning = replace(run.planning, goals=asked.goals or run.planning.goals)
    data = replace(run.data, path=str(asked.out / "episodes"))
    return replace(run, data=data, planning=planning, seed=asked.seed, steps=asked.steps or run.steps)


def begin(asked: Demo, run: Run) -> bool:
    """Make the run folder, moving aside what is there; returns whether an unfinished demo is continued instead."""
    folder = asked.out
    if workspace.occupied(folder):
        if not asked.fresh and unfinished(folder, run, asked.episodes, asked.length):
            screen.say(f"continuing the demo in {folder}")
            return True
        screen.say(f"the old demo is now {workspace.set_aside(folder)}")
    runs.save(folder, run, RECIPE)
    return False


def unfinished(folder: Path, run: Run, episodes: int, length: int) -> bool:
    """Whether the folder holds a demo with these settings that has not planned yet."""
    try:
        same = workspace.open_run(folder) == run and worlds.collected(Path(run.data.path)) in (None, (episodes, length))
        return same and "plan" not in workspace.report(folder)
    except (CheckpointError, ConfigError, DataError):  # damaged, or of another version: not to be continued
        return False


def collect(asked: Demo, run: Run) -> None:
    """Collect the episodes unless they are there."""
    if (Path(run.data.path) / "index.json").exists():
        return
    begun = time.perf_counter()
    with lock(asked.out), Watch("collecting episodes", asked.episodes, unit="episode") as watch:
        worlds.collect(run, asked.episodes, asked.length, run.seed, lambda _, done, __: watch.at(done))
    workspace.add_to_report(asked.out, {"seconds": {"collect": time.perf_counter() - begun}})


def measure(run: Run, folder: Path) -> None:
    """Probe, roll out and plan; write the report and say what came of it."""
    begun = time.perf_counter()
    with screen.err.status("probing for the position"):
        parts: Json = {"probe": probe.probed(run, folder)[1]}
    workspace.add_to_report(folder, parts | {"seconds": {"probe": time.perf_counter() - begun}})
    plan.planned(run, folder)
    told = workspace.report(folder)
    workspace.add_to_report(folder, {"summary": summary(told)})
    path = page.write(folder)
    pictures.still(folder)
    show(told, path)


def part(tree: Json, *names: str) -> Tree:
    """A part of report.json that is there, since it was just written."""
    for name in names:
        found = tree[name]
        assert isinstance(found, dict)
        tree = found
    return tree


def summary(told: Json) -> str:
    """What was learned, in one sentence."""
    position, rolled, plans = part(told, "probe", "position"), part(told, "rollout"), part(told, "plan")
    where = "learned" if position["r2"] >= LEARNED else "did not learn well"
    how = "learned" if rolled["ratio"] <= 1 - LEARNED else "did not learn well"
    return (
        f"From pixels and actions alone the model {where} where the dot is (R² {position['r2']:.4f}), {how} how "
        f"actions move it (error after {rolled['horizon']} macro-steps {rolled['ratio']:.2f} of standing still), and "
        "reached "
        f"{100 * plans['same_room']['success']:.0f} % of the goals in the same room and "
        f"{100 * plans['other_room']['success']:.0f} % of those through the door."
    )


def show(told: Json, path: Path) -> None:
    """The short table at the end."""
    position, rolled = part(told, "probe", "position"), part(told, "rollout")
    rows = [
        ("representation", str(told.get("verdict", ""))),
        (
            "position probe, R²",
            f"{position['r2']:.4f} (untrained encoder {position['untrained_r2']:.2f}, raw pixels "
            f"{position['raw_r2']:.4f})",
        ),
        (f"error after {rolled['horizon']} macro-steps", f"{rolled['ratio']:.3f} of copying the last latent"),
        ("time", screen.duration(part(told, "seconds")["total"])),
    ]
    screen.table("demo", ["", ""], rows)
    plan.show(part(told, "plan"), path.parent)
