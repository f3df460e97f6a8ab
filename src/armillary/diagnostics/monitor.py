"""The radar for any training loop: three lines in a program of your own."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import CollapseError, ConfigError, ShapeError
from ..types import Forecast, Tokens
from .radar import Alarm, Radar
from .reading import Reading, read

log = logging.getLogger("armillary.diagnostics")


class Monitor:
    """Reads embeddings now and then, and says when they collapse.

        monitor = Monitor(every=50)
        for step, batch in enumerate(loader):
            ...
            monitor(step, lambda: model(same_inputs))    # the same inputs each time; called when it is due only
        monitor.verdict    # "healthy", or what is wrong

    Args:
        every: steps from one reading to the next. time: the middle axis of [n, N, D] is time, not places. stop: raise
            instead of warning.
    Raises:
        ConfigError: `every` is not positive.
    """

    def __init__(self, every: int = 1, time: bool = False, stop: bool = False):
        if every < 1:
            raise ConfigError(f"every is {every}: at least 1 step lies between readings")
        self.every, self.time, self.stop, self.radar = every, time, stop, Radar()

    @property
    def verdict(self) -> str:
        """The state at the last reading: "healthy", or what is wrong."""
        return self.radar.verdict

    @property
    def reading(self) -> Reading | None:
        """The last reading, with its numbers and spectrum."""
        return self.radar.history[-1] if self.radar.history else None

    def __call__(
        self,
        step: int,
        embeddings: Tensor | Tokens | Callable[[], Tensor | Tokens],
        predicted: Float[Tensor, "m E"] | None = None,
        target: Float[Tensor, "m E"] | None = None,
        **more: float | None,
    ) -> list[Alarm]:
        """Take a reading if one is due, and return the alarms that it raises; each is logged as a warning.

        embeddings: [n, D] one per input, or [n, N, D] tokens, on any device, or a function that gives them. predicted,
        target: what the predictor said and what was true, rows alike. more: numbers of your own, e.g. teacher_gap.
        Raises:
            CollapseError: with `stop`, an alarm.
            ShapeError: other axes, fewer than 2 inputs, or one of predicted and target alone.
        """
        if step % self.every:
            return []
        with torch.no_grad():
            given = embeddings() if callable(embeddings) else embeddings
        if (predicted is None) != (target is None):
            raise ShapeError("predicted and target belong together: give both, or neither")
        forecast = None if predicted is None or target is None else Forecast(predicted.detach(), target.detach())
        raised = self.radar.add(read(_tokens(given, self.time), forecast, step, **more))
        if raised and self.stop:
            raise CollapseError("; ".join(alarm.sentence() for alarm in raised))
        for alarm in raised:
            log.warning("step %s: %s", f"{step:,}", alarm.sentence())
        return raised


def _tokens(given: Tensor | Tokens, time: bool) -> Tensor | Tokens:
    if isinstance(given, Tokens):
        return given
    given = given.detach()
    if given.ndim == 2:
        return given
    if given.ndim != 3:
        raise ShapeError(f"embeddings of shape {tuple(given.shape)}: give [n, D], or tokens [n, N, D]")
    return as_tokens(given, time)


def as_tokens(x: Float[Tensor, "n N D"], time: bool = False) -> Tokens:
    """Tokens without known coordinates: numbered, along time or as places of a grid."""
    number = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)[None, :, None]
    return Tokens(x, number.expand(len(x), -1, 1 if time else 2))
