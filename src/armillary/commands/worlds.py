"""What the commands of world models share: collecting, rollout errors, the ceiling of planning, films."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..contracts import Dynamics, Energy, Method
from ..data.episodes import EpisodeDataset, Episodes, EpisodeWriter
from ..data.store import open_columns
from ..envs.tasks import Tasks, World
from ..errors import ConfigError
from ..functional.statistics import bootstrap, mean_interval, paired_mean
from ..planning.acting_policy import Viewed, is_policy
from ..planning.energies import goal_energy
from ..planning.errors_by_horizon import RolloutErrors, rollout_errors
from ..planning.policies import Receding
from ..planning.rollout import held, limited
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


def reachable(run: Run) -> tuple[Episodes, Planning]:
    """As `of_world`, of a run in whose world there are goals.

    Raises:
        ConfigError: as `of_world`, or there is nothing to reach.
    """
    found = of_world(run)
    if getattr(run.world, "kinds", None) == ():
        raise ConfigError(
            f"{type(run.world).__name__} has nothing to reach: `armillary plan RUN --offline` tells how rollouts hold"
        )
    return found


def collect(run: Run, episodes: int, steps: int, seed: int, tell: Tell = silent) -> None:
    """Write `episodes` episodes of `steps` random actions in the run's world into the folder of its data.

    What fixes a world for an episode, such as where its wall stands, is kept as the column `layout`, the same in every
    frame: goals can then be taken from the episodes.
    """
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
            frames, states, layout = [seen["image"]], [seen["state"]], layout_of(seen)
            for action in actions.unbind(1):
                seen = world.step(action)[0]
                frames.append(seen["image"])
                states.append(seen["state"])
            batch = {"image": torch.stack(frames, 1), "action": actions, "state": torch.stack(states, 1)}
            if layout is not None and layout.shape[1]:
                batch["layout"] = layout[:, None].expand(-1, steps + 1, -1)
            writer.append(batch)
            tell("collecting episodes", first + count, episodes)


def layout_of(observation: Batch) -> Tensor | None:
    """What fixes each world for an episode, [E, L]; None where the world tells nothing of the kind."""
    return observation.get("layout", observation.get("wall"))


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
    longer = dataset.windows(history + horizon)
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
        "shuffled_difference_interval": paired_mean(errors.shuffled[:, at], model),
        "windows": len(model),
        "by_horizon": errors.by_horizon(),
    }


def as_dynamics(method: Method) -> Dynamics:
    """The method, which must keep the contract of dynamics; of a policy the latents of frames alone.

    Raises:
        ConfigError: it is neither.
    """
    if is_policy(method):
        return Viewed(method)  # type: ignore[arg-type]
    if not isinstance(method, Dynamics):
        raise ConfigError(f"{type(method).__name__} has no start, step and latent: it is no world model to plan with")
    return method


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

    def energy(context: Batch) -> Energy:
        state = dynamics.start(context)
        goal = tasks.goal[context["index"]] if toward is None else torch.zeros_like(dynamics.latent(state))
        return within(world, held(goal_energy(dynamics, state, goal, planning.earlier_weight), data.frame_skip))

    return Receding(planning.planner, energy, world.low, world.high, planning.execute, data.frame_skip, planning.seed)


def within(world: World, energy: Energy) -> Energy:
    """An energy that sees actions as the world would shorten them."""
    longest = getattr(world, "longest", None)
    return energy if longest is None else limited(energy, longest)


def save_films(folder: Path, films: dict[str, dict[str, np.ndarray]]) -> None:
    """Write episodes.npz: the filmed episodes of all kinds, one after another, with `task` naming each."""
    names = [kind for kind, film in films.items() for _ in range(len(film["success"]))]
    keys = next(iter(films.values())).keys()
    arrays = {key: np.concatenate([film[key] for film in films.values()]) for key in keys}
    np.savez_compressed(folder / "episodes.npz", **arrays, task=np.array(names))  # type: ignore[arg-type]
