"""Worlds kept apart: each is opened and stepped alone, so that one which throws or hangs ends its own episode only.

Needed for environments of others. Our own are tensors, which neither throw nor hang, and are faster together.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..randomness import Random
from ..types import Batch
from .tasks import Tasks, World

FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NameError, OSError, RuntimeError,
          TypeError, ValueError)  # fmt: skip
OPENING = 120.0  # seconds that a world may take to open where there is a limit: imports and renderers take long


class Late(RuntimeError):
    """A world did not answer in time."""


class Apart:
    """Worlds of one episode each, side by side; keeps the contract of worlds.

    A world that fails stays as it was last seen, and its state becomes NaN, which marks its episode as failed.
    failures: why, by the number of the world; `begin` and `reset` try again with those that only threw.

    Args:
        openers: open a world of one episode each.
        seconds: that a step or reset may take, None for no limit. With a limit each world lives in a thread of its own;
            one that hangs is abandoned with it, since Python cannot end a thread.
        faults: exceptions that count as a failure of the world; others are raised.
    Raises:
        ConfigError: no openers, or a limit that is not above 0. What an opener raises.
    """

    def __init__(
        self, openers: Sequence[Callable[[], World]], seconds: float | None = None,
        faults: tuple[type[BaseException], ...] = FAULTS,
    ) -> None:  # fmt: skip
        if not openers or (seconds is not None and not seconds > 0):
            raise ConfigError(f"{len(openers)} worlds with a limit of {seconds} s; give 1 or more, and a time above 0")
        self.seconds, self.faults, self.failures = seconds, (*faults, Late), dict[int, str]()
        self.calls = [_direct if seconds is None else _Thread() for _ in openers]
        limit = OPENING if seconds is None else max(OPENING, seconds)
        self.parts: list[Any] = [call(open_, limit) for call, open_ in zip(self.calls, openers, strict=True)]
        first = self.parts[0]
        self.count, self.kinds, self.low, self.high = len(self.parts), first.kinds, first.low, first.high
        self.longest = getattr(first, "longest", None)
        self.last: list[Batch | None] = [None] * self.count

    def reset(self, seed: int) -> Batch:
        """New episodes; that of world i is the one of `seed` + i alone."""
        return self._begun([lambda i=i: self.parts[i].reset(seed + i) for i in range(self.count)])

    def begin(self, tasks: Tasks) -> Batch:
        """World i at the start of task i.

        Raises:
            ShapeError: not one task per world.
        """
        if len(tasks) != self.count:
            raise ShapeError(f"{len(tasks)} tasks for {self.count} worlds; give each world one")
        rows = [Tasks(*(getattr(tasks, f.name)[i : i + 1] for f in fields(Tasks))) for i in range(self.count)]
        return self._begun([lambda i=i: self.parts[i].begin(rows[i]) for i in range(self.count)])

    def step(
        self, action: Float[Tensor, "B A"]
    ) -> tuple[Batch, Float[Tensor, " B"], Bool[Tensor, " B"], Bool[Tensor, " B"]]:
        """Observations after one action; reward, terminated, truncated: 0, yes and no where a world has failed."""
        rest = [(torch.zeros(1), torch.ones(1, dtype=torch.bool), torch.zeros(1, dtype=torch.bool))] * self.count
        for i in range(self.count):
            answer = self._asked(i, lambda i=i: self.parts[i].step(action[i : i + 1]))
            if answer is not None:
                self.last[i], *more = answer
                rest[i] = (more[0], more[1], more[2])
        reward, terminated, truncated = (torch.cat(column) for column in zip(*rest, strict=True))
        return self._seen(), reward, terminated, truncated

    def tasks(self, kind: str, count: int, seed: int) -> Tasks:
        """Tasks, made in world 0, which has to begin anew afterwards."""
        return self.calls[0](lambda: self.parts[0].tasks(kind, count, seed), None)

    def reached(self, state: Float[Tensor, "E S"], goal: Float[Tensor, "E S"]) -> Bool[Tensor, " E"]:
        """Whether each state meets its goal."""
        return self.parts[0].reached(state, goal)

    def wander(self, random: Random, steps: int) -> Float[Tensor, "B T A"]:
        """Smooth random actions from where each world is now; zeros where it has failed."""
        parts = []
        for i in range(self.count):
            own = Random(random.seed, random.step, random.sample[i : i + 1])
            answer = self._asked(i, lambda i=i, own=own: self.parts[i].wander(own, steps))
            parts.append(torch.zeros(1, steps, len(self.low)) if answer is None else answer)
        return torch.cat(parts)

    def _begun(self, calls: Sequence[Callable[[], Batch]]) -> Batch:
        self.failures = {i: why for i, why in self.failures.items() if isinstance(self.calls[i], _Thread) and
                         self.calls[i].hung}  # fmt: skip
        self.last = [None] * self.count
        for i, call in enumerate(calls):
            self.last[i] = self._asked(i, call)
        return self._seen()

    def _asked(self, i: int, call: Callable[[], Any]) -> Any:
        """What world i answers, None where it has failed before or does now."""
        if i in self.failures:
            return None
        try:
            return self.calls[i](call, self.seconds)
        except self.faults as error:
            self.failures[i] = f"{type(error).__name__}: {error}"
            return None

    def _seen(self) -> Batch:
        like = next((part for part in self.last if part is not None), None)
        if like is None:
            raise ConfigError(f"none of {self.count} worlds could begin; the first: {self.failures[0]}")
        rows = [{k: torch.zeros_like(v) for k, v in like.items()} if part is None else dict(part) for part in self.last]
        for i in self.failures:
            rows[i]["state"] = torch.full_like(rows[i]["state"], torch.nan)
        return {k: torch.cat([row[k] for row in rows]) for k in like} | {"index": torch.arange(self.count)}


def _direct(call: Callable[[], Any], seconds: float | None) -> Any:
    return call()


class _Thread:
    """Calls in one thread of its own, in which a renderer's context stays valid; `Late` where an answer takes long."""

    def __init__(self) -> None:
        self.asked: queue.Queue[Callable[[], Any]] = queue.Queue()
        self.answers: queue.Queue[tuple[bool, Any]] = queue.Queue()
        self.hung = False
        threading.Thread(target=self._run, daemon=True).start()

    def __call__(self, call: Callable[[], Any], seconds: float | None) -> Any:
        """The answer of the call, or what it raised."""
        if self.hung:
            raise Late("the world has not answered before")
        self.asked.put(call)
        try:
            worked, value = self.answers.get(timeout=seconds)
        except queue.Empty:
            self.hung = True
            raise Late(f"no answer within {seconds:g} s") from None
        if worked:
            return value
        raise value

    def _run(self) -> None:
        while True:
            call = self.asked.get()
            with _Handed(self.answers):
                self.answers.put((True, call()))


class _Handed:
    """Hands whatever is raised inside to the thread that waits for an answer."""

    def __init__(self, answers: queue.Queue[tuple[bool, Any]]) -> None:
        self.answers = answers

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is not None:
            self.answers.put((False, error))
        return error is not None
