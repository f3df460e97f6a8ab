"""What there is to do, and in which order: tries of learning rates, runs, the raw input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, is_dataclass, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from ..errors import ConfigError, require
from ..recipes.run import Json, Run, values
from .contenders import PIXELS, Contender
from .measure import PROBES
from .rows import DIGITS, key, plain
from .splits import Splits

FORMAT = 1  # of rows; another number makes all results new ones
FACTORS = (1.0, 1 / 3, 3.0, 1 / 9, 9.0, 1 / 27, 27.0)  # of the recipe's learning rate, as they are tried
MEASURED = ("train", "test", "neighbors", "temperature", "iterations")  # settings of the probes of every comparison


@dataclass(frozen=True)
class Terms:
    """The terms that are the same for everyone.

    budget: FLOPs of a training. tries: learning rates that are tried, each for `share` of the budget. seeds: from 0 on.
    """

    budget: float
    tries: int
    share: float
    seeds: int

    def __post_init__(self) -> None:
        require(0, len(FACTORS), tries=self.tries)
        require(1, 1000, seeds=self.seeds)
        require(0, float("inf"), budget=self.budget)
        if not 0 < self.share <= 1:
            raise ConfigError(f"tuning_share is {self.share}: a share of the budget, above 0 and at most 1, is allowed")


@dataclass(frozen=True)
class Job:
    """One process's work. kind: "try", "run" or "pixels". budget: FLOPs of this training; run: with its lr and seed."""

    key: str
    kind: str
    contender: str
    run: Run
    seed: int = 0
    factor: float = 1.0
    budget: float = 0.0
    sha256: str = ""


def raw(run: Run, splits: Splits) -> Job:
    """The probes of the raw input."""
    name = key([FORMAT, PIXELS, splits.fingerprint(), _probe(run)])
    return Job(name, PIXELS, PIXELS, run)


def tries(one: Contender, terms: Terms, splits: Splits) -> list[Job]:
    """The learning rates to try for one contender, with seed 0; none where nothing can judge them."""
    if not splits.judge(one.run.probe) or terms.tries < 2:
        return []
    return [_job("try", one, f, 0, terms.budget * terms.share, splits) for f in FACTORS[: terms.tries]]


def runs(one: Contender, factor: float, terms: Terms, splits: Splits) -> list[Job]:
    """The trainings of one contender at the chosen factor of its learning rate, one per seed."""
    return [_job("run", one, factor, seed, terms.budget, splits) for seed in range(terms.seeds)]


def every(one: Contender, terms: Terms, splits: Splits) -> list[Job]:
    """All that may have to be done for one contender: tries, and runs at each rate that may come out best."""
    tried = tries(one, terms, splits)
    factors = [_rounded(job.factor) for job in tried] or [1.0]  # as `best` reads them from rows
    return tried + [job for factor in factors for job in runs(one, factor, terms, splits)]


def best(done: Sequence[Json]) -> float | None:
    """The factor of the rate that came out best of finished tries, the first of equals; None if none trained."""
    judged = [(float(row["validation"]), row) for row in done if row.get("validation") is not None]  # type: ignore[arg-type]
    return float(max(judged, key=lambda pair: pair[0])[1]["factor"]) if judged else None  # type: ignore[arg-type]


def known(contenders: Sequence[Contender], terms: Terms, splits: Splits, rows: Sequence[Json]) -> dict[str, Json]:
    """Rows by the key of the job that they answer, also where a version with fewer settings wrote them.

    A row answers a job if all settings that it tells are the job's, and those it does not tell have their defaults; of
    the user's own file, which the row does not tell, only if it has the job's key.
    """
    found = {str(row["key"]): row for row in rows}
    told: dict[tuple[object, ...], list[Json]] = defaultdict(list)
    for row in rows:
        told[row["kind"], row["contender"], row["seed"], row.get("factor")].append(row)
    for one in contenders:
        for job in every(one, terms, splits):
            for row in () if job.sha256 else told[job.kind, job.contender, job.seed, _rounded(job.factor)]:
                if job.key not in found and _answers(row, job, splits):
                    found[job.key] = row
    return found


def _answers(row: Json, job: Job, splits: Splits) -> bool:
    same = row["data"] == plain(splits.fingerprint()) and row["budget"] == plain(job.budget)
    return same and row.get("format", 1) == FORMAT and _covers(row.get("values"), plain(fields(job.run)), job.run)


def together(contenders: Sequence[Contender], terms: Terms, splits: Splits, rows: Sequence[Json]) -> list[Json]:
    """Rows that can stand on one page with the results of these contenders: of equal data, budget and probes.

    Those that answer the jobs of these contenders come last, so that they count where there are rows of other settings.
    """
    held, keys = known(contenders, terms, splits, rows), {raw(contenders[0].run, splits).key}
    for one in contenders:
        tried = [held[job.key] for job in tries(one, terms, splits) if job.key in held]
        jobs = runs(one, best(tried) or 1.0, terms, splits)
        keys |= {str(row["key"]) for row in tried} | {str(held[job.key]["key"]) for job in jobs if job.key in held}
    data, budget, probe = plain(splits.fingerprint()), plain(terms.budget), _probe(contenders[0].run)

    def alike(row: Json) -> bool:
        paid = row["kind"] == "try" or (row["kind"] == "run" and row["budget"] == budget)
        return paid and row["data"] == data and all(probing(row).get(name) in (None, probe[name]) for name in MEASURED)

    mine = [row for row in rows if row["key"] in keys or row["kind"] == "floor"]
    return [row for row in rows if row["key"] not in keys and row["kind"] != "floor" and alike(row)] + mine


def _rounded(factor: float) -> float:
    """As it stands in a row."""
    return float(f"{factor:.{DIGITS}g}")


def probing(row: Json) -> Json:
    """The settings of probes that a row tells of."""
    told = row.get("values")
    probe = told.get("probe") if isinstance(told, dict) else None
    return probe if isinstance(probe, dict) else {}


def _covers(told: object, now: object, part: object) -> bool:
    """Whether `told` is `now` but for settings of `part` that it lacks and that have their defaults."""
    if not (isinstance(told, dict) and isinstance(now, dict)):
        return told == now
    defaults = {field.name: field.default for field in dataclass_fields(part)} if is_dataclass(part) else {}
    if not told.keys() <= now.keys():
        return False
    return all(
        _covers(told[name], now[name], getattr(part, name, None))
        if name in told
        else name in defaults and getattr(part, name) == defaults[name]
        for name in now
    )


def pending(
    contenders: Sequence[Contender], terms: Terms, splits: Splits, rows: dict[str, Json], skipped: Collection[str]
) -> list[Job]:
    """What can be done now, given the rows by key: all tries first, then seed by seed the runs whose tries are done.

    skipped: keys of jobs that run now or have failed.
    """
    first, later = [], []
    for one in contenders:
        tried = tries(one, terms, splits)
        first += tried
        if all(job.key in rows for job in tried):
            factor = best([rows[job.key] for job in tried]) if tried else 1.0
            later += [] if factor is None else runs(one, factor, terms, splits)
    later.sort(key=lambda job: job.seed)
    floor = [raw(contenders[0].run, splits)]
    return [job for job in first + floor + later if job.key not in rows and job.key not in skipped]


def total(contenders: Sequence[Contender], terms: Terms, splits: Splits) -> float:
    """All work in units of one full training."""
    return sum(terms.seeds + terms.share * len(tries(one, terms, splits)) for one in contenders)


def _job(kind: str, one: Contender, factor: float, seed: int, budget: float, splits: Splits) -> Job:
    run = replace(one.run, seed=seed, optim=replace(one.run.optim, lr=one.run.optim.lr * factor))
    decides = [FORMAT, kind, one.name, one.sha256, fields(run), splits.fingerprint(), budget]
    return Job(key(decides), kind, one.name, run, seed, factor, budget, one.sha256)


def fields(run: Run) -> Json:
    """All fields that decide a result: no place on this machine, of the loop its numerics alone."""
    tree: dict[str, Any] = values(run)
    tree["data"] = {**tree["data"], "path": Path(str(tree["data"]["path"])).resolve().name}
    tree["loop"] = {name: tree["loop"][name] for name in ("precision", "accumulate")}
    further = (
        ("kinds", "shots", "draws", "ignore", "specificity", "cells") if set(run.probe.kinds) - set(PROBES) else ()
    )
    tree["probe"] = {name: tree["probe"][name] for name in MEASURED + further}
    return {name: tree[name] for name in ("method", "data", "batch", "optim", "loop", "seed", "probe")}


def _probe(run: Run) -> Json:
    return fields(run)["probe"]  # type: ignore[return-value]
