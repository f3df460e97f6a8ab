"""Contiguous runs along a chain of points: the views of Point-JEPA."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ConfigError
from ..randomness import Random
from ..types import Masks, Range, gather


@torch.no_grad()
def nearest_chain(centers: Float[Tensor, "B G 3"]) -> Int[Tensor, "B G"]:
    """An order of the centres in which each is the nearest unused one to the last; it starts at the smallest x+y+z.

    Source: Point-JEPA (arXiv 2404.16432), section 3.2; released option `iterative_nearest_min_start`.
    """
    gap = (centers[:, :, None] - centers[:, None]).square().sum(-1)
    row = torch.arange(len(centers), device=centers.device)
    order = [centers.sum(-1).argmin(1)]
    for _ in range(centers.shape[1] - 1):
        gap[row, :, order[-1]] = torch.inf
        order.append(gap[row, order[-1]].argmin(-1))
    return torch.stack(order, 1)


def runs(
    count: int,
    random: Random,
    targets: int = 4,
    target_ratio: Range = (0.15, 0.2),
    context_ratio: Range = (0.4, 0.75),
) -> Masks:
    """Runs of consecutive places of a chain: `targets` runs to predict, one run of the remaining places to see.

    Lengths are functions of (seed, step), starts are drawn per sample. Target runs may overlap; the context is a run in
    the list of the places that no target holds. The number of context places is a ratio of the smallest remainder that
    is possible, so it is the same for all samples.

    Returns:
        Places in the chain: context [B, K], targets [B, M, Kt].
    Raises:
        ConfigError: the targets may leave no context.
    Source: Point-JEPA (arXiv 2404.16432), section 3.3. The released code draws one set for the whole batch and takes
        the context ratio of that set's remainder, see `shared_runs`.
    """
    draw = torch.rand(2, generator=random.shared("runs")).tolist()
    length = max(1, int(count * (target_ratio[0] + (target_ratio[1] - target_ratio[0]) * draw[0])))
    remainder = count - targets * length
    if remainder < 1:
        raise ConfigError(
            f"{targets} targets of {length} places may leave no context among {count}; use fewer or shorter targets"
        )
    start = random.integers("runs/target", count - length + 1, targets)
    wanted = start[..., None] + torch.arange(length, device=start.device)  # [B, M, Kt]
    taken = torch.zeros(len(start), count, dtype=torch.bool, device=start.device).scatter_(1, wanted.flatten(1), True)
    free = count - taken.sum(1)  # [B], at least `remainder`
    mean_free = max(remainder, round(count * (1 - length / count) ** targets))
    kept = max(1, int(mean_free * (context_ratio[0] + (context_ratio[1] - context_ratio[0]) * draw[1])))
    kept = min(kept, remainder)
    first = (random.uniform("runs/context") * (free - kept + 1)).long()
    chain = taken.to(torch.uint8).argsort(dim=1, stable=True)  # free places first, in order
    context = chain.gather(1, first[:, None] + torch.arange(kept, device=start.device))
    return Masks(context, wanted)


def shared_runs(
    count: int,
    batch: int,
    generator: torch.Generator,
    targets: int = 4,
    target_ratio: Range = (0.15, 0.2),
    context_ratio: Range = (0.4, 0.75),
) -> Masks:
    """The released Point-JEPA sampler: one draw of places for the whole batch.

    Source: Ayumu-J-S/Point-JEPA:pointjepa/modules/context_sampler.py and target sampler, statistics at c36b51c.
    """

    def uniform(low_high: Range) -> float:
        return low_high[0] + (low_high[1] - low_high[0]) * torch.rand((), generator=generator).item()

    length = max(1, int(count * uniform(target_ratio)))
    start = torch.randint(0, count - length + 1, (targets, 1), generator=generator)
    wanted = start + torch.arange(length)
    free = torch.ones(count, dtype=torch.bool).index_fill(0, wanted.flatten(), False).nonzero().squeeze(1)
    if not len(free):
        raise ConfigError(f"{targets} targets of {length} places left no context among {count}; use fewer or shorter")
    kept = max(1, int(len(free) * uniform(context_ratio)))
    first = int(torch.randint(0, len(free) - kept + 1, (), generator=generator))
    context = free[first : first + kept]
    return Masks(context.expand(batch, -1), wanted.expand(batch, -1, -1))


def along(chain: Int[Tensor, "B G"], masks: Masks) -> Masks:
    """Masks over places of a chain as masks over the tokens that stand there."""
    order = chain.unsqueeze(-1)
    return Masks(gather(order, masks.context).squeeze(-1), gather(order, masks.targets).squeeze(-1))
