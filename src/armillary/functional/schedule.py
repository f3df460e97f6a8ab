"""Learning rate, weight decay and progress as pure functions of the step: nothing to step, nothing to save.

Conventions, those of the released Meta code (facebookresearch/ijepa:src/utils/schedulers.py; also jepa and vjepa2):

- Steps count from 1, and step s uses the value at s: the released schedulers are stepped before the optimizer. So the
  first step is already one step into the warm-up.
- The warm-up lasts W steps, a number of *real* steps; at s = W the peak is reached. The schedule as a whole lasts
  stretch * steps (the released `ipe_scale`), so with stretch 1.25 training ends at 80 % of it.
- `progress`, from which methods compute momentum, counts from 0: the first update of a teacher uses the first momentum.
- Weight decay follows its cosine from the first step; the warm-up does not touch it.
"""

from __future__ import annotations

import math
from typing import Literal

Shape = Literal["cosine", "linear"]


def progress(step: int, steps: int, stretch: float = 1.0) -> float:
    """The share of the schedule that was done before `step` (1 is the first), in [0, 1): what `after_step` receives.

    Momentum m0 + (m1 - m0) * progress is the released EMA schedule, i = step - 1 over steps * ipe_scale.
    """
    return (step - 1) / (steps * stretch)


def line(ends: tuple[float, float], progress: float) -> float:
    """From the first of `ends` to the second in a line: the momentum of I-JEPA's teacher."""
    return ends[0] + (ends[1] - ends[0]) * progress


def half_cosine(ends: tuple[float, float], progress: float) -> float:
    """From the first of `ends` to the second along half a cosine: the momentum of BYOL's teacher."""
    return ends[1] - (ends[1] - ends[0]) * (1 + math.cos(math.pi * progress)) / 2


def learning_rate(
    step: int,
    steps: int,
    warmup: int,
    start: float,
    peak: float,
    final: float,
    stretch: float = 1.0,
    hold: int = 0,
    shape: Shape = "cosine",
) -> float:
    """The rate at `step`: from `start` in a line to `peak` over `warmup` steps, held for `hold`, then down to `final`.

    Cosine without hold is the schedule of I-JEPA, V-JEPA and V-JEPA 2; linear with a hold V-JEPA 2-AC's
    warm-up-stable-decay; linear without warm-up and hold V-JEPA 2's cool-down.

    Args:
        step: 1 to steps; `warmup` and `hold` are steps too.
        stretch: length of the whole schedule over the length of the training, 1 or more.
    """
    total = int(stretch * steps)
    if step < warmup:
        return start + step / max(1, warmup) * (peak - start)
    if step < warmup + hold:
        return peak
    done = min(1.0, (step - warmup - hold) / max(1, total - warmup - hold))
    if shape == "linear":
        return peak + done * (final - peak)
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * done))


def weight_decay(step: int, steps: int, first: float, final: float, stretch: float = 1.0) -> float:
    """The decay at `step`: half a cosine from `first` to `final` over the whole schedule."""
    done = min(1.0, step / int(stretch * steps))
    return final + (first - final) * 0.5 * (1.0 + math.cos(math.pi * done))
