"""Counted floating-point operations of training: what every contender of a comparison may spend the same amount of.

Counted are the products: matrix products, convolutions and attention, one multiplication and one addition each two,
forwards and backwards, the teacher's and the views' among them. Norms, activations, the optimizer, sampling of pixels
and the decoding of images are not; wall and CPU time, which include them, stand beside the count in every row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from ..contracts import build
from ..errors import ConfigError
from ..functional.schedule import progress
from ..randomness import Random
from ..recipes.run import Run
from ..training.distribute import objective
from ..training.feed import Dataset, feed, to
from ..training.precision import autocast, resolve
from ..types import Batch

COUNTED = 12  # steps counted in a round, spread over the schedule: masks are of another size in every step
ROUNDS, SURE = 8, 0.01  # rounds at most, until the mean's standard error is one percent of it

Shape = tuple[int, ...]


def _attention(query: Shape, key: Shape, value: Shape, *_: object, out_shape: object = None, **__: object) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    gradient: Shape, query: Shape, key: Shape, value: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# torch counts fused attention on GPUs and forgets the one on CPUs. As on GPUs, the backward pass is five products: the
# scores are computed anew.
FORMULAS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def counted(work: Callable[[], object]) -> int:
    """FLOPs of the products inside `work()`."""
    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        work()
    return counter.get_total_flops()


def per_step(
    run: Run, dataset: Dataset, device: torch.device | str = "cpu", steps: int = COUNTED, budget: float = math.inf
) -> float:
    """Mean FLOPs of the training steps of a run, by which every seed of it is trained later.

    Counted are rounds of `steps` steps that go through the whole schedule, because some methods change on the way,
    until the mean is known to about a percent (steps that are a matter of chance may leave it at three), or until it is
    clear that `budget` FLOPs do not pay one step.
    """
    found: list[int] = []
    for done in range(0, ROUNDS * steps, steps):
        found += _round(run, dataset, torch.device(device), range(done + 1, done + steps + 1))
        counts = torch.tensor(found, dtype=torch.float64)
        sure = steps < 2 or counts.std() <= SURE * counts.mean() * len(found) ** 0.5
        if sure or counts.min() > budget:
            break
    return float(counts.mean())


def _round(run: Run, dataset: Dataset, device: torch.device, steps: range) -> list[int]:
    """FLOPs of each of these steps, as if they were all that is trained.

    Each step is taken once before it is counted: tables that are made once and kept, e.g. of masks, are not counted.
    """
    method, precision = build(run.method).to(device).train(), resolve(run.loop.precision, device)
    model = objective(method)

    def energy(step: int, raw: Batch) -> Tensor:
        ready = dataset.prepare(to(raw, device))
        with autocast(precision, device):
            return model(ready, Random(0, step, ready["index"]))[0]

    def work(step: int, parts: list[Batch]) -> None:
        for raw in parts:
            energy(step, raw).backward()
        method.after_step(progress(step - steps.start + 1, len(steps), run.optim.stretch))

    found = []
    for step, parts in zip(steps, feed(dataset, run.batch, 0, steps, run.loop.accumulate), strict=True):
        with torch.no_grad():
            energy(step, parts[0])
        found.append(counted(partial(work, step, parts)))
        method.zero_grad(set_to_none=True)
    return found


def affordable(budget: float, cost: float, name: str, share: float = 1.0) -> int:
    """Steps that a share of `budget` FLOPs pays when one costs `cost`.

    Raises:
        ConfigError: not one.
    """
    steps = int(budget * share // cost) if cost > 0 else 0
    if steps < 1:
        of = f"{100 * share:g} % (a try's share) of a" if share < 1 else "a"
        raise ConfigError(
            f"{of} budget of {budget:.3g} FLOPs does not pay one step of {name}, which costs {cost:.3g}: give --budget "
            f"{1.06 * cost / share:.1e} at least, and some thousand times as much to learn something"
        )
    return steps
