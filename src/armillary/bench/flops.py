"""Counted floating-point operations of training: what every contender of a comparison may spend the same amount of.

Counted are the products: matrix products, convolutions and attention, one multiplication and one addition each two,
forwards and backwards, the teacher's and the views' among them. Norms, activations, the optimizer, sampling of pixels
and the decoding of images are not; wall and CPU time, which include them, stand beside the count in every row.
"""

from __future__ import annotations

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

COUNTED = 12  # steps whose mean is taken: masks are of another size in every step

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


def per_step(run: Run, dataset: Dataset, device: torch.device | str = "cpu", steps: int = COUNTED) -> float:
    """Mean FLOPs of the first training steps of a run, by which every seed of it is trained later.

    Each step is taken once before it is counted: tables that are made once and kept, e.g. of masks, are not counted.
    """
    device = torch.device(device)
    method, precision = build(run.method).to(device).train(), resolve(run.loop.precision, device)
    model, total = objective(method), 0

    def energy(step: int, raw: Batch) -> Tensor:
        ready = dataset.prepare(to(raw, device))
        with autocast(precision, device):
            return model(ready, Random(0, step, ready["index"]))[0]

    def work(step: int, parts: list[Batch]) -> None:
        for raw in parts:
            energy(step, raw).backward()
        method.after_step(progress(step, steps, run.optim.stretch))

    for step, parts in enumerate(feed(dataset, run.batch, 0, range(1, steps + 1), run.loop.accumulate), 1):
        with torch.no_grad():
            energy(step, parts[0])
        total += counted(partial(work, step, parts))
        method.zero_grad(set_to_none=True)
    return total / steps


def affordable(budget: float, cost: float, name: str) -> int:
    """Steps that `budget` FLOPs pay when one costs `cost`.

    Raises:
        ConfigError: not one.
    """
    steps = int(budget // cost) if cost > 0 else 0
    if steps < 1:
        raise ConfigError(
            f"a budget of {budget:.3g} FLOPs does not pay one step of {name}, which costs {cost:.3g}: give --budget "
            f"{cost:.1g} at least, and some thousand times as much to learn something"
        )
    return steps
