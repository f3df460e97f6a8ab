"""What `armillary plan` does with a run that acts by itself: no planner; judged beside the same floors and ceiling."""

from __future__ import annotations

from dataclasses import asdict

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Method
from ..data.statistics import Statistics
from ..envs.tasks import Tasks, World
from ..errors import ConfigError
from ..planning.acting_policy import Acting, Acts, is_policy
from ..planning.windows import SEEN
from ..recipes.run import Json, Run
from ..types import Batch
from .worlds import of_world

OF_A_PLANNER = ("planner", "distance", "earlier_weight", "action_cost", "change_cost", "fast")  # words of the harness


def check(method: Method, for_planners: dict[str, object], ensemble: float | None) -> None:
    """Refuse flags that mean nothing: those of planners for a policy, averaging of chunks for a world model.

    for_planners: flags and their values; those that are not set are false.
    Raises:
        ConfigError: some are set.
    """
    name, given = type(method).__name__, [flag for flag, value in for_planners.items() if value]
    if is_policy(method) and given:
        raise ConfigError(f"{name} acts without a planner: leave {', '.join(given)} away")
    if ensemble is not None and not is_policy(method):
        raise ConfigError(f"{name} is planned with, and gives no chunks to be averaged: leave --ensemble away")


def policy(
    method: Acts, statistics: Statistics, run: Run, world: World, tasks: Tasks, ensemble: float | None
) -> Acting:
    """The run's method as a policy toward the goals' images, in the environment's units."""
    data, planning = of_world(run)
    mean, std = (torch.tensor(getattr(statistics, part)["action"]) for part in ("mean", "std"))
    goals = statistics.prepare({"image": tasks.image})["image"][:, None]  # [E, 1, C, h, w]

    def act(context: Batch) -> Float[Tensor, "E H k A"]:
        seen = statistics.prepare({name: context[name] for name in SEEN if name in context})
        chunk = method.act(seen, {"image": goals[context["index"]]})
        return chunk.unflatten(2, (data.frame_skip, len(mean))) * std + mean

    return Acting(act, world.low, world.high, planning.execute, ensemble)


def harness(told: Json, method: Method, run: Run, ensemble: float | None) -> Json:
    """What is told of planning, less what a policy has not got; its planner is only that of the true dynamics."""
    _, planning = of_world(run)
    kept = {name: value for name, value in told.items() if name not in OF_A_PLANNER}
    whose = {"name": type(planning.planner).__name__, **asdict(planning.planner)}
    averaged = "no" if ensemble is None else f"weights exp(-{ensemble:g} i), i = 0 the oldest"
    kept |= {"execute": planning.execute if ensemble is None else 1}
    return kept | {"policy": type(method).__name__, "chunks_averaged": averaged, "planner_of_true_dynamics": whose}
