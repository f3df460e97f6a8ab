"""Goal-conditioned behaviour cloning: what imitating the data reaches, the floor that planning has to beat.

An MLP maps what is seen now and the goal, both as latents of the run's own encoder, to the macro-action that the data
took there; any later frame of the same episode serves as the goal. Source: GCSL (1912.06088), one pass, without new
data. For the floor of papers it is kept small: no history beyond the model's own, no search over its settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import DataError, ShapeError, require
from ..randomness import numbered
from ..types import Batch


@dataclass(frozen=True)
class Cloning:
    """How the policy is fitted."""

    hidden: int = 256
    """width of the two hidden layers"""
    steps: int = 1500
    """optimizer steps"""
    batch: int = 256
    """pairs of a frame and a goal in a step"""
    rate: float = 1e-3
    """learning rate of AdamW; its cosine ends at 0"""

    def __post_init__(self) -> None:
        require(1, math.inf, hidden=self.hidden, steps=self.steps, batch=self.batch)
        require(1e-9, math.inf, rate=self.rate)


def fitted(
    seen: Sequence[Float[Tensor, "_T F"]],
    goals: Sequence[Float[Tensor, "_T D"]],
    actions: Sequence[Float[Tensor, "_U A"]],
    settings: Cloning = Cloning(),
    seed: int = 0,
) -> Callable[[Float[Tensor, "n F"], Float[Tensor, "n D"]], Float[Tensor, "n A"]]:
    """A network from (seen, goal) to the action, by mean squared error; a function of its inputs and the seed.

    Args:
        seen: of each episode, what the policy sees at each frame; goals: each frame as a goal. actions: [T - 1, A].
    Raises:
        DataError: no episode has two frames. ShapeError: an episode has not one action fewer than frames.
    """
    lengths = torch.tensor([len(part) for part in seen])
    if any(not len(x) == len(g) == len(a) + 1 for x, g, a in zip(seen, goals, actions, strict=True)):
        raise ShapeError("an episode of T frames needs T - 1 actions; give one between each two frames")
    if not len(lengths) or int(lengths.max()) < 2:
        raise DataError("no episode has an action; cloning needs episodes of 2 frames or more")
    x, g = torch.cat(list(seen)).float(), torch.cat(list(goals)).float()
    a = torch.cat([nn.functional.pad(part, (0, 0, 0, 1)) for part in actions]).float()
    place = torch.cat([torch.arange(int(n)) for n in lengths])
    left = lengths.repeat_interleave(lengths) - 1 - place  # frames that follow in the episode
    starts = (left > 0).nonzero().flatten()
    rows = numbered(settings.steps, seed)  # of numbers, one for each step
    drawn = rows.integers("cloning/frame", len(starts), settings.batch)
    later = rows.uniform("cloning/goal", settings.batch)

    def pairs() -> Pairs:
        for chosen, share in zip(drawn, later, strict=True):
            at = starts[chosen]
            ahead = 1 + (share * left[at]).long()
            yield x[at], g[at + ahead], a[at]

    return regressed(begun(x, g, a.shape[1], settings.hidden, seed), pairs(), settings)


Pairs = Iterator[tuple[Float[Tensor, "b F"], Float[Tensor, "b D"], Float[Tensor, "b A"]]]  # seen, goal, action


def begun(seen: Float[Tensor, "n F"], goal: Float[Tensor, "n D"], actions: int, hidden: int, seed: int) -> Network:
    """A new network for inputs that are spread like these, with the weights that `seed` gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(seen, goal, actions, hidden)


def regressed(network: Network, pairs: Pairs, settings: Cloning) -> Network:
    """The network after one optimizer step by mean squared error on each batch of pairs; `settings.steps` of them."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    with torch.enable_grad():
        for seen, goal, action in pairs:
            optimizer.zero_grad(set_to_none=True)
            nn.functional.mse_loss(network(seen, goal), action).backward()
            optimizer.step()
            schedule.step()
    return network.requires_grad_(False).eval()


class Network(nn.Module):
    """Two hidden layers on standardized inputs."""

    def __init__(self, seen: Tensor, goal: Tensor, actions: int, hidden: int) -> None:
        super().__init__()
        self.sizes = {"seen": seen.shape[1], "goal": goal.shape[1], "actions": actions, "hidden": hidden}
        both = [(part.mean(0), part.std(0, correction=0).clamp_min(1e-6)) for part in (seen, goal)]
        self.middle = nn.Parameter(torch.cat([mean for mean, _ in both]), requires_grad=False)
        self.spread = nn.Parameter(torch.cat([std for _, std in both]), requires_grad=False)
        self.layers = nn.Sequential(
            nn.Linear(len(self.middle), hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, actions),
        )  # fmt: skip

    def forward(self, seen: Float[Tensor, "n F"], goal: Float[Tensor, "n D"]) -> Float[Tensor, "n A"]:
        """The action for what is seen and the goal."""
        return self.layers((torch.cat([seen, goal], 1).float() - self.middle) / self.spread)


@dataclass(frozen=True)
class Cloned:
    """A cloned or distilled network as a policy: one macro-action for each context, inside the bounds.

    read: what a context shows, as the network was fitted. goal: of each episode. raw: macro-actions [n, A] as the
    network gives them to raw ones [n, frame_skip, A] in the environment's units.
    """

    network: Callable[[Float[Tensor, "n F"], Float[Tensor, "n D"]], Float[Tensor, "n A"]]
    read: Callable[[Batch], Float[Tensor, "n F"]]
    goal: Float[Tensor, "E D"]
    raw: Callable[[Float[Tensor, "n A"]], Float[Tensor, "n k a"]]
    low: Float[Tensor, " a"]
    high: Float[Tensor, " a"]

    def __call__(self, context: Batch, step: int, memory: object) -> tuple[Float[Tensor, "E n a"], object]:
        """The next macro-action; nothing is remembered."""
        with torch.no_grad():
            return self.act(self.read(context), self.goal[context["index"]]), None

    def act(self, seen: Float[Tensor, "n F"], goal: Float[Tensor, "n D"]) -> Float[Tensor, "n k a"]:
        """The macro-action for what is seen and the goal."""
        return self.raw(self.network(seen, goal)).clamp(self.low, self.high)
