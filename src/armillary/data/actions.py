"""What the actions of a data set are: names, ranges, means; saved with the store so that a model can carry it along."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from ..errors import DataError, ShapeError
from .statistics import moments

FILE = "actions.json"  # beside the columns of a store


@dataclass(frozen=True)
class ActionSpec:
    """Each number of an action: its name, lowest and highest value, mean and std in the training episodes.

    frame_rate: actions a second, 0 where time has no unit.
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    frame_rate: float = 0.0

    @staticmethod
    def of(action: Shaped[np.ndarray, "n A"], names: tuple[str, ...] = (), frame_rate: float = 0.0) -> ActionSpec:
        """The specification of actions that were taken; unnamed ones are a0, a1, ...

        Raises:
            ShapeError: another number of names, or no actions.
        """
        if not len(action) or len(names) not in (0, action.shape[1]):
            raise ShapeError(f"{len(names)} names were given for actions {action.shape}: one for each number is needed")
        mean, std = moments(action)
        low, high = (tuple(end.astype(float).tolist()) for end in (action.min(0), action.max(0)))
        return ActionSpec(names or tuple(f"a{i}" for i in range(action.shape[1])), low, high, mean, std, frame_rate)

    def check(self, other: ActionSpec) -> None:
        """Check that a model of these actions can be used for those of `other`.

        Raises:
            DataError: they have another width or other names.
        """
        if self.names != other.names:
            raise DataError(
                f"the model's actions are {list(self.names)}, these {list(other.names)}: use data of the same robot"
            )

    def save(self, folder: Path) -> None:
        """Write actions.json."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def load(folder: Path) -> ActionSpec:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing or holds something else.
        """
        path = folder / FILE
        try:
            held = json.loads(path.read_text())
            numbers = {name: tuple(map(float, held[name])) for name in ("low", "high", "mean", "std")}
            spec = ActionSpec(tuple(map(str, held["names"])), **numbers, frame_rate=float(held["frame_rate"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} holds no action specification ({error}): convert the data again") from None
        whole = all(len(values) == len(spec.names) and all(map(math.isfinite, values)) for values in numbers.values())
        if (
            not whole
            or not all(low <= high for low, high in zip(spec.low, spec.high, strict=True))
            or min(spec.std) <= 0
        ):
            raise DataError(f"{path} contradicts itself: convert the data again")
        return spec
