"""`armillary diagnose`: whether embeddings have collapsed, how and why; which checkpoint of which run to keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from ..data.formats.features import FeatureFile, open_features
from ..diagnostics.monitor import as_tokens
from ..diagnostics.pairs import subsample
from ..diagnostics.radar import Alarm, Radar
from ..diagnostics.reading import MEANING, Reading, stream, token_numbers
from ..errors import ConfigError, DataError
from ..probes.extract import Features
from ..probes.knn import knn
from ..recipes.run import Json
from . import diagnose_runs, flags, screen

ABOUT = (
    "Look for collapse in a file of embeddings (.npy, .safetensors, .parquet), one row per input, or tokens [rows, "
    "tokens, dimensions]; two files are compared with --before and --after. Or rank the checkpoints of run folders "
    "without labels, and tell how sure a world model is and what surprises it. Exits with 1 if a failure is seen."
)
NEIGHBORS = 20  # that vote on a label


@dataclass(frozen=True)
class Diagnose:
    """Flags of `diagnose`."""

    what: tyro.conf.Positional[tuple[Path, ...]] = ()
    """a file of embeddings, or run folders"""
    before: Path | None = None
    """embeddings of the same inputs from an earlier checkpoint, to compare with"""
    after: Path | None = None
    """the later ones, in place of the file named first"""
    labels: Path | None = None
    """a .npy file of one class per row: how well neighbors agree on it"""
    name: str = ""
    """which tensor or column holds the embeddings, where a file holds several"""
    time: bool = False
    """the middle axis of [rows, tokens, dimensions] is time, not places"""
    recipe: str = ""
    """path/to/file.py:function, where the runs were made by a recipe of your own"""
    episodes: int = 4000
    """of a run's world, made anew: half of them are scored for how sure the model is; 0 leaves that out"""
    pairs: int = 400
    """episodes and impossible twins by which surprise is measured"""
    json: bool = False
    """print verdict, alarms and measures as JSON"""


def main(arguments: list[str]) -> int:
    """Look for collapse in embeddings of any model: armillary diagnose features.npy."""
    asked = flags.parse(Diagnose, arguments, "diagnose", ABOUT)
    if asked.what and all(path.is_dir() for path in asked.what):
        return diagnose_runs.main(asked.what, asked.recipe, asked.episodes, asked.pairs, asked.json)
    given = [*asked.what, *([asked.after] if asked.after else [])]
    if len(given) != 1:
        raise ConfigError(
            f"{len(given)} files of embeddings were named: name one file, two with --before A.npy --after B.npy, or "
            "run folders alone"
        )
    path = given[0]
    file = open_features(path, asked.name)
    earlier = read_file(open_features(asked.before, asked.name), asked.time) if asked.before else None
    now = read_file(file, asked.time, labels=_labels(asked.labels, file) if asked.labels else None)
    radar = Radar([earlier, earlier] if earlier else (), confirm=1)
    radar.add(now)
    if asked.json:
        screen.as_json(told(now, radar, earlier))
    else:
        _show(path, now, radar, earlier)
    return 1 if radar.active or now.broken else 0


def read_file(file: FeatureFile, time: bool = False, labels: np.ndarray | None = None) -> Reading:
    """All numbers that a file of embeddings allows, read in chunks.

    Raises:
        DataError: fewer than 2 rows, or labels that are not one per row.
    """
    if len(file) < 2:
        raise DataError(f"{file.path} holds {len(file)} row: at least 2 inputs are needed to tell whether they differ")
    tokens = len(file.shape) == 3
    picked = file.rows(subsample(len(file)))
    more: dict[str, float] = {}
    if tokens and bool(picked.isfinite().all()):
        more |= token_numbers(as_tokens(picked, time))
    if labels is not None:
        more["neighbors"] = _agreement(picked.mean(1) if tokens else picked, labels[subsample(len(file)).numpy()])
    return stream((chunk.mean(1) if tokens else chunk for chunk in file.chunks()), len(file), 0, **more)


def told(now: Reading, radar: Radar, earlier: Reading | None) -> Json:
    """The result for other programs."""
    found: Json = {
        "verdict": radar.verdict,
        "kinds": list(radar.active),
        "alarms": [alarm.row() for alarm in _alarms(radar)],
        "measures": dict(now.numbers),
        "spectrum": list(now.spectrum),
    }
    return found | ({"before": dict(earlier.numbers)} if earlier else {})


def _alarms(radar: Radar) -> list[Alarm]:
    return list(radar.active.values())


def _show(path: Path, now: Reading, radar: Radar, earlier: Reading | None) -> None:
    meaning = MEANING | {"neighbors": f"share of rows whose {NEIGHBORS} neighbors vote for their label"}
    rows = [
        (name, f"{value:.4g}", *([_shown(earlier.get(name))] if earlier else []), meaning.get(name, ""))
        for name, value in now.numbers.items()
    ]
    screen.table(str(path), ["measure", "now", *(["before"] if earlier else []), ""], rows)
    screen.say(radar.verdict[:1].upper() + radar.verdict[1:], "green" if radar.verdict == "healthy" else "bold yellow")
    for alarm in _alarms(radar):
        screen.say(f"usual causes of {alarm.title}:")
        for cause in alarm.causes:
            screen.say(f"  {cause}")
    count, width = now.numbers["rows"], now.numbers["dimensions"]
    if count * 4 < width:
        screen.say(f"{count:.0f} rows of {width:.0f} dimensions: if inputs are columns, transpose the file", "dim")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _labels(path: Path, file: FeatureFile) -> np.ndarray:
    try:
        labels = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array ({error}): give a .npy file of whole numbers") from None
    if labels.shape != file.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path} holds {labels.dtype} of shape {list(labels.shape)}: {len(file):,} rows need one whole number each"
        )
    return labels


def _agreement(x: torch.Tensor, labels: np.ndarray) -> float:
    """Accuracy of a neighbor vote, every second row of the subsample against the others."""
    y = torch.from_numpy(np.unique(labels, return_inverse=True)[1]).long()
    index = torch.arange(len(x))
    known, asked = (
        Features(x[part], y[part], index[part], index[part]) for part in (slice(0, None, 2), slice(1, None, 2))
    )
    return knn(known, asked, k=min(NEIGHBORS, len(known.x))).score
