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
from ..functional.statistics import paired_success
from ..planning import distilling
from ..planning.acting_policy import is_policy
from ..planning.cloning import Network
from ..planning.control import Outcome, control
from ..planning.distilling import Labels, Lesson
from ..planning.latency import timed
from ..planning.policies import Policy
from ..recipes.run import Json
from ..report import page
from ..training.checkpoint import weights
from . import acting, flags, screen, student, workspace, worlds
from .plan import fraction, words
from .progress import Watch

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
    actor, step = _actor(folder, asked)
    workspace.add_to_report(folder, {})  # a folder that cannot be written shows before minutes of work, not after
    begun, kinds = time.perf_counter(), actor.open(1).kinds
    with Watch("distilling", asked.rounds + len(kinds), unit="part", shown=not asked.json) as watch:
        network, rounds = taught(actor, asked, lambda what, done, _: watch.at(done, what))
        student.keep(folder, step, network, {"rounds": rounds})
        part = judged(actor, network, lambda what, done, _: watch.at(asked.rounds + done, what))
    part |= {"rounds": rounds, "harness": _harness(actor, asked, step)}
    parts = {"distilled": part, "seconds": {"distill": time.perf_counter() - begun}}
    workspace.add_to_report(folder, parts)
    page.write(folder)
    if asked.json:
        screen.as_json(parts)
    else:
        show(part, folder)
    return 0


def _actor(folder: Path, asked: Distill) -> tuple[acting.Actor, int]:
    """The run's trained model, ready to act with its planner of one level, and the step of its weights."""
    run = workspace.open_run(folder, asked.recipe)
    _, planning = worlds.of_world(run)
    run = replace(run, planning=replace(planning, goals=asked.judged or planning.goals, hierarchy=None))
    method = build(run.method, run.seed).eval()
    if is_policy(method):
        raise ConfigError(f"{type(method).__name__} acts without a planner, so there is none to distill")
    step = weights(folder, method, asked.at)
    data = workspace.open_split(run, folder, "train")
    if not isinstance(data, EpisodeDataset):
        raise ConfigError("this run was trained on no episodes: only world models plan, and have a planner to distill")
    worlds.as_dynamics(method)
    return acting.Actor(method, data.statistics, run, fast=asked.fast), step


def taught(actor: acting.Actor, asked: Distill, tell: worlds.Tell = worlds.silent) -> tuple[Network, list[Json]]:
    """The network after all rounds, and what happened in each: who acted, success on its tasks, labels so far."""
    _, planning = worlds.of_world(actor.run)
    world, network, labels, rows = actor.open(asked.goals), None, list[Labels](), list[Json]()
    for i in range(asked.rounds):
        reached = []
        for kind in training_kinds(world):
            tell(f"round {i + 1}, {kind.replace('_', ' ')}", i, asked.rounds)
            tasks = world.tasks(kind, asked.goals, planning.seed + TRAINING + i)
            outcome, said = _lesson(actor, world, tasks, network, asked.mixing**i, planning.seed + TRAINING + i)
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
    actor: acting.Actor, world: World, tasks: Tasks, network: Network | None, share: float, seed: int
) -> tuple[Outcome, list[Labels]]:
    """One lesson on tasks of one kind. network: what acts where the planner does not; None: the planner acts alone."""
    read, goal = acting.sight(actor, tasks)
    planner = replace(acting.policy(actor, world, tasks), seed=seed)
    learner = None if network is None else acting.distilled(actor, world, tasks, network)
    lesson = Lesson(
        planner, read, goal, acting.scale(actor, world), learner, share, acting.imagined(actor, read)
    )  # fmt: skip
    return _acted(actor, world, tasks, lesson), lesson.labels


def _acted(actor: acting.Actor, world: World, tasks: Tasks, who: Policy) -> Outcome:
    data, planning = worlds.of_world(actor.run)
    return control(
        world, world.begin(tasks), who, lambda state: world.reached(state, tasks.goal), planning.budget,
        data.frame_skip, actor.history,
    )  # fmt: skip


def judged(actor: acting.Actor, network: Network, tell: worlds.Tell = worlds.silent) -> Json:
    """What report.json says of policy and planner on the recipe's tasks: of each kind, and their time in one world.

    difference: success of the policy minus that of the planner on the same tasks, with a paired interval; of_planner:
    over it. alone: of a single world, where nothing is shared between episodes; seconds for a raw action, both.
    """
    _, planning = worlds.of_world(actor.run)
    world, part = actor.open(planning.goals), dict[str, object]()
    for i, kind in enumerate(world.kinds):
        tasks = world.tasks(kind, planning.goals, planning.seed)
        tell(f"{kind.replace('_', ' ')}: planning", i, len(world.kinds))
        planned = _acted(actor, world, tasks, acting.policy(actor, world, tasks))
        tell(f"{kind.replace('_', ' ')}: policy", i, len(world.kinds))
        own = _acted(actor, world, tasks, acting.distilled(actor, world, tasks, network))
        row, ours, theirs = planned.row(), own.reached.double().mean(), planned.reached.double().mean()
        part[kind] = {
            **own.row(), **acting.beside("planner", planned),
            "planner_evaluations_per_action": row["evaluations_per_action"],
            "difference": float(ours - theirs), "difference_interval": paired_success(own.reached, planned.reached),
            "of_planner": float(ours / theirs) if theirs > 0 else None,
            "time_of_planner": own.seconds / planned.seconds,
        }  # fmt: skip
    tell("in one world", len(world.kinds), len(world.kinds))
    return part | {"alone": _alone(actor, network)}


def _alone(actor: acting.Actor, network: Network) -> Json:
    """Seconds for a raw action in a single world, medians of calls."""
    _, planning = worlds.of_world(actor.run)
    world = actor.open(1)
    tasks = world.tasks(world.kinds[0], 1, planning.seed)
    context = acting.at_first(actor, world, tasks)
    spent = {}
    for name, who, repeats in (
        ("planner", acting.policy(actor, world, tasks), 5),
        ("policy", acting.distilled(actor, world, tasks, network), 50),
    ):
        steps = who(context, 0, None)[0].shape[1]
        spent[f"{name}_seconds_per_action"] = timed(lambda who=who: who(context, 0, None), repeats) / steps
    return {**spent, "time_of_planner": spent["policy_seconds_per_action"] / spent["planner_seconds_per_action"]}


def _harness(actor: acting.Actor, asked: Distill, step: int) -> Json:
    """What the numbers depend on."""
    settings = distilling.SETTINGS
    learned_on = (
        f"{asked.goals} tasks of each kind in each of {asked.rounds} rounds, with other seeds than are judged on"
    )
    return {
        **acting.harness(actor, "tasks that the world draws", {}), "step": step, "learned_on": learned_on,
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
        rows.append((name, *(fraction(row, key) for key in ("success", "at_end", "planner", "planner_at_end")), gap))
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
    screen.say(f"harness: {words(part['harness'])}", style="dim")  # type: ignore[arg-type]
    screen.say(f"policy: {folder / student.FILE}; report: {folder / 'report.html'}")


def _times(policy: float, planner: float) -> tuple[str, str, str]:
    return f"{1000 * policy:.3g} ms", f"{1000 * planner:.3g} ms", f"{planner / policy:.0f}"
