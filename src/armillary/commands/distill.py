"""`armillary distill`: a policy that does without planning what a run's planner does with it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..contracts import build
from ..data.episodes import EpisodeDataset
from ..envs.tasks import Tasks, World
from ..errors import ConfigError, require
from ..planning import distilling
from ..planning.acting_policy import is_policy
from ..planning.cloning import Network
from ..planning.control import Outcome
from ..planning.distilling import Labels, Lesson
from ..planning.latency import timed
from ..recipes.run import Json
from ..report import page
from ..training.checkpoint import weights
from . import acting, flags, goals, judging, networks, screen, student, workspace, worlds
from .acting import Choice
from .judging import judged
from .progress import Watch
from .seeing import Actor
from .worlds import Tell, silent

ABOUT = "Distill a world model's planner (of one level) into a policy that acts in one forward pass, and judge both."
TRAINING = 100_000_000  # between the seed of the tasks that are judged on and those of the rounds


@dataclass(frozen=True)
class Distill:
    """Flags of `distill`."""

    rounds: int = 3
    """of labels: the planner acts in the first, the policy in the others, and the planner says what it would do"""
    goals: int = 100
    """training tasks of each kind in a round; kinds that are held back ("unseen") are none of them"""
    mixing: float = 0.0
    """share of the stretches in which the planner acts in the second round, its square in the third, and so on"""
    judged: int = 0
    """tasks of each kind on which policy and planner are judged; 0 takes the recipe's number"""
    fast: bool = False
    """plan with the model's weights folded, where it offers that; the same plans up to rounding, in less time"""
    at: str = "newest"
    """checkpoint: newest, best-by-radar, or a step"""
    recipe: str = ""
    """path/to/file.py:function again, where the run was made by a file of your own"""
    json: bool = False
    """print the part of report.json instead of tables"""

    def __post_init__(self) -> None:
        require(1, 1 << 20, rounds=self.rounds, goals=self.goals)
        require(0, 1 << 20, judged=self.judged)
        require(0, 1, mixing=self.mixing)


def main(arguments: list[str]) -> int:
    """Distill a run's planner into a policy, and judge both: armillary distill RUN."""
    name, rest = flags.first(arguments, "distill", "RUN", ABOUT)
    asked, folder = flags.parse(Distill, rest, "distill RUN", ABOUT), Path(name)
    actor, step = trained(folder, asked)
    workspace.add_to_report(folder, {})  # a folder that cannot be written shows before minutes of work, not after
    begun, world, choice = time.perf_counter(), actor.open(actor.planning.goals), Choice(fast=asked.fast)
    school = world if asked.goals == world.count else actor.open(asked.goals)
    with Watch("distilling", asked.rounds + len(world.kinds), unit="part", shown=not asked.json) as watch:
        network, rounds = taught(actor, choice, school, asked, lambda what, done, _: watch.at(done, what))
        student.keep(folder, step, network, {"rounds": rounds})
        part = compared(actor, choice, world, network, lambda what, done, _: watch.at(asked.rounds + done, what))
    part |= {"alone": alone(actor, choice, network), "rounds": rounds, "harness": _harness(actor, choice, asked, step)}
    parts = {"distilled": part, "seconds": {"distill": time.perf_counter() - begun}}
    workspace.add_to_report(folder, parts)
    page.write(folder)
    if asked.json:
        screen.as_json(parts)
    else:
        show(part, folder)
    return 0


def trained(folder: Path, asked: Distill) -> tuple[Actor, int]:
    """The run's trained model, ready to act with its planner of one level, and the step of its weights.

    Raises:
        ConfigError: there is no planner to distill, or nothing to reach.
    """
    run = workspace.open_run(folder, asked.recipe)
    _, planning = worlds.reachable(run)
    run = replace(run, planning=replace(planning, goals=asked.judged or planning.goals, hierarchy=None))
    method = build(run.method, run.seed).eval()
    if is_policy(method):
        raise ConfigError(f"{type(method).__name__} acts without a planner, so there is none to distill")
    acting.check(method, run, ["--fast"] if asked.fast else [])
    step = weights(folder, method, asked.at)
    data = workspace.open_split(run, folder, "train")
    if not isinstance(data, EpisodeDataset):
        raise ConfigError("this run was trained on no episodes: only world models plan, and have a planner to distill")
    return Actor(method, data.statistics, run), step


def taught(
    actor: Actor, choice: Choice, world: World, asked: Distill, tell: Tell = silent
) -> tuple[Network, list[Json]]:
    """The network after all rounds, and what happened in each: who acted, success on its tasks, labels so far."""
    network, labels, rows, kinds = None, list[Labels](), list[Json](), training_kinds(world)
    for i in range(asked.rounds):
        reached, seed = [], actor.planning.seed + TRAINING + i
        for kind in kinds:
            tell(f"round {i + 1}, {kind.replace('_', ' ')}", i, asked.rounds)
            tasks = world.tasks(kind, asked.goals, seed)
            outcome, said = _lesson(actor, choice, world, tasks, network, asked.mixing**i, seed)
            reached.append(outcome.reached)
            labels += said
        tell(f"round {i + 1}, fitting", i, asked.rounds)
        every = Labels.joined(labels)
        network = distilling.distilled(every, distilling.SETTINGS, actor.run.seed)
        with torch.no_grad():
            error = (network(every.seen, every.goal) - every.action).square().mean()
        rows.append({
            "acts": "planner" if i == 0 or asked.mixing == 1 else "both" if asked.mixing else "policy",
            "success": float(torch.cat(reached).double().mean()), "labels": len(every.seen), "error": float(error),
        })  # fmt: skip
    assert network is not None
    return network, rows


def training_kinds(world: World) -> list[str]:
    """The kinds of tasks that a policy may learn from: not those whose layouts are held back.

    Raises:
        ConfigError: all of them are held back.
    """
    kinds = [kind for kind in world.kinds if not kind.startswith("unseen")]
    if not kinds:
        raise ConfigError(
            f"all kinds of tasks of this world are held back ({', '.join(world.kinds)}); none to learn on"
        )
    return kinds


def _lesson(
    actor: Actor, choice: Choice, world: World, tasks: Tasks, network: Network | None, share: float, seed: int
) -> tuple[Outcome, list[Labels]]:
    """One lesson on tasks of one kind. network: what acts where the planner does not; None: the planner acts alone."""
    read, goal = actor.sight(tasks)
    planner = replace(acting.planned(actor, choice, world, tasks), seed=seed)
    learner = None if network is None else networks.distilled(actor, network, world, tasks)
    ahead = networks.imagined(actor, actor.model(choice.fast), read)
    lesson = Lesson(planner, read, goal, networks.scale(actor, world), learner, share, ahead)
    return judged(actor, world, tasks, lesson), lesson.labels


def compared(actor: Actor, choice: Choice, world: World, network: Network, tell: Tell = silent) -> Json:
    """What report.json says of policy and planner on the recipe's tasks, by kind.

    difference: success of the policy minus that of the planner on the same tasks, with a paired interval; of_planner:
    over it.
    """
    part: Json = {}
    for i, kind in enumerate(world.kinds):
        tasks, name = world.tasks(kind, actor.planning.goals, actor.planning.seed), kind.replace("_", " ")
        tell(f"{name}: planning", i, len(world.kinds))
        planned = judged(actor, world, tasks, acting.planned(actor, choice, world, tasks))
        tell(f"{name}: policy", i, len(world.kinds))
        own = judged(actor, world, tasks, networks.distilled(actor, network, world, tasks))
        row, ours, theirs = planned.row(), own.reached.double().mean(), planned.reached.double().mean()
        part[kind] = {
            **own.row(), **judging.beside("planner", planned), **judging.gap("difference", own, planned),
            "planner_evaluations_per_action": row["evaluations_per_action"],
            "of_planner": float(ours / theirs) if theirs > 0 else None,
            "time_of_planner": own.seconds / planned.seconds,
        }  # fmt: skip
    tell("in one world", len(world.kinds), len(world.kinds))
    return part


def alone(actor: Actor, choice: Choice, network: Network) -> Json:
    """Seconds for a raw action in a single world, where nothing is shared between episodes; medians of calls."""
    world = actor.open(1)
    tasks = world.tasks(world.kinds[0], 1, actor.planning.seed)
    context = actor.first(world, tasks)
    spent = {}
    for name, who, repeats in (
        ("planner", acting.planned(actor, choice, world, tasks), 5),
        ("policy", networks.distilled(actor, network, world, tasks), 50),
    ):
        steps = who(context, 0, None)[0].shape[1]
        spent[f"{name}_seconds_per_action"] = timed(lambda who=who: who(context, 0, None), repeats) / steps
    return {**spent, "time_of_planner": spent["policy_seconds_per_action"] / spent["planner_seconds_per_action"]}


def _harness(actor: Actor, choice: Choice, asked: Distill, step: int) -> Json:
    """What the numbers depend on."""
    settings = distilling.SETTINGS
    learned_on = (
        f"{asked.goals} tasks of each kind in each of {asked.rounds} rounds, with other seeds than are judged on"
    )
    return {
        **judging.harness(actor, choice, goals.DRAWN), "step": step, "learned_on": learned_on,
        "mixing": asked.mixing, "network": f"2 layers of {settings.hidden}, {settings.steps} steps of {settings.batch}",
    }  # fmt: skip


def show(part: Json, folder: Path) -> None:
    """Tables of success and time of both, and what happened while learning."""
    rows, spent = [], []
    for kind, row in part.items():
        if not isinstance(row, dict) or "difference" not in row:
            continue
        low, high = row["difference_interval"]
        gap = f"{100 * row['difference']:+.0f} points [{100 * low:+.0f}, {100 * high:+.0f}]"
        name = kind.replace("_", " ")
        shares = [screen.fraction(row, key) for key in ("success", "at_end", "planner", "planner_at_end")]
        rows.append((name, *shares, gap))
        times = _times(row["seconds_per_action"], row["planner_seconds_per_action"])
        spent.append((f"{name}, all episodes at once", *times, f"{row['planner_evaluations_per_action']:,.0f}"))
    alone = part["alone"]
    spent.append(("one world", *_times(alone["policy_seconds_per_action"], alone["planner_seconds_per_action"]), ""))  # type: ignore[index]
    lessons = [(str(i), row["acts"], f"{100 * row['success']:.0f} %", f"{row['labels']:,}", f"{row['error']:.3g}")
               for i, row in enumerate(part["rounds"], 1)]  # type: ignore[arg-type]  # fmt: skip
    screen.table("learned", ["round", "who acted", "training goals reached", "labels", "squared error"], lessons)
    heads = ["goals", "policy", "at the end", "planner", "at the end", "policy minus planner"]
    screen.table("reached", heads, rows)
    screen.table(
        "time per action", ["", "policy", "planner", "planner over policy", "model steps of the planner"], spent
    )
    screen.say(f"harness: {screen.words(part['harness'])}", style="dim")  # type: ignore[arg-type]
    screen.say(f"policy: {folder / student.FILE}; report: {folder / 'report.html'}")


def _times(policy: float, planner: float) -> tuple[str, str, str]:
    return f"{1000 * policy:.3g} ms", f"{1000 * planner:.3g} ms", f"{planner / policy:.0f}"
