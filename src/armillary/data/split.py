"""Which episodes of a store are held out: those that the data say, else a share that a hash chooses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from ..errors import DataError
from .dataset import held_out

FILE = "split.json"  # beside the columns of a store whose source has a test part of its own


def held_episodes(folder: Path, episodes: int, share: float) -> Bool[np.ndarray, " E"]:
    """True for the held-out ones of `episodes` episodes: those of split.json where there is one, else `share` of them.

    For a share of 0 none is held out, whatever split.json says.
    Raises:
        DataError: split.json is damaged or names episodes that are not there.
    """
    path = folder / FILE
    if share == 0 or not path.is_file():
        return held_out([str(number) for number in range(episodes)], share)
    out = np.zeros(episodes, bool)
    try:
        out[json.loads(path.read_text())["test"]] = True
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path} does not name episodes of its store ({error}): convert the data again") from None
    return out


def save_split(folder: Path, held: Bool[np.ndarray, " E"]) -> None:
    """Write split.json."""
    (folder / FILE).write_text(json.dumps({"test": np.flatnonzero(held).tolist()}) + "\n")
