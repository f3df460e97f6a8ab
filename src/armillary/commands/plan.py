"""`armillary plan`: goals reached by a trained world model, beside random actions and the true dynamics."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from ..contracts import build
from ..data.episodes import EpisodeDataset
from ..recipes.run import Json, Run
from ..report import page
from ..training.checkpoint import weights
from . import flags, screen, workspace, worlds
from .progress import Watch

ABOUT = "Plan to goals with a trained world model, beside random actions and the same planner on the true dynamics."


@dataclass(frozen=True)
class Plan:
    """Flags of `plan`."""

    goals: int = 0
    """tasks of each kind; 0 takes the recipe's number"""
    budget: int = 0
    """raw steps of an episode; 0 takes the recipe's number"""
    recipe: str = ""
    """path/to/file.py:function again, where the run was made by a file of your own"""
    json: bool = False
    """print the part of report.json instead of a table"""


def main(arguments: list[str]) -> int:
    """Reach goals with a trained world model: armillary plan RUN [--goals N]."""
    name, rest = flags.first(arguments, "plan", "RUN", ABOUT)
    asked, folder = flags.parse(Plan, rest, "plan RUN", ABOUT), Path(name)
    run = workspace.open_run(folder, asked.recipe)
    _, planning = worlds.of_world(run)
    changed = {k: v for k, v in (("goals", asked.goals), ("budget", asked.budget)) if v}
    run = replace(run, planning=replace(planning, **changed))
    workspace.add_to_report(folder, {})  # a folder that cannot be written shows before minutes of work, not after
    parts = planned(run, folder)
    page.write(folder)
    if asked.json:
        screen.as_json(parts)
    else:
        show(parts["plan"], folder)  # type: ignore[arg-type]
    return 0


def planned(run: Run, folder: Path) -> Json:
    """Measure rollouts and plans of the trained method in `folder`; add them to its report and return them."""
    method = build(run.method, run.seed).eval()
    weights(folder, method)
    dataset = workspace.open_split(run, folder, "test")
    assert isinstance(dataset, EpisodeDataset)
    begun = time.perf_counter()
    parts: Json = {"rollout": worlds.rollout_part(method, dataset)}
    rolled = time.perf_counter()
    plans: dict[str, object] = {"harness": worlds.harness(run)}
    films = {}
    kinds = run.world.open(1).kinds
    with Watch("planning", len(kinds), unit="kind") as watch:
        for i, kind in enumerate(kinds):
            told = lambda what, *_: watch.at(i, what)  # noqa: B023, E731 (called before the loop goes on)
            plans[kind], films[kind] = worlds.plan_part(method, dataset.statistics, run, kind, told)
    worlds.save_films(folder, films)
    parts |= {"plan": plans, "seconds": {"rollout": rolled - begun, "plan": time.perf_counter() - rolled}}
    workspace.add_to_report(folder, parts)
    return parts


def show(plans: dict[str, dict[str, object]], folder: Path) -> None:
    """A table of success by kind of task, with intervals, floor and ceiling, and the harness below it."""
    rows = []
    for kind, row in plans.items():
        if kind == "harness":
            continue
        true = fraction(row, "true_dynamics") if "true_dynamics" in row else "unknown"
        rows.append(
            (kind.replace("_", " "), fraction(row, "success"), fraction(row, "at_end"), fraction(row, "random"), true)
        )
    screen.table("reached", ["goals", "model", "at the end", "random", "true dynamics"], rows)
    screen.say(f"harness: {words(plans['harness'])}", style="dim")
    screen.say(f"report: {folder / 'report.html'}")


def words(tree: dict[str, object]) -> str:
    """Nested settings in one line."""
    parts = (f"{k.replace('_', ' ')} {f'({words(v)})' if isinstance(v, dict) else v}" for k, v in tree.items())
    return ", ".join(parts)


def fraction(row: dict[str, object], name: str) -> str:
    """A share with its interval, in percent."""
    low, high = row["interval" if name == "success" else f"{name}_interval"]  # type: ignore[misc]
    return f"{100 * row[name]:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"  # type: ignore[operator]
