"""What every reader of recorded trajectories returns: named columns of each episode, loaded one at a time."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError

Shape = tuple[int, ...]
Rows = Callable[[str, int, int], np.ndarray]  # column, first row, row after the last


@dataclass(frozen=True)
class Recording:
    """Episodes as a format stores them, nothing of which is in memory yet.

    names: of the episodes, for messages. columns: the shape of one step of each column, () for a number. load: a column
    of an episode, [rows, ...]; images come as uint8 [rows, h, w, C]. images: the columns that are images. labels: names
    of the dimensions of a column, where the format has them. frame_rate: frames a second, 0 where it is not told.
    parts: the data's own split of each episode, () where there is none. misfits: rows of columns that do not fit.
    """

    path: Path
    format: str
    names: tuple[str, ...]
    columns: Mapping[str, Shape]
    load: Callable[[int, str], np.ndarray]
    images: frozenset[str] = frozenset()
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frame_rate: float = 0.0
    parts: tuple[str, ...] = ()
    misfits: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def optional(module: str, extra: str, what: str) -> Any:
    """The module of an optional extra.

    Raises:
        DataError: it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise DataError(f"{what} needs {module}: pip install 'armillary[{extra}]'") from None


def looks_like_image(shape: Shape) -> bool:
    """Whether a step of that shape is [h, w, C] or [C, h, w] of at least 8 pixels a side."""
    if len(shape) != 3:
        return False
    last, first = (shape[2] in (1, 3, 4) and min(shape[:2]) >= 8), (shape[0] in (1, 3) and min(shape[1:]) >= 8)
    return last or first


def image_columns(columns: Mapping[str, Shape]) -> frozenset[str]:
    """The columns whose steps look like images."""
    return frozenset(name for name, shape in columns.items() if looks_like_image(shape))


def flat(path: Path, form: str, shapes: Mapping[str, Shape], rows: Rows, lengths: np.ndarray, **more: Any) -> Recording:
    """A recording whose columns hold all steps of all episodes one after another.

    shapes: of the whole columns; those that have not one row for each step are misfits. lengths: steps of each episode.
    more: other fields of `Recording`.
    Raises:
        DataError: there are no episodes.
    """
    lengths = np.asarray(lengths, np.int64)
    if not len(lengths) or lengths.min() < 1:
        raise DataError(f"{path} holds {len(lengths)} episodes, some without steps: record again, or mend its lengths")
    ends, steps = np.cumsum(lengths), int(lengths.sum())
    columns = {name: shape[1:] for name, shape in shapes.items() if shape and shape[0] == steps}
    misfits = {name: shape[0] for name, shape in shapes.items() if shape and shape[0] != steps}

    def load(episode: int, name: str) -> np.ndarray:
        return rows(name, int(ends[episode] - lengths[episode]), int(ends[episode]))

    names = tuple(str(number) for number in range(len(lengths)))
    return Recording(path, form, names, columns, load, image_columns(columns), misfits=misfits, **more)


def lengths_by_marks(ends: np.ndarray) -> np.ndarray:
    """Lengths of episodes from marks [N] at their last steps; steps after the last mark are one more episode."""
    last = np.flatnonzero(ends) + 1
    if not len(last) or last[-1] != len(ends):
        last = np.append(last, len(ends))
    return np.diff(last, prepend=0)


def lengths_by_number(number: np.ndarray, path: Path) -> np.ndarray:
    """Lengths of episodes from the number of its episode at each step.

    Raises:
        DataError: the steps of an episode do not lie together.
    """
    starts = np.flatnonzero(np.append(True, number[1:] != number[:-1]))
    order = number[starts]
    if len(np.unique(order)) != len(order):
        values, counts = np.unique(order, return_counts=True)
        raise DataError(f"steps of episode {values[counts > 1][0]} of {path} do not lie together: sort it by episode")
    return np.diff(np.append(starts, len(number)))


def in_order(names: Iterable[str]) -> list[str]:
    """Names with numbers at their end (`demo_2` before `demo_10`) in the order of the numbers, others by name."""

    def key(name: str) -> tuple[str, float, str]:
        stem = name.rstrip("0123456789")
        digits = name[len(stem) :]
        return stem, float(digits) if digits else -math.inf, name

    return sorted(names, key=key)


def unbroken(place: np.ndarray, episode: str, path: Path) -> None:
    """Check that numbers of frames rise by one.

    Raises:
        DataError: some are missing or doubled.
    """
    wrong = np.flatnonzero(np.diff(place) != 1)
    if len(wrong):
        before, after = place[wrong[0]], place[wrong[0] + 1]
        raise DataError(
            f"episode {episode} of {path} goes from frame {before:g} to {after:g}: every frame is needed once and in "
            "order; restore the missing ones, or leave the episode out"
        )
