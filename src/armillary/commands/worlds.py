"""What the commands of world models share: collecting, rollout errors, planning beside its floor and ceiling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..contracts import Dynamics, Energy, Method
from ..data.episodes import EpisodeDataset, Episodes, EpisodeWriter
from ..data.statistics import Statistics
from ..data.store import open_columns
from ..envs.tasks import Tasks, World
from ..errors import ConfigError
from ..functional.statistics import bootstrap, mean_interval, paired_success
from ..planning.control import Outcome, Receding, Scripted, control
from ..planning.energies import goal_energy
from ..planning.errors_by_horizon import RolloutErrors, rollout_errors
from ..planning.rollout import held, limited, normalized
from ..planning.settings import Planning
from ..randomness import numbered
from ..recipes.run import Json, Run
from ..types import Batch

AT_ONCE = 50  # worlds stepped together while collecting
Tell = Callable[[str, int, int], None]  # what, done, total


def silent(what: str, done: int, total: int) -> None:
    """Tells nothing."""


def of_world(run: Run) -> tuple[Episodes, Planning]:
    """The episodes and the planning of a run that has a world.

    Raises:
        ConfigError: it has none.
    """
    if run.world is None or not isinstance(run.data, Episodes) or not isinstance(run.planning, Planning):
        raise ConfigError("this recipe has no world: collect and plan need one, e.g. lewm_two_rooms")
    return run.data, run.planning


def collect(run: Run, episodes: int, steps: int, seed: int, tell: Tell = silent) -> None:
    """Write `episodes` episodes of `steps` random actions in the run's world into the folder of its data."""
    data, _ = of_world(run)
    with EpisodeWriter(data.path, environment=str(run.world)) as writer:
        world: World = run.world.open(min(AT_ONCE, episodes))
        for first in range(0, episodes, AT_ONCE):
            count = min(AT_ONCE, episodes - first)
            if world.count != count:  # only at the end: worlds of others take long to open
                world = run.world.open(count)
            begin = seed + first  # worlds i of two calls are told apart by the seed of the call
            seen = world.reset(begin)
            actions = world.wander(numbered(count, begin), steps)
            frames, states = [seen["image"]], [seen["state"]]
            for action in actions.unbind(1):
                seen = world.step(action)[0]
                frames.append(seen["image"])
                states.append(seen["state"])
            writer.append({"image": torch.stack(frames, 1), "action": actions, "state": torch.stack(states, 1)})
            tell("collecting episodes", first + count, episodes)


def collected(path: Path) -> tuple[int, int] | None:
    """Episodes in a store and actions in each, None where nothing was collected yet."""
    if not (path / "index.json").is_file():
        return None
    lengths = open_columns(path)[0].lengths
    return len(lengths), int(lengths.max()) - 1


def rollout_part(method: Method, dataset: EpisodeDataset, horizon: int = 8, windows: int = 512) -> Json:
    """What report.json says of rollouts on held-out windows: errors by horizon, and with intervals at 4 macro-steps.

    nmse: error over the variance of the target. ratio: error over that of copying the last observed latent. Intervals
    resample windows.
    """
    history = int(getattr(method.config, "history", 1))
    config = replace(dataset.config, window=history + horizon)
    longer = EpisodeDataset(config, dataset.index, dataset.columns, dataset.episodes, dataset.statistics)
    rows = numbered(1).order("rollout windows", len(longer))[0][:windows]
    parts = [
        rollout_errors(as_dynamics(method), longer.prepare(longer.batch(part)), history) for part in rows.split(128)
    ]
    errors = RolloutErrors(
        *(torch.cat([getattr(p, name) for p in parts]) for name in ("model", "copy", "shuffled")),
        variance=float(np.mean([p.variance for p in parts])),
    )
    at = min(4, horizon) - 1
    model, copy = errors.model[:, at], errors.copy[:, at]
    return {
        "horizon": at + 1,
        "nmse": float(errors.nmse()[at]),
        "nmse_interval": mean_interval(model / errors.variance),
        "ratio": float(errors.ratio()[at]),
        "ratio_interval": bootstrap(lambda i: model[i].mean() / copy[i].mean(), len(model)),
        "windows": len(model),
        "by_horizon": errors.by_horizon(),
    }


def as_dynamics(method: Method) -> Dynamics:
    """The method, which must keep the contract of dynamics.

    Raises:
        ConfigError: it does not.
    """
    if not isinstance(method, Dynamics):
        raise ConfigError(f"{type(method).__name__} has no start, step and latent: it is no world model to plan with")
    return method


def goal_latents(method: Method, statistics: Statistics, tasks: Tasks) -> Tensor:
    """The latents of the goals' images."""
    with torch.no_grad():
        image = statistics.prepare({"image": tasks.image})["image"]
        return torch.cat([method.encode({"image": part[:, None]}).x[:, -1] for part in image.split(256)])


def policy(method: Method, statistics: Statistics, run: Run, world: World, goal: Tensor) -> Receding:
    """A receding-horizon policy on the learned model; it sees images and its own past actions, never the state."""
    (data, planning), model = of_world(run), as_dynamics(method)
    mean, std = (torch.tensor(getattr(statistics, k)["action"]) for k in ("mean", "std"))

    def energy(context: Batch) -> Energy:
        seen = statistics.prepare({k: context[k] for k in ("image", "action")})
        with torch.no_grad():
            state = model.start(seen)
        latent = goal_energy(model, state, goal[context["index"]], planning.earlier_weight)
        return within(world, normalized(held(latent, data.frame_skip), mean, std))

    return Receding(planning.planner, energy, world.low, world.high, planning.execute, data.frame_skip, planning.seed)


def ceiling(run: Run, world: World, tasks: Tasks) -> Receding | None:
    """The same planner on the true dynamics, with the distance between states; None where a world has none to tell.

    Where a world tells what is left of the way `toward` its goals, such as around the walls of a maze, that is the
    distance.
    """
    data, planning = of_world(run)
    tell, toward = getattr(world, "dynamics", None), getattr(world, "toward", None)
    if tell is None:
        return None
    dynamics = tell() if toward is None else toward(tasks)
    goals = tasks.goal if toward is None else torch.zeros(len(tasks), 1)  # nothing is left of the way

    def energy(context: Batch) -> Energy:
        goal = goals[context["index"]]
        latent = goal_energy(dynamics, dynamics.start(context), goal, planning.earlier_weight)
        return within(world, held(latent, data.frame_skip))

    return Receding(planning.planner, energy, world.low, world.high, planning.execute, data.frame_skip, planning.seed)


def within(world: World, energy: Energy) -> Energy:
    """An energy that sees actions as the world would shorten them."""
    longest = getattr(world, "longest", None)
    return energy if longest is None else limited(energy, longest)


def plan_part(
    method: Method, statistics: Statistics, run: Run, kind: str, tell: Tell = silent
) -> tuple[Json, dict[str, np.ndarray]]:
    """What report.json says of planning to tasks of one kind, and the films: the model, random actions, true dynamics.

    difference: success of the model minus that of the true dynamics on the same tasks, with a paired interval.
    """
    data, planning = of_world(run)
    world: World = run.world.open(planning.goals)
    tasks = world.tasks(kind, planning.goals, planning.seed)
    history = int(getattr(method.config, "history", 1))

    def judged(who: object, label: str, film: range = range(0)) -> Outcome:
        tell(f"{kind.replace('_', ' ')}: {label}", 0, 0)
        return control(
            world, world.begin(tasks), who, lambda state: world.reached(state, tasks.goal), planning.budget,  # type: ignore[arg-type]
            data.frame_skip, history, film,
        )  # fmt: skip

    model = judged(
        policy(method, statistics, run, world, goal_latents(method, statistics, tasks)), "planning",
        range(min(planning.films, planning.goals)),
    )  # fmt: skip
    world.begin(tasks)
    wandering = judged(Scripted(world.wander(numbered(planning.goals, planning.seed), planning.budget)), "random")
    part: Json = {**model.row(), "random": wandering.row()["success"], "random_interval": wandering.row()["interval"]}
    best = ceiling(run, world, tasks)
    if best is not None:
        true = judged(best, "true dynamics")
        part |= {
            "true_dynamics": true.row()["success"],
            "true_dynamics_interval": true.row()["interval"],
            "difference": float(model.reached.double().mean() - true.reached.double().mean()),
            "difference_interval": paired_success(model.reached, true.reached),
        }
    return part, model.film(tasks.image, tasks.goal)


def harness(run: Run) -> Json:
    """What every planning number depends on, to be printed beside it."""
    data, planning = of_world(run)
    return {
        "world": {"name": type(run.world).__name__, **asdict(run.world)},
        "goal": "given as an image",
        "success": f"at any of {planning.budget} steps; at_end: after the last",
        "frame_skip": data.frame_skip,
        "planner": {"name": type(planning.planner).__name__, **asdict(planning.planner)},
        "execute": planning.execute,
        "earlier_weight": planning.earlier_weight,
        "goals": planning.goals,
        "seed": planning.seed,
    }


def save_films(folder: Path, films: dict[str, dict[str, np.ndarray]]) -> None:
    """Write episodes.npz: the filmed episodes of all kinds, one after another, with `task` naming each."""
    names = [kind for kind, film in films.items() for _ in range(len(film["success"]))]
    keys = next(iter(films.values())).keys()
    arrays = {key: np.concatenate([film[key] for film in films.values()]) for key in keys}
    np.savez_compressed(folder / "episodes.npz", **arrays, task=np.array(names))  # type: ignore[arg-type]
