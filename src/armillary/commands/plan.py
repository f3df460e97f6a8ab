"""`armillary plan`: goals reached by a trained world model, beside random actions, cloning and the true dynamics."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from ..contracts import build
from ..data.episodes import EpisodeDataset
from ..envs.tasks import Tasks, World
from ..errors import ConfigError
from ..planning.acting_policy import is_policy
from ..planning.settings import Planning
from ..recipes.run import Json, Run
from ..report import page
from ..training.checkpoint import weights
from . import acting, flags, goals, imitation, offline, policies, screen, student, workspace, worlds
from .progress import Watch

ABOUT = "Plan to goals with a trained world model, beside random actions, cloning and the planner on true dynamics."


@dataclass(frozen=True)
class Plan:
    """Flags of `plan`."""

    goals: int = 200
    """tasks of each kind; 0 takes the recipe's number"""
    budget: int = 0
    """raw steps of an episode; 0 takes the recipe's number"""
    ahead: int = 0
    """goals so many raw steps ahead in held-out episodes, from where these were; 0: the world's own tasks"""
    goal_file: Path | None = None
    """an image, or a .npy of images or states, to reach from where the world begins episodes"""
    goal_as: Literal["image", "state"] = "image"
    """what the planner is given of a goal: its image, or its state through a linear probe of the latent"""
    energy: Literal["distance", "value"] = "distance"
    """what a plan costs: planning.distance, or the steps that are left as a value says, learned from the run's episodes
    on its latents as they are"""
    milliseconds: float = 0.0
    """plan within so much time: a smaller search where the recipe's is too slow on this machine; 0 without limit"""
    step_seconds: float = 0.0
    """an episode whose world takes longer for a step has failed, and the others go on; 0 without limit"""
    fast: bool = False
    """plan with the model's weights folded, where it offers that; the same plans up to rounding, in less time"""
    seeded: bool = False
    """the plan of the policy that `armillary distill` made competes in each search, so that a smaller one does"""
    flat: bool = False
    """plan with the low level and the recipe's one planner alone, where the recipe plans in two levels"""
    ensemble: float | None = None
    """of a run that acts without a planner: average its chunks where they overlap, weights exp(-ENSEMBLE * i) from the
    oldest on, one asked for at every macro-step; ACT has 0.01"""
    offline: bool = False
    """only what recorded episodes tell of the model; needs no world"""
    at: str = "newest"
    """checkpoint: newest, best-by-radar, or a step"""
    recipe: str = ""
    """path/to/file.py:function again, where the run was made by a file of your own"""
    json: bool = False
    """print the part of report.json instead of a table"""

    def __post_init__(self) -> None:
        if min(self.goals, self.budget, self.ahead, self.milliseconds, self.step_seconds) < 0:
            raise ConfigError(f"{self}: numbers are 0 or more")
        if self.ahead and self.goal_file:
            raise ConfigError("goals come from --ahead or from --goal-file, not from both")
        if self.seeded and self.offline:
            raise ConfigError("--seeded is a way of acting in the world, --offline does not act; leave one of them out")
        if self.energy == "value" and self.offline:
            raise ConfigError("--energy value is of plans in the world, --offline does not act; leave one of them out")


def main(arguments: list[str]) -> int:
    """Reach goals with a trained world model: armillary plan RUN [--goals N | --offline]."""
    name, rest = flags.first(arguments, "plan", "RUN", ABOUT)
    asked, folder = flags.parse(Plan, rest, "plan RUN", ABOUT), Path(name)
    run = workspace.open_run(folder, asked.recipe)
    if not asked.offline:
        _, planning = worlds.of_world(run)
        if getattr(run.world, "kinds", None) == ():
            raise ConfigError(f"{type(run.world).__name__} has nothing to reach: --offline tells how its rollouts hold")
        changed = {k: v for k, v in (("goals", asked.goals), ("budget", asked.budget)) if v}
        levels = None if asked.flat else planning.hierarchy
        run = replace(run, planning=replace(planning, hierarchy=levels, **changed))
    workspace.add_to_report(folder, {})  # a folder that cannot be written shows before minutes of work, not after
    parts = planned(run, folder, asked)
    page.write(folder)
    if asked.json:
        screen.as_json(parts)
        return 0
    screen.say(str(parts["rollout"]["verdict"]))  # type: ignore[index]
    if asked.offline:
        screen.say(f"report: {folder / 'report.html'}")
    else:
        show(parts["plan"], folder)  # type: ignore[arg-type]
    return 0


def planned(run: Run, folder: Path, asked: Plan = Plan()) -> Json:
    """Measure rollouts and plans of the trained method in `folder`; add them to its report and return them."""
    method = build(run.method, run.seed).eval()
    step = weights(folder, method, asked.at)
    policies.check(method, of_planners(asked), asked.ensemble)
    seed = student.learned(folder, step) if asked.seeded else None
    test, train = (workspace.open_split(run, folder, split) for split in ("test", "train"))
    if not (isinstance(test, EpisodeDataset) and isinstance(train, EpisodeDataset)):
        raise ConfigError("this run was trained on no episodes: only world models are validated and plan")
    begun = time.perf_counter()
    with Watch("validating on recorded episodes", 1, unit="model"):
        data = offline.encoded(method, train)
        read, planning = offline.probe(data), run.planning if isinstance(run.planning, Planning) else Planning()
        if is_policy(method):
            rolled = imitation.validated(method, test, read)
        else:
            rolled = worlds.rollout_part(method, test)
            rolled |= offline.offline(method, test, planning, read, rolled)
    parts: Json = {"rollout": rolled, "seconds": {"rollout": time.perf_counter() - begun}}
    if not asked.offline:
        begun = time.perf_counter()
        clone = offline.clone(data, int(getattr(method.config, "history", 1)), run.seed)
        actor = acting.Actor(method, test.statistics, run, None, clone, asked.step_seconds, asked.fast, seed,
                             asked.ensemble)  # fmt: skip
        if asked.goal_as == "state":
            actor = replace(actor, readout=_needed(read))
        if asked.energy == "value":
            actor = replace(actor, value=offline.way(data, run.seed))
        parts["plan"], films = acted(actor, asked, test, read)
        worlds.save_films(folder, films)
        parts["seconds"]["plan"] = time.perf_counter() - begun  # type: ignore[index]
    workspace.add_to_report(folder, parts)
    return parts


def of_planners(asked: Plan) -> dict[str, object]:
    """Flags that a planner is told by, and their values; false where they are not set."""
    return {
        "--milliseconds": asked.milliseconds, "--fast": asked.fast, "--seeded": asked.seeded, "--flat": asked.flat,
        "--goal-as state": asked.goal_as == "state", "--energy value": asked.energy == "value",
    }  # fmt: skip


def acted(
    actor: acting.Actor, asked: Plan, test: EpisodeDataset, read: offline.readout.Readout | None
) -> tuple[Json, dict[str, dict]]:
    """The part `plan` of report.json, and the films of each kind of goal."""
    told: Json = {}
    if asked.milliseconds:
        actor, told = acting.within_time(actor, asked.milliseconds)
    _, planning = worlds.of_world(actor.run)
    world = actor.open(planning.goals)
    kinds, said = world.kinds, "tasks that the world draws"
    if asked.ahead:
        kinds, said = (
            (f"ahead_{asked.ahead}",),
            f"{asked.ahead} raw steps ahead in {len(test.episodes)} held-out episodes",
        )
    elif asked.goal_file:
        kinds, said = ("given",), f"the file {asked.goal_file.name}, from where episodes of the world begin"
    plans: Json = {"harness": acting.harness(actor, said, told)}
    films = {}
    with Watch("planning", len(kinds), unit="kind") as watch:
        for i, kind in enumerate(kinds):
            tell = lambda what, *_: watch.at(i, what)  # noqa: B023, E731 (called before the loop goes on)
            tasks = chosen(actor, asked, test, read, world, kind)
            plans[kind], films[kind] = acting.plan_part(actor, world, kind, tasks, tell)
    return plans, films


def chosen(
    actor: acting.Actor, asked: Plan, test: EpisodeDataset, read: offline.readout.Readout | None, world: World,
    kind: str,
) -> Tasks:  # fmt: skip
    """The tasks of one kind."""
    _, planning = worlds.of_world(actor.run)
    if asked.ahead:
        return goals.ahead(test, world, planning.goals, planning.seed, asked.ahead)
    if asked.goal_file is None:
        return world.tasks(kind, planning.goals, planning.seed)

    def state(image: torch.Tensor) -> torch.Tensor:
        blank = torch.zeros(len(image), 0)
        return _needed(read)(acting.goal_latents(actor.method, actor.statistics, Tasks(blank, blank, image, blank)))

    return goals.given(asked.goal_file, world, planning.goals, planning.seed, state)


def _needed(read: offline.readout.Readout | None) -> offline.readout.Readout:
    if read is None:
        raise ConfigError(
            "the episodes of this run tell no state, so no probe of it can be fitted: give goals as images"
        )
    return read


def show(plans: dict[str, dict[str, object]], folder: Path) -> None:
    """Tables of success by kind of task, with intervals, floors and ceiling, of what it took, and the harness."""
    rows, spent = [], []
    for kind, row in plans.items():
        if kind == "harness":
            continue
        name = kind.replace("_", " ")
        shares = [fraction(row, key) if key in row else "unknown"
                  for key in ("success", "at_end", "random", "cloned", "true_dynamics")]  # fmt: skip
        rows.append((name, *shares))
        steps = f"{row['steps_to_success']:.0f}" if "steps_to_success" in row else "none"
        spent.append((name, steps, f"{1000 * row['seconds_per_action']:.2g} ms",  # type: ignore[operator]
                      f"{row['evaluations_per_action']:,.0f}", str(row["failed"])))  # fmt: skip
    screen.table("reached", ["goals", "model", "at the end", "random", "cloned", "true dynamics"], rows)
    heads = ["goals", "median steps to success", "time per action", "model steps per action", "failed episodes"]
    screen.table("spent", heads, spent)
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
