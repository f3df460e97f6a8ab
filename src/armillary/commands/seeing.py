"""A trained model in the world of its run, and what it sees there: images and its own past actions, never the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..contracts import Dynamics, Method
from ..data.episodes import Episodes
from ..data.statistics import Statistics
from ..envs.apart import FAULTS, Apart
from ..envs.gym import Gym
from ..envs.tasks import Tasks, World
from ..planning.control import STACKED
from ..planning.fast import folded
from ..planning.readout import flat
from ..planning.settings import Planning
from ..planning.windows import SEEN, observed, stacked
from ..recipes.run import Run
from ..types import Batch
from .worlds import as_dynamics, of_world


@dataclass(frozen=True)
class Actor:
    """A trained model that acts. step_seconds: that a world may take for a step, 0 without limit."""

    method: Method
    statistics: Statistics
    run: Run
    step_seconds: float = 0.0

    @property
    def data(self) -> Episodes:
        """How its episodes are read."""
        return of_world(self.run)[0]

    @property
    def planning(self) -> Planning:
        """How it plans and is judged."""
        return of_world(self.run)[1]

    @property
    def history(self) -> int:
        """Frames that the model sees."""
        return int(getattr(self.method.config, "history", 1))

    def model(self, fast: bool = False) -> Dynamics[Any]:
        """Its dynamics. fast: with folded weights, where it offers them; the same up to rounding."""
        model = as_dynamics(self.method)
        return folded(model) if fast else model

    def open(self, count: int) -> World:
        """The run's worlds, each apart where they are not ours, or where a step has a time limit."""
        rules = self.run.world
        if not isinstance(rules, Gym) and self.step_seconds <= 0:
            return rules.open(count)
        return Apart([lambda: cast(World, rules.open(1))] * count, self.step_seconds or None, faults())

    def seen(self, context: Batch) -> Batch:
        """What the model gets of a context."""
        return self.statistics.prepare({name: context[name] for name in (*SEEN, "action") if name in context})

    def goals(self, image: UInt8[Tensor, "E C h w"]) -> Float[Tensor, "E *L D"]:
        """The latents of goals' images, as the dynamics make them of a single frame."""
        with torch.no_grad():
            frames = self.statistics.prepare({"image": image})["image"][:, None]
            none = frames.new_zeros(len(frames), 0, int(getattr(self.method.config, "action", 1)))
            return observed(self.model(), {"image": frames, "action": none}, rows=256)[:, 0]

    def sight(self, tasks: Tasks) -> tuple[Callable[[Batch], Float[Tensor, "E F"]], Float[Tensor, "E D"]]:
        """What a policy without a search sees: latents of a context's last frames, and of the goals' images."""
        model = self.model()

        def read(context: Batch) -> Tensor:
            now = self.seen(context)
            if self.history == 1:  # the same with a third less overhead, which is much of a policy's time in one world
                return flat(model.latent(model.start(now)))
            return stacked(observed(model, now), self.history)[:, -1]

        return read, flat(self.goals(tasks.image))

    def first(self, world: World, tasks: Tasks) -> Batch:
        """The context in which tasks begin: one frame, no action."""
        now = world.begin(tasks)
        none = torch.zeros(len(tasks), 0, self.data.frame_skip * len(world.low))
        return {**now, **{name: now[name][:, None] for name in STACKED if name in now}, "action": none}


def faults() -> tuple[type[BaseException], ...]:
    """What an environment of others may throw."""
    import gymnasium

    return (*FAULTS, gymnasium.error.Error)
