"""The optimizer over two groups of parameters, and its schedules."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ..errors import ConfigError, require
from ..functional.schedule import Shape, learning_rate, weight_decay
from .lars import LARS


@dataclass(frozen=True)
class Optim:
    """AdamW, SGD or LARS with a warm-up and a decay of the rate, and a weight decay that may change over the run."""

    lr: float = 1e-3
    """learning rate at the end of the warm-up"""
    start_lr: float = 0.0
    """learning rate from which the warm-up starts"""
    final_lr: float = 0.0
    """learning rate at the end of the schedule"""
    warmup: float = 0.1
    """share of the steps that the warm-up takes"""
    hold: float = 0.0
    """share of the steps at the full rate after the warm-up"""
    shape: Shape = "cosine"
    """how the rate falls"""
    weight_decay: float = 0.05
    """weight decay at the beginning"""
    final_weight_decay: float = 0.05
    """weight decay at the end of the schedule"""
    betas: tuple[float, float] = (0.9, 0.999)
    """decay of the averages of the gradient and of its square"""
    eps: float = 1e-8
    """added to the root of the average square"""
    clip: float = 0.0
    """largest norm of the gradient; 0 does not clip"""
    stretch: float = 1.0
    """length of the schedules over the length of the training (the released code's ipe_scale)"""
    decay_mask_token: bool = False
    """also decay mask tokens, as the released I-JEPA does"""
    kind: Literal["adamw", "sgd", "lars"] = "adamw"
    """AdamW; gradient descent with momentum; or LARS, the same with steps scaled by the norm of each weight"""
    momentum: float = 0.9
    """of SGD and LARS"""
    trust: float = 0.001
    """of LARS: norm of a step over the norm of its weight, at learning rate 1"""

    def __post_init__(self) -> None:
        if min(self.warmup, self.hold) < 0 or self.warmup + self.hold > 1 or self.stretch < 1:
            raise ConfigError(
                f"warmup {self.warmup}, hold {self.hold}, stretch {self.stretch}: warmup and hold are shares of the "
                "steps whose sum is at most 1, stretch is 1 or more"
            )
        names = ("lr", "start_lr", "final_lr", "weight_decay", "final_weight_decay", "clip", "trust")
        require(0, math.inf, **{name: getattr(self, name) for name in names})
        require(sys.float_info.min, 1, eps=self.eps)
        require(0, 1 - sys.float_info.epsilon, betas=self.betas, momentum=self.momentum)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of `step` (1 to steps)."""
        # Rounded: 40 of 300 epochs are a share whose product with the steps may fall just short of a whole number.
        warmup, hold = round(self.warmup * steps), round(self.hold * steps)
        return learning_rate(step, steps, warmup, self.start_lr, self.lr, self.final_lr, self.stretch, hold, self.shape)

    def decay(self, step: int, steps: int) -> float:
        """The weight decay of `step` (1 to steps)."""
        return weight_decay(step, steps, self.weight_decay, self.final_weight_decay, self.stretch)


def decays(name: str, parameter: nn.Parameter, decay_mask_token: bool = False) -> bool:
    """Whether weight decay applies: not to biases, norms and scales, nor to mask tokens unless asked for."""
    if name.endswith("mask_token"):
        return decay_mask_token  # (1, 1, D) in the released code, a vector here
    return parameter.ndim > 1 and not name.endswith("bias")


def optimizer_of(module: nn.Module, optim: Optim) -> torch.optim.Optimizer:
    """The optimizer over what trains in `module`: group 0 has weight decay, group 1 has none and LARS leaves it as is.

    Raises:
        ConfigError: nothing trains.
    """
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not named:
        raise ConfigError(
            f"{type(module).__name__} has no parameter that requires a gradient: there is nothing to train"
        )
    split = {True: [], False: []}
    for name, p in named:
        split[decays(name, p, optim.decay_mask_token)].append(p)
    groups = [{"params": split[True]}, {"params": split[False], "weight_decay": 0.0}]
    if optim.kind == "sgd":
        return torch.optim.SGD(groups, optim.lr, optim.momentum, weight_decay=optim.weight_decay, foreach=True)
    if optim.kind == "lars":
        groups[1]["adapt"] = False
        return LARS(groups, optim.lr, optim.weight_decay, optim.momentum, optim.trust)
    return torch.optim.AdamW(
        groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, weight_decay=optim.weight_decay, fused=True
    )


def schedule(optimizer: torch.optim.Optimizer, optim: Optim, step: int, steps: int) -> tuple[float, float]:
    """Set learning rate and weight decay of `step` in the optimizer, and return both."""
    rate, decay = optim.rate(step, steps), optim.decay(step, steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.param_groups[0]["weight_decay"] = decay
    return rate, decay
