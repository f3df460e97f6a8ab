"""Projectors and heads: maps behind an encoder."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import nn

from .norm import BatchNorm

Last = Literal["linear", "norm", "plain norm"]


def projector(width: int, hidden: int, out: int) -> nn.Sequential:
    """Linear, batch norm, GELU, linear: what SIGReg needs behind a transformer's final layer norm.

    Source: galilai-group/stable-worldmodel:wm/lewm/module.py (`MLP`), hidden 2048 there.
    """
    return nn.Sequential(nn.Linear(width, hidden), BatchNorm(hidden), nn.GELU(), nn.Linear(hidden, out))


def mlp(widths: tuple[int, ...], last: Last = "linear", bias: bool = True) -> nn.Sequential:
    """Linear maps from width to width with batch norm and ReLU between them: projectors and predictors of two views.

    last: what ends it: the linear map alone, a batch norm, or one without scale and shift ("plain norm"). bias: whether
    the last map has one where no norm follows; maps before a norm have none, as it would be subtracted again.
    """
    layers: list[nn.Module] = []
    for before, width in pairwise(widths[:-1]):
        layers += [nn.Linear(before, width, bias=False), BatchNorm(width), nn.ReLU()]
    layers += [nn.Linear(widths[-2], widths[-1], bias=bias and last == "linear")]
    if last != "linear":
        layers += [BatchNorm(widths[-1], affine=last == "norm")]
    return nn.Sequential(*layers)
