"""What one process of a comparison does: train one contender once, measure it, hand back one row."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from .. import __version__
from ..contracts import build
from ..data.formats.images import Images
from ..errors import CollapseError, ConfigError
from ..probes.extract import raw_input
from ..recipes.run import Json, Probe, Run, commit, machine, write_json
from ..training.loop import Outcome, train
from . import measure, pictures, rows
from .contenders import PIXELS, Contender, Find, contender, fitted
from .jobs import FORMAT, Job, Terms, fields, raw, runs, tries
from .splits import Splits, open_splits
from .summary import LONGEST

CURVE = 4  # places along a training where it is measured, the end among them
WARNINGS = 3  # that a row keeps


@dataclass(frozen=True)
class Order:
    """What a worker is told, as JSON.

    contender: as the user wrote it; cost: FLOPs of a step; steps: how many; out: the comparison's folder.
    """

    key: str
    kind: str
    contender: str
    seed: int
    factor: float
    cost: float
    steps: int
    terms: Terms
    probe: Probe
    data: Images
    out: str


def work(order: Order, find: Find) -> None:
    """Do what was ordered, and leave the row in OUT/.work/KEY.json.

    Raises:
        ConfigError: the contender is not what it was when the order was written.
    """
    torch.set_num_threads(1)
    _end_with_parent()
    warnings = _Kept()
    logging.getLogger("armillary").addHandler(warnings)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    splits, scratch = open_splits(order.data), Path(order.out) / ".work"
    job = _job(order, find, splits)
    if job.key != order.key:
        raise ConfigError(f"{order.contender} was changed while the comparison ran: start the command again")
    if job.kind == PIXELS:
        row = _pixels(job, splits, device, Path(order.out))
    else:
        folder = scratch / order.key
        shutil.rmtree(folder, ignore_errors=True)
        row = _trained(job, order, splits, device, folder)
        shutil.rmtree(folder, ignore_errors=True)
    hidden = rows.places(order.data.path, Path(order.out))
    row["warnings"] = [rows.without(text, hidden)[:LONGEST] for text in warnings.kept[:WARNINGS]]
    write_json(scratch / f"{order.key}.json", rows.plain(row))  # type: ignore[arg-type]


def _job(order: Order, find: Find, splits: Splits) -> Job:
    if order.kind == PIXELS:
        return raw(_any(find, order, splits), splits)
    one = contender(order.contender, find, splits, order.probe)
    if order.kind == "try":
        return next(job for job in tries(one, order.terms, splits) if job.factor == order.factor)
    return runs(one, order.factor, order.terms, splits)[order.seed]


def _any(find: Find, order: Order, splits: Splits) -> Run:
    """Some run on these images, of which the raw input needs the data and the probes only."""
    return fitted(find("ijepa_cifar10")[0], splits, order.probe, PIXELS)


def _pixels(job: Job, splits: Splits, device: torch.device, out: Path) -> Json:
    begun = time.perf_counter()
    found = measure.measured(raw_input("image"), splits, job.run.probe, device)
    pictures.neighbors(found.known, found.asked, splits, out / "pictures" / f"{job.key}-neighbors.png")
    return {**_about(job, splits), "scores": found.found, "seconds": time.perf_counter() - begun}


def _trained(job: Job, order: Order, splits: Splits, device: torch.device, folder: Path) -> Json:
    """Train, measure, and tell."""
    run, tuning = job.run, job.kind == "try"
    supervised = Contender(job.contender, run).supervised
    dataset = splits.trained_on(supervised, tuning)
    every = max(1, -(-order.steps // CURVE))
    loop = replace(run.loop, threads=1, tensorboard=False, save_every=every, keep=CURVE + 2)
    method = build(run.method, run.seed).to(device)
    row = _about(job, splits) | {"lr": run.optim.lr, "factor": job.factor, "budget": job.budget, "batch": run.batch}
    row |= {"backbone": Contender("", run).backbone, "flops_per_step": order.cost, "steps": order.steps}
    row |= {"values": fields(run)}
    try:
        outcome = train(
            method, dataset, order.steps, run.batch, run.optim, loop, run.seed, None if tuning else folder
        )  # fmt: skip
    except CollapseError as error:
        if not tuning:
            raise
        return row | {"validation": None, "error": str(error)[:LONGEST]}
    row |= _spent(outcome, order.cost)
    if outcome.stopped:
        raise InterruptedError(f"stopped by {outcome.stopped}")
    if tuning:
        return row | {"validation": measure.validated(method.encode, splits, run.probe, device)}
    return row | _measured(job, method, outcome, splits, device, folder, order)


def _measured(job: Job, method, outcome: Outcome, splits: Splits, device: torch.device, folder: Path, order: Order):
    run, out = job.run, Path(order.out)
    found = measure.measured(method.encode, splits, run.probe, device)
    if job.seed == 0:
        place = out / "pictures"
        pictures.neighbors(found.known, found.asked, splits, place / f"{job.key}-neighbors.png")
        pictures.patches(method.encode, splits, place / f"{job.key}-patches.png", device)
    first = build(run.method, run.seed).to(device)
    encoders = {"": method.encode, "untrained": first.encode}
    further = measure.further(encoders, splits, run.probe, device)
    points = measure.curve(method, folder, splits, run.probe, order.cost, device)
    encoder = sum(p.numel() for p in getattr(first, "encoder", first).parameters())
    floor = measure.untrained(first, splits, run.probe, device, out / ".work" / "untrained")
    part: Json = {"scores": found.found, "untrained": floor, "curve": points, "encoder_parameters": encoder}
    part |= {"further": further} if further else {}
    return part | {"training_health": outcome.health.row() if outcome.health else {}}


def _about(job: Job, splits: Splits) -> Json:
    known = machine()
    return {
        "format": FORMAT,
        "key": job.key,
        "kind": job.kind,
        "contender": job.contender,
        "method": Contender(job.contender, job.run).method if job.kind != PIXELS else PIXELS,
        "seed": job.seed,
        "data": splits.fingerprint(),
        "commit": commit(),
        "version": __version__,
        "torch": torch.__version__,
        "machine": {name: known[name] for name in ("system", "processor", "cores", "gpu")},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _spent(outcome: Outcome, cost: float) -> Json:
    names = ("steps", "samples", "seconds", "cpu_seconds", "skipped", "parameters", "precision")
    return {**{name: getattr(outcome, name) for name in names}, "flops": cost * outcome.steps}


class _Kept(logging.Handler):
    """Keeps what the library warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message, once."""
        if record.getMessage() not in self.kept:
            self.kept.append(record.getMessage())


def _end_with_parent() -> None:
    """End this process soon after the one that started it is gone, however that ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
