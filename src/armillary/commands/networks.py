"""Networks that act without a search: the clone of the data, the distilled planner, and the plan that it proposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..contracts import Dynamics
from ..envs.tasks import Tasks, World
from ..planning.cloning import Cloned
from ..planning.distilling import Imagined, Proposed, Scale
from ..types import Batch
from .seeing import Actor

Network = Callable[[Float[Tensor, "n F"], Float[Tensor, "n D"]], Float[Tensor, "n A"]]  # of what is seen, and the goal


def cloned(actor: Actor, network: Network, world: World, tasks: Tasks) -> Cloned:
    """The cloned policy toward the goals' images."""
    mean, std = actor.statistics.tensors("action")

    def raw(action: Tensor) -> Tensor:
        return action.unflatten(1, (actor.data.frame_skip, len(mean))) * std + mean

    return Cloned(network, *actor.sight(tasks), raw, world.low, world.high)


def distilled(actor: Actor, network: Network, world: World, tasks: Tasks) -> Cloned:
    """The distilled policy toward the goals' images."""
    return Cloned(network, *actor.sight(tasks), scale(actor, world).raw, world.low, world.high)


def scale(actor: Actor, world: World) -> Scale:
    """How a distilled policy gives actions of the world."""
    longest = getattr(world, "longest", None)
    return Scale(world.low, world.high, actor.data.frame_skip, float("inf") if longest is None else longest)


def proposed(actor: Actor, model: Dynamics[Any], network: Network, world: World, tasks: Tasks) -> Proposed:
    """The distilled policy's plan on the predictions of `model`."""
    student = distilled(actor, network, world, tasks)
    return Proposed(student, imagined(actor, model, student.read), actor.planning.planner.horizon)


def imagined(actor: Actor, model: Dynamics[Any], read: Callable[[Batch], Tensor]) -> Imagined:
    """What a policy that reads contexts so would see on the predictions of `model`."""

    def modeled(action: Tensor) -> Tensor:
        return actor.statistics.normalize("action", action.flatten(1))

    return Imagined(model, read, actor.seen, modeled)
