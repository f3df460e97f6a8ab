"""How a frozen encoder is measured in a comparison: the same probes on the same rows for everyone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..contracts import Method
from ..data.dataset import Dataset
from ..diagnostics.health import examine
from ..probes.extract import Encode, Features, extract
from ..probes.knn import knn
from ..probes.linear import linear
from ..probes.report import Report
from ..probes.segmentation import segmentation
from ..probes.suite import compared, reports, tasks
from ..recipes.run import Json, Probe, write_json
from ..training.checkpoint import checkpoints, read
from . import rows
from .splits import Splits

CURVE = Probe(train=5000, test=2000)  # rows of the cheap nearest-neighbor probe along a training
TUNING = 5000  # rows on which the probe of a try is fitted, and is scored, at most
EXAMINED = 2000  # test images whose embeddings are examined without labels
WIDE = 4096  # dimensions beyond which they are not: raw pixels of larger images, whose covariance would take minutes
ALIKE = 64  # images by whose embeddings equal untrained encoders are recognized
PROBES = ("linear", "knn")


@dataclass(frozen=True, eq=False)
class Measured:
    """What was found: scores and diagnostics as JSON, and the features that they are of."""

    found: Json
    known: Features
    asked: Features


def measured(encode: Encode, splits: Splits, probe: Probe, device: torch.device) -> Measured:
    """Linear and nearest-neighbor accuracy on the test images where these have labels, and label-free diagnostics."""
    target = "label" if splits.classes else "index"
    known = extract(encode, splits.known(False), target, probe.train, device=device)
    asked = extract(encode, splits.asked(False), target, probe.test, device=device)
    found: Json = {"diagnostics": {}, "verdict": f"not examined: {asked.x.shape[1]:,} dimensions"}
    if asked.x.shape[1] <= WIDE:
        health = examine(_part(asked.x, EXAMINED))
        found = {"diagnostics": health.row(), "verdict": health.verdict}
    if splits.classes:
        fitted = {
            "linear": linear(known, asked, iterations=probe.iterations),
            "knn": knn(known, asked, k=probe.neighbors, temperature=probe.temperature),
        }
        found |= {name: score(report) for name, report in fitted.items()}
        found |= {"chance": fitted["knn"].chance, "train": len(known.x), "test": len(asked.x)}
    return Measured(found, known, asked)


def further(
    encoders: Mapping[str, Encode], splits: Splits, probe: Probe, device: torch.device
) -> dict[str, dict[str, object]]:
    """The other probes that are asked for, of the trained encoder "" beside the untrained one and the raw input."""
    asked = {name: task for name, task in tasks(probe).items() if name not in PROBES}
    if not splits.classes:
        asked = {name: (view, task) for name, (view, task) in asked.items() if view == "mask"}
    if not asked:
        return {}
    found = reports(probe, asked, encoders, (splits.known(False), splits.asked(False)), device)
    return {name: compared(report) for name, report in found.items()}


def score(report: Report) -> Json:
    """A probe's result as it is kept: which test rows it answered rightly says the rest."""
    return {"score": report.score, "interval": list(report.interval), "rows": rows.packed(report.rows.bool())}


def validated(encode: Encode, splits: Splits, probe: Probe, device: torch.device) -> float:
    """Linear accuracy, or without labels mean IoU, on the images that tuning held out."""
    judge, parts = splits.judge(probe), (splits.known(True), splits.asked(True))
    rows, masked = min(probe.train, TUNING), judge == "mask"
    known, asked = (extract(encode, part, judge, rows, device=device, pool=not masked) for part in parts)
    report = (
        segmentation(known, asked, probe.ignore, cells=probe.cells)
        if masked
        else linear(known, asked, iterations=probe.iterations)
    )
    return report.score


def untrained(method: Method, splits: Splits, probe: Probe, device: torch.device, folder: Path) -> Json:
    """`measured` of an encoder as it was initialized; equal ones, of methods that share a backbone, are measured once.

    folder: where results are kept by a hash of the embeddings of some test images.
    """
    few = extract(method.encode, _First(splits.asked(False)), "index", device=device)
    name = hashlib.sha256(few.x.numpy().tobytes()).hexdigest()
    place = folder / f"{rows.key([name, splits.fingerprint(), vars(probe)])}.json"
    held = rows.one(place)
    if held is None:
        held = measured(method.encode, splits, probe, device).found
        write_json(place, rows.plain(held))  # type: ignore[arg-type]
    return held


def curve(
    method: Method, run: Path, splits: Splits, probe: Probe, cost: float, device: torch.device
) -> list[tuple[float, float]]:
    """(FLOPs, accuracy of the cheap nearest-neighbor probe) at each kept checkpoint, the untrained one first."""
    if not splits.classes:
        return []
    points = []
    for path in checkpoints(run):
        checkpoint = read(path)
        method.load_state_dict(checkpoint.model)
        known = extract(method.encode, splits.known(False), "label", min(CURVE.train, probe.train), device=device)
        asked = extract(method.encode, splits.asked(False), "label", min(CURVE.test, probe.test), device=device)
        points.append((checkpoint.step * cost, knn(known, asked, k=probe.neighbors).score))
    return points


class _First:
    """The first rows of a data set."""

    def __init__(self, whole: Dataset):
        self.batch, self.prepare = whole.batch, whole.prepare
        self._count = min(ALIKE, len(whole))

    def __len__(self) -> int:
        return self._count


def _part(x: Tensor, count: int) -> Tensor:
    return x[:: max(1, len(x) // count)][:count]
