"""Several processes: started by torchrun, one batch shared among them, one gradient, one writer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..contracts import Method
from ..parallel import ranks
from ..randomness import Random
from ..types import Batch, Terms


@contextlib.contextmanager
def processes() -> Iterator[torch.device]:
    """Join the other processes if torchrun started this one, leave them at the end; gives the device of this process.

    NCCL where there are GPUs (each process takes the one of its local rank), gloo on CPUs.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = (
        torch.device("cuda", local % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
    )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield device
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


class Objective(nn.Module):
    """The method's energy as a forward pass, which is what DistributedDataParallel watches."""

    def __init__(self, method: Method):
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, random: Random) -> tuple[Float[Tensor, ""], Terms]:
        """The energy, and its terms."""
        terms = self.method.loss(batch, random)
        return self.method.energy(terms), terms


def objective(method: Method) -> Objective | DistributedDataParallel:
    """The objective; its gradient is averaged over ranks where there are several.

    Buffers are not broadcast: statistics over all ranks are equal already, because the method computes them so.
    """
    alone = Objective(method)
    return DistributedDataParallel(alone, broadcast_buffers=False) if ranks() > 1 else alone


def last_only(module: nn.Module, last: bool) -> contextlib.AbstractContextManager:
    """Around the passes of a micro-batch: gradients are exchanged in the last one only."""
    return contextlib.nullcontext() if last or not isinstance(module, DistributedDataParallel) else module.no_sync()


def averaged(numbers: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The mean over ranks, so that all decide alike; NaN and infinity on one rank are seen by all."""
    if ranks() > 1:
        dist.all_reduce(numbers)
        numbers /= ranks()
    return numbers


def from_first(number: int, device: torch.device) -> int:
    """What rank 0 says."""
    if ranks() == 1:
        return number
    told = torch.tensor(number, device=device)
    dist.broadcast(told, 0)
    return int(told)
