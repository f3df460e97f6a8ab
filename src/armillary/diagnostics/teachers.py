"""How far a teacher is from what it follows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..nn.teacher import EMA


@torch.no_grad()
def teacher_gap(method: nn.Module) -> float | None:
    """|teacher - source| / |source| over the weights of every teacher and the module it averages; None without one.

    0 right after a copy; a teacher that follows stays within a few percent, one that is frozen or runs away does not.
    The source is the module of the method, outside its teachers, whose parameters have the same names and shapes.
    """
    teachers = [part for part in method.modules() if isinstance(part, EMA)]
    inside = {id(module) for teacher in teachers for module in teacher.modules()}
    apart, size = 0.0, 0.0
    for teacher in teachers:
        own = dict(teacher.module.named_parameters())
        shape = {name: p.shape for name, p in own.items()}
        for module in method.modules():
            theirs = dict(module.named_parameters()) if id(module) not in inside else {}
            if theirs and {name: p.shape for name, p in theirs.items()} == shape:
                mine: list[Tensor] = list(own.values())
                source: list[Tensor] = [theirs[name] for name in own]
                apart += sum(float(n) ** 2 for n in torch._foreach_norm(torch._foreach_sub(mine, source)))
                size += sum(float(n) ** 2 for n in torch._foreach_norm(source))
                break
    return (apart / size) ** 0.5 if size else None
