"""Does the radar see what it should, in time, and nothing else? Failures injected into methods, and healthy runs.

    python benchmarks/radar.py run --images FOLDER --episodes FOLDER --out rows.jsonl [--seeds 0 1 2] [--only ijepa]
    python benchmarks/radar.py table rows.jsonl

Borders are chosen on seeds from 100 on; what is reported comes from seeds 0, 1, 2. Each run is a training of about two
CPU minutes as `armillary train` does it, with the radar at its default cadence; beside it the same inputs are
read every 15 steps, from which the onset is known: the first step at which the injected quantity leaves what healthy
runs of the same method had at that step, widened by a quarter.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from injections import PENALTIES, Injected
from processes import rows_of, run

from armillary.commands.workspace import find
from armillary.contracts import build
from armillary.data.dataset import open_data
from armillary.errors import CollapseError
from armillary.functional.statistics import wilson
from armillary.training.allocator import keep_memory
from armillary.training.examiner import Examiner
from armillary.training.log import Row, readings
from armillary.training.loop import train

STEPS, ONSET, DENSE, LATEST = 375, 150, 15, 200  # LATEST: steps from the onset within which the alarm must come
WIDER = 1.25
QUANTITY = {  # what an injection moves, and whether it falls
    "full": ("spread", True), "dimensional": ("effective_rank", True), "cluster": ("clumping", True),
    "token_uniform": ("within", True), "temporal": ("over_time", True), "position": ("predicted_place", False),
    "norm": ("norm", False), "teacher": ("teacher_gap", False), "late": ("effective_rank", True),
}  # fmt: skip
CASES = {
    "ijepa": ("full", "dimensional", "cluster", "token_uniform", "position", "norm", "teacher", "late"),
    "cjepa": ("full", "position", "teacher"),
    "byol": ("full", "dimensional", "teacher"),
    "vicreg": ("full", "dimensional", "cluster", "norm", "late"),
    "lejepa": ("full", "dimensional", "cluster", "token_uniform", "norm"),
    "lewm": ("full", "dimensional", "temporal", "norm", "late"),
    "pldm": ("full", "dimensional", "temporal", "late"),
}
WORLDS = ("lewm", "pldm")


def one(method: str, kind: str, seed: int, images: str, episodes: str, folder: Path) -> Row:
    """Train once and tell what the radar said and what was read; the first alarm decides, so the run ends with it."""
    keep_memory()
    begun = time.process_time()
    recipe = find(f"{method}_{'two_rooms' if method in WORLDS else 'cifar10'}").run
    loop = replace(recipe.loop, precision="fp32", threads=1, monitor=0, diagnose_every=0)
    loop = replace(loop, log_every=DENSE, save_every=STEPS, on_alarm="stop")
    dataset = open_data(replace(recipe.data, path=episodes if method in WORLDS else images))
    injected = Injected(build(recipe.method, seed), "" if kind == "healthy" else kind, ONSET)
    examiner, dense = Examiner(dataset, 32, 32, seed), []
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted call left

    def told(row: Row) -> None:
        reading = examiner.reading(injected, "fp32", int(str(row["step"])))
        if reading is not None:
            dense.append({"step": reading.step, **reading.numbers})

    with contextlib.suppress(CollapseError):
        train(injected, dataset, STEPS, recipe.batch, recipe.optim, loop, seed, folder, on_log=told)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    alarms = [alarm for row in rows for alarm in row.get("alarms", [])]
    sparse = [{"step": r.step, **r.numbers} for r in readings(folder)]
    return {
        "method": method, "kind": kind, "seed": seed, "alarms": alarms, "cpu_seconds": time.process_time() - begun,
        "readings": sparse, "dense": dense, "verdict": str(rows[-1].get("verdict", "")),
    }  # fmt: skip


def onset(row: Row, healthy: list[Row]) -> int | None:
    """The first step at which the injected quantity is outside what healthy runs had, widened."""
    name, falls = QUANTITY[str(row["kind"])]
    known: dict[int, list[float]] = defaultdict(list)
    for at in (at for other in healthy for at in other["dense"] if name in at):  # type: ignore[union-attr]
        known[at["step"]].append(at[name])
    for at in row["dense"]:  # type: ignore[union-attr]
        band, value = known.get(at["step"]), at.get(name)
        if at["step"] <= ONSET or not band or value is None:
            continue
        if value < min(band) / WIDER if falls else value > max(band) * WIDER:
            return at["step"]
    return None


def judged(row: Row, healthy: list[Row]) -> tuple[str, str, bool]:
    """Onset, what the first alarm after the injection was and when, and whether it was right and in time."""
    begun = onset(row, healthy)
    alarm = next((a for a in row["alarms"] if a["step"] > ONSET), None)  # type: ignore[union-attr]
    if alarm is None:
        return str(begun), "none", False
    after = alarm["step"] - (begun or ONSET)
    right = alarm["kind"] == row["kind"] and after <= LATEST
    return str(begun), f"{after}" if alarm["kind"] == row["kind"] else f"{after} ({alarm['kind']})", right


def table(rows: list[Row]) -> str:
    """The result in Markdown."""
    healthy = [row for row in rows if row["kind"] == "healthy"]
    injected = [row for row in rows if row["kind"] != "healthy"]
    lines = ["| failure | method | onset, step | alarm, steps later | in time, right kind |", "|---|---|---|---|---|"]
    every = []
    for kind, method in [(kind, method) for kind in QUANTITY for method in CASES if kind in CASES[method]]:
        same = [row for row in healthy if row["method"] == method]
        found = [judged(row, same) for row in injected if (row["kind"], row["method"]) == (kind, method)]
        if found:
            begun, after, right = zip(*found, strict=True)
            every += right
            lines.append(
                f"| {kind} | {method} | {', '.join(begun)} | {', '.join(after)} | {sum(right)} of {len(right)} |"
            )
    false = sum(bool(row["alarms"]) for row in healthy)
    early = sum(any(a["step"] <= ONSET for a in row["alarms"]) for row in injected)  # type: ignore[union-attr]
    low, high = wilson(sum(every), max(len(every), 1))
    said = (
        f"Right kind within {LATEST} steps: {sum(every)} of {len(every)} ({low:.0%} to {high:.0%}). False alarms: in "
    )
    said += f"{false} of {len(healthy)} healthy runs, and before the injection in {early} of {len(injected)}."
    return "\n".join([said, "", *lines])


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("run", "table", "one"))
    parser.add_argument("rows", nargs="?", type=Path)
    parser.add_argument("--images", default="")
    parser.add_argument("--episodes", default="")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    if asked.what == "table":
        print(table(rows_of(asked.rows)))
    elif asked.what == "one":
        method, kind, seed = asked.only
        print(json.dumps(one(method, kind, int(seed), asked.images, asked.episodes, asked.out)))
    else:
        run(missing(asked), asked.out, asked.processes, said)


def missing(asked: argparse.Namespace) -> dict[tuple[str, str, int], list[str]]:
    """The runs that are not in the rows yet, each with the arguments of its process."""
    done = {(row["method"], row["kind"], row["seed"]) for row in rows_of(asked.out)}
    jobs = [
        (method, kind, seed)
        for seed in asked.seeds
        for method, kinds in CASES.items()
        for kind in ("healthy", *kinds)
        if not asked.only or f"{method}:{kind}" in asked.only or method in asked.only
    ]
    places = ["--images", asked.images, "--episodes", asked.episodes]
    scratch = asked.out.with_suffix("")
    return {
        job: [__file__, "one", "--only", *map(str, job), *places, "--out", str(scratch / "-".join(map(str, job)))]
        for job in jobs
        if job not in done
    }


def said(row: Row) -> str:
    """A finished run in a line."""
    raised = [(alarm["kind"], alarm["step"]) for alarm in row["alarms"]]  # type: ignore[union-attr]
    return f"{row['method']} {row['kind']} {row['seed']}: {row['cpu_seconds']:.0f} s, {row['verdict']} {raised}"


if __name__ == "__main__":
    assert set(PENALTIES) | {"teacher"} == set(QUANTITY)
    main()
