"""Projectors and heads: maps behind an encoder."""

from __future__ import annotations

from torch import nn

from .norm import BatchNorm


def projector(width: int, hidden: int, out: int) -> nn.Sequential:
    """Linear, batch norm, GELU, linear: what SIGReg needs behind a transformer's final layer norm.

    Source: galilai-group/stable-worldmodel:wm/lewm/module.py (`MLP`), hidden 2048 there.
    """
    return nn.Sequential(nn.Linear(width, hidden), BatchNorm(hidden), nn.GELU(), nn.Linear(hidden, out))
