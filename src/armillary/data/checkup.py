"""What can be said of a store of episodes before anything is trained on it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from ..errors import DataError
from .actions import ActionSpec
from .alignment import Alignment, alignment
from .store import ACTION, Index, open_columns

Json = dict[str, object]
ENOUGH = 20_000  # steps by which alignment is judged, of whole episodes spread evenly
LOOKED = 200  # episodes in which repeated frames are counted
EDGE = 1e-3  # of its range: how near an action is to its lowest or highest value to count as there
MANY = 0.2  # share of actions at an edge, or of repeated frames, that is worth a warning
POOLED = 8  # side to which images are averaged where they are the only state


def examine(
    folder: Path, held: Bool[np.ndarray, " E"], names: tuple[str, ...] = (), window: int = 4
) -> tuple[Json, ActionSpec]:
    """The report on a finished store, and the specification of its actions.

    held: the episodes that are held out. names: of the numbers of an action. window: frames that training will want.
    `warnings` of the report is a list of sentences, empty where nothing was found.
    Raises:
        DataError: the store is missing or damaged, or no episode is left for training.
    """
    index, columns = open_columns(folder)
    if held.all():
        raise DataError(f"all {len(held)} episodes of {folder} are held out: leave some for training")
    spec = ActionSpec.of(_actions(index, columns, ~held), names, index.frame_rate)
    taken, warnings = _action_part(_actions(index, columns, np.ones(len(held), bool)), spec)
    judged = _aligned(index, columns)
    repeated = _repeated(index, columns)
    short = int((index.lengths < window).sum())
    warnings += _alignment_warnings(judged)
    if repeated > MANY:
        what = "frames" if "image" in columns else "states"
        warnings.append(f"{repeated:.0%} of {what} equal the one before: the source may be slower than its frame rate")
    if short:
        warnings.append(f"{short} episodes are shorter than a window of {window} frames: training will pass over them")
    report: Json = {
        "episodes": len(index.lengths), "frames": index.frames, "steps": index.frames - len(index.lengths),
        "lengths": {"min": int(index.lengths.min()), "median": float(np.median(index.lengths)),
                    "max": int(index.lengths.max())},
        "frame_rate": index.frame_rate,
        "columns": {key: [str(value.dtype), *value.shape[1:]] for key, value in columns.items()},
        "action": taken, "alignment": _alignment_part(judged), "repeated": repeated,
        "held_out": {"episodes": np.flatnonzero(held).tolist(), "share": float(held.mean())}, "warnings": warnings,
    }  # fmt: skip
    return report, spec


def _actions(index: Index, columns: dict[str, np.ndarray], which: Bool[np.ndarray, " E"]) -> np.ndarray:
    """All actions of some episodes, without the unused last rows."""
    used = np.repeat(which, index.lengths)
    used[index.offsets + index.lengths - 1] = False
    return columns[ACTION][used]


def _action_part(action: Shaped[np.ndarray, "n A"], spec: ActionSpec) -> tuple[list[Json], list[str]]:
    """One row for each number of an action over all episodes, and what is strange about them."""
    low, high = action.min(0), action.max(0)
    edge = EDGE * (high - low)
    still, few = high == low, np.array([len(np.unique(column[:1000])) <= 3 for column in action.T])
    saturated = np.where(still, 0.0, ((action <= low + edge) | (action >= high - edge)).mean(0))
    whole = np.all(action == np.rint(action), 0)
    rows: list[Json] = [
        {"name": name, "low": float(low[i]), "high": float(high[i]), "mean": spec.mean[i], "std": spec.std[i],
         "constant": bool(still[i]), "whole_numbers": bool(whole[i]), "saturated": float(saturated[i])}
        for i, name in enumerate(spec.names)
    ]  # fmt: skip
    warnings = []
    if still.any():
        warnings.append(
            f"actions that never change: {', '.join(n for n, s in zip(spec.names, still, strict=True) if s)}"
        )
    often = [f"{n} ({s:.0%})" for n, s, f in zip(spec.names, saturated, few, strict=True) if s > MANY and not f]
    if often:
        warnings.append(f"often at the lowest or highest value: {', '.join(often)}; a planner will want these bounds")
    return rows, warnings


def _aligned(index: Index, columns: dict[str, np.ndarray]) -> Alignment | None:
    """The alignment of a part of the episodes; images are averaged to 8 x 8 where there is nothing else."""
    key = next(key for key in ("state", "proprio", "image") if key in columns)
    count = max(3, round(len(index.lengths) * min(1.0, ENOUGH / index.frames)))
    chosen = np.unique(np.linspace(0, len(index.lengths) - 1, count).astype(int))
    states, actions = [], []
    for first, length in zip(index.offsets[chosen].tolist(), index.lengths[chosen].tolist(), strict=True):
        states.append(_pooled(columns[key][first : first + length]))
        actions.append(columns[ACTION][first : first + length - 1])
    return alignment(states, actions)


def _pooled(values: np.ndarray) -> Shaped[np.ndarray, "T S"]:
    """States as they are, images as 8 x 8 gray means."""
    if values.ndim == 2:
        return values
    gray = values.mean(1, dtype=np.float32)
    rows, columns = (np.linspace(0, side, POOLED, endpoint=False).astype(int) for side in gray.shape[1:])
    return np.add.reduceat(np.add.reduceat(gray, rows, 1), columns, 2).reshape(len(gray), -1)


def _repeated(index: Index, columns: dict[str, np.ndarray]) -> float:
    """Share of frames that equal the one before, in up to 200 episodes."""
    column = columns.get("image", columns.get("state"))
    if column is None:
        return 0.0
    same, pairs = 0, 0
    for number in np.unique(np.linspace(0, len(index.lengths) - 1, LOOKED).astype(int)).tolist():
        first, length = int(index.offsets[number]), int(index.lengths[number])
        frames = column[first : first + length].reshape(length, -1)
        same += int((frames[1:] == frames[:-1]).all(1).sum())
        pairs += length - 1
    return same / max(1, pairs)


def _alignment_part(judged: Alignment | None) -> Json | None:
    if judged is None:
        return None
    return {**asdict(judged), "explained": {str(shift): value for shift, value in judged.explained.items()}}


def _alignment_warnings(judged: Alignment | None) -> list[str]:
    if judged is None:
        return ["alignment of actions was not judged: that needs 3 episodes of 5 frames in which the state changes"]
    told = ", ".join(f"{shift:+d}: {value:.3f}" for shift, value in judged.explained.items())
    if judged.clear:
        cause = (
            "either action t led to observation t (convert with --shift 1), or these are demonstrations, in which the "
            "next action tells what the actor saw" if judged.best == 1
            else "the robot acts late, or action t belongs to observation t + 1 (convert with --shift -1)"
        )  # fmt: skip
        return [
            f"actions shifted by {judged.best:+d} predict the state's change best (variance explained {told}): {cause}"
        ]
    if judged.explained[0] - judged.alone < 0.01 * (1 - judged.alone):
        return [f"actions hardly help to predict the state's change ({told}; without them {judged.alone:.3f})"]
    return []
