"""`armillary plan`: goals reached by a trained world model, beside random actions, cloning and the true dynamics."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from ..contracts import Method, build
from ..data.episodes import EpisodeDataset
from ..envs.tasks import World
from ..errors import ConfigError
from ..planning.acting_policy import is_policy
from ..planning.readout import Readout
from ..planning.settings import Planning
from ..recipes.run import Json, Run
from ..report import page
from ..training.checkpoint import weights
from . import acting, flags, goals, imitation, judging, offline, screen, student, workspace, worlds
from .acting import Choice
from .networks import Network
from .progress import Watch
from .seeing import Actor

ABOUT = "Plan to goals with a trained world model, beside random actions, cloning and the planner on true dynamics."
STATELESS = "the episodes of this run tell no state, so no probe of it can be fitted: give goals as images"


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
        if self.offline and self.acting:
            raise ConfigError(
                f"{', '.join(self.acting)}: of acting in the world, and --offline does not act; leave one of them out"
            )

    @property
    def acting(self) -> list[str]:
        """The flags of acting in a world that are set, as they are written."""
        given = {
            "--milliseconds": self.milliseconds, "--fast": self.fast, "--seeded": self.seeded, "--flat": self.flat,
            "--goal-as state": self.goal_as == "state", "--energy value": self.energy == "value",
            "--ensemble": self.ensemble is not None, "--ahead": self.ahead, "--goal-file": self.goal_file,
            "--step-seconds": self.step_seconds,
        }  # fmt: skip
        return [flag for flag, value in given.items() if value]


def main(arguments: list[str]) -> int:
    """Reach goals with a trained world model: armillary plan RUN [--goals N | --offline]."""
    name, rest = flags.first(arguments, "plan", "RUN", ABOUT)
    asked, folder = flags.parse(Plan, rest, "plan RUN", ABOUT), Path(name)
    run = workspace.open_run(folder, asked.recipe)
    run = run if asked.offline else configured(run, asked)
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


def configured(run: Run, asked: Plan) -> Run:
    """The run with the numbers and levels that are asked for.

    Raises:
        ConfigError: it has no world, or one without goals; or one level already, and --flat.
    """
    _, planning = worlds.reachable(run)
    if asked.flat and planning.hierarchy is None:
        raise ConfigError("--flat is of recipes that plan in two levels, this one does in one: leave it away")
    changed = {k: v for k, v in (("goals", asked.goals), ("budget", asked.budget)) if v}
    levels = None if asked.flat else planning.hierarchy
    return replace(run, planning=replace(planning, hierarchy=levels, **changed))


def planned(run: Run, folder: Path, asked: Plan = Plan()) -> Json:
    """Measure rollouts and plans of the trained method in `folder`; add them to its report and return them.

    Raises:
        ConfigError: what is asked for cannot be done: before any work, as far as it can be known then.
    """
    method = build(run.method, run.seed).eval()
    if not asked.offline:
        acting.check(method, run, asked.acting)
    step = weights(folder, method, asked.at)
    network = student.learned(folder, step) if asked.seeded else None
    test, train = (workspace.open_split(run, folder, split) for split in ("test", "train"))
    if not (isinstance(test, EpisodeDataset) and isinstance(train, EpisodeDataset)):
        raise ConfigError("this run was trained on no episodes: only world models are validated and plan")
    goals.check(test, asked.ahead, asked.goal_file)
    if asked.goal_as == "state" and "state" not in train.columns:
        raise ConfigError(STATELESS)
    actor = Actor(method, test.statistics, run, asked.step_seconds)
    world = None if asked.offline else actor.open(actor.planning.goals)
    begun = time.perf_counter()
    with Watch("validating on recorded episodes", 1, unit="model"):
        data = offline.encoded(method, train)
        read = offline.probe(data)
        rolled = validated(method, test, run.planning, read)
    spent = {"rollout": time.perf_counter() - begun}
    parts: Json = {"rollout": rolled, "seconds": spent}
    workspace.add_to_report(folder, parts)  # it stays whatever becomes of acting
    if world is not None:
        begun = time.perf_counter()
        choice = Choice(
            readout=read if asked.goal_as == "state" else None,
            value=offline.way(data, run.seed) if asked.energy == "value" else None,
            fast=asked.fast,
            distilled=network,
            ensemble=asked.ensemble,
        )
        clone, planning = offline.clone(data, actor.history, run.seed), actor.planning
        found = goals.source(test, world, planning.goals, planning.seed, asked.ahead, asked.goal_file,
                             state_in(actor, read))  # fmt: skip
        parts["plan"], films = acted(actor, choice, clone, world, found, asked.milliseconds)
        worlds.save_films(folder, films)
        parts["seconds"] = {**spent, "plan": time.perf_counter() - begun}
        workspace.add_to_report(folder, parts)
    return parts


def validated(method: Method, test: EpisodeDataset, planning: object, read: Readout | None) -> Json:
    """What recorded episodes tell of a policy or of a world model; the part `rollout` of report.json."""
    if is_policy(method):
        return imitation.validated(method, test, read)
    rolled = worlds.rollout_part(method, test)
    settings = planning if isinstance(planning, Planning) else Planning()
    return rolled | offline.offline(method, test, settings, read, rolled)


def acted(
    actor: Actor, choice: Choice, clone: Network, world: World, found: goals.Source, milliseconds: float
) -> tuple[Json, dict[str, dict]]:
    """The part `plan` of report.json, and the films of each kind of goal."""
    told: Json = {}
    if milliseconds:
        actor, limit = judging.within_time(actor, choice, milliseconds)
        told = {"time_limit": limit}
    plans: Json = {"harness": judging.harness(actor, choice, found.said) | told}
    films = {}
    with Watch("planning", len(found.kinds), unit="kind") as watch:
        for i, kind in enumerate(found.kinds):
            tell = lambda what, *_: watch.at(i, what)  # noqa: B023, E731 (called before the loop goes on)
            tasks = found.tasks(kind)
            plans[kind], films[kind] = judging.plan_part(actor, choice, clone, world, kind, tasks, tell)
    return plans, films


def state_in(actor: Actor, read: Readout | None) -> goals.Read:
    """What the probe reads in images, to judge by whether goals that are images are reached."""

    def state(image: torch.Tensor) -> torch.Tensor:
        if read is None:
            raise ConfigError(STATELESS)
        return read(actor.goals(image))

    return state


def show(plans: dict[str, dict[str, object]], folder: Path) -> None:
    """Tables of success by kind of task, with intervals, floors and ceiling, of what it took, and the harness."""
    rows, spent = [], []
    for kind, row in plans.items():
        if kind == "harness":
            continue
        name = kind.replace("_", " ")
        shares = [screen.fraction(row, key) if key in row else "unknown"
                  for key in ("success", "at_end", "random", "cloned", "true_dynamics")]  # fmt: skip
        rows.append((name, *shares))
        steps = f"{row['steps_to_success']:.0f}" if "steps_to_success" in row else "none"
        spent.append((name, steps, f"{1000 * row['seconds_per_action']:.2g} ms",  # type: ignore[operator]
                      f"{row['evaluations_per_action']:,.0f}", str(row["failed"])))  # fmt: skip
    screen.table("reached", ["goals", "model", "at the end", "random", "cloned", "true dynamics"], rows)
    heads = ["goals", "median steps to success", "time per action", "model steps per action", "failed episodes"]
    screen.table("spent", heads, spent)
    screen.say(f"harness: {screen.words(plans['harness'])}", style="dim")
    screen.say(f"report: {folder / 'report.html'}")
