"""Which label-free number ranks runs and checkpoints as a linear probe would?

    python benchmarks/selection.py run --set report --images FOLDER --out rows.jsonl [--processes 2]
    python benchmarks/selection.py table rows.jsonl

Two sets of runs on CIFAR-10. Scores are designed on "design" (BYOL, LeJEPA, SimCLR, C-JEPA); "report" holds I-JEPA and
VICReg with other learning rates, momenta, weights and masks, collapsed ones included. Every run is about one CPU
minute; at five checkpoints the representation is read without labels and probed with them.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from processes import rows_of, run

from armillary.commands.workspace import find
from armillary.contracts import Method, build
from armillary.data.dataset import Dataset, open_data
from armillary.diagnostics.agreement import view_numbers
from armillary.diagnostics.clusters import clid
from armillary.diagnostics.pairs import subsample
from armillary.diagnostics.reading import read
from armillary.functional.statistics import bootstrap, kendall
from armillary.probes.extract import extract
from armillary.probes.linear import linear
from armillary.randomness import Random
from armillary.recipes.run import Run
from armillary.training.allocator import keep_memory
from armillary.training.checkpoint import checkpoints
from armillary.training.checkpoint import read as stored
from armillary.training.log import Row
from armillary.training.loop import train
from armillary.views.crops import resized_crop

STEPS, POINTS = 400, 5
ROWS, INPUTS, VIEWS = 2000, 200, 8  # embeddings that are read; inputs and views of LiDAR and recognition
TRAIN, TEST = 5000, 2000  # rows of the probe

Changes = dict[str, object]
RATES: list[Changes] = [{"lr": factor} for factor in (1 / 27, 1 / 9, 1 / 3, 1.0, 3.0, 9.0, 27.0)]
SETS: dict[str, dict[str, list[Changes]]] = {
    "report": {
        "ijepa": [
            *RATES, {"momentum": (0.0, 0.0)}, {"momentum": (0.9, 0.9)}, {"momentum": (1.0, 1.0)},
            {"context_scale": (0.2, 0.3)}, {"target_scale": (0.02, 0.04)}, {"target_scale": (0.4, 0.5)},
            {"masks": "released"}, {"crop_scale": (0.05, 0.1)},
        ],
        "vicreg": [
            *RATES, {"variance": 0.0}, {"variance": 1.0}, {"covariance": 0.0}, {"covariance": 30.0},
            {"invariance": 0.5}, {"invariance": 500.0}, {"variance": 0.0, "covariance": 0.0},
        ],
    },
    "design": {
        "byol": [*RATES[1:6], {"momentum": (0.0, 0.0)}, {"momentum": (1.0, 1.0)}],
        "lejepa": [*RATES[1:6], {"sigreg_weight": 0.0}, {"sigreg_weight": 0.5}, {"sigreg_weight": 0.005}],
        "simclr": [*RATES[1:6], {"temperature": 0.02}, {"temperature": 5.0}],
        "cjepa": [*RATES[1:6], {"momentum": (0.0, 0.0)}, {"vicreg_weight": 0.1}],
    },
}  # fmt: skip


def changed(name: str, changes: Changes, images: str) -> Run:
    """The small recipe of a method with another factor of the learning rate or fields of the method."""
    recipe = find(f"{name}_cifar10").run
    fields = {key: value for key, value in changes.items() if key != "lr"}
    optim = replace(recipe.optim, lr=recipe.optim.lr * float(str(changes.get("lr", 1.0))))
    loop = replace(recipe.loop, precision="fp32", threads=1, save_every=STEPS // POINTS, keep=POINTS + 1)
    method, data = replace(recipe.method, **fields), replace(recipe.data, path=images)
    return replace(recipe, method=method, optim=optim, loop=loop, steps=STEPS, data=data)


def one(name: str, place: int, group: str, images: str, folder: Path) -> Row:
    """Train one run; read and probe its checkpoints."""
    keep_memory()
    changes = SETS[group][name][place]
    recipe = changed(name, changes, images)
    seen, unseen = open_data(recipe.data), open_data(recipe.data, "test")
    method = build(recipe.method, recipe.seed)
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted call left
    outcome = train(method, seen, STEPS, recipe.batch, recipe.optim, recipe.loop, recipe.seed, folder)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    points = []
    for path in checkpoints(folder):
        checkpoint = stored(path)
        method.load_state_dict(checkpoint.model)
        last = [row["energy"] for row in rows if checkpoint.step - STEPS // POINTS < row["step"] <= checkpoint.step]
        loss = sum(last) / len(last) if last else None
        points.append({"step": checkpoint.step, "loss": loss, **measured(method.eval(), seen, unseen)})
    told = {"method": name, "place": place, "set": group, "changes": changes, "cpu_seconds": outcome.cpu_seconds}
    return {**told, "points": points}


def measured(method: Method, seen: Dataset, unseen: Dataset) -> dict[str, float]:
    """Label-free numbers of the train images, and the accuracy of a linear probe."""
    known = extract(method.encode, seen, "label", TRAIN)
    asked = extract(method.encode, unseen, "label", TEST)
    x = known.x[subsample(len(known.x), ROWS)]
    found = dict(read(x).numbers) | clid(x[:1000]) | view_numbers(views(method, seen))
    return found | {"probe": linear(known, asked).score}


@torch.no_grad()
def views(method: Method, seen: Dataset) -> torch.Tensor:
    """Embeddings [n, q, D] of random crops of the same images."""
    index = subsample(len(seen), INPUTS, seed=1)
    batch = seen.prepare(seen.batch(index))
    made = []
    for view in range(VIEWS):
        image = resized_crop(batch["image"], Random(0, view, index), (0.3, 1.0), flip=0.5)
        made.append(method.encode({**batch, "image": image}).pooled().float())
    return torch.stack(made, 1)


def table(rows: list[Row], names: list[str]) -> str:
    """Kendall's tau of each number with the probe, over the last checkpoints of runs."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[str(row["method"])].append(row)
    lines = [f"| number | {' | '.join(groups)} | across |", "|---|" + "---|" * (len(groups) + 1)]
    for name in names:
        cells = [_tau(found, name) for found in [*groups.values(), rows]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _tau(rows: list[Row], name: str) -> str:
    last = [row["points"][-1] for row in rows]  # type: ignore[index]
    pairs = [(p[name] if name != "loss" else -p["loss"], p["probe"]) for p in last if p.get(name) is not None]
    if len(pairs) < 3:
        return ""
    a, b = torch.tensor(pairs, dtype=torch.float64).T
    low, high = bootstrap(lambda i: kendall(a[i], b[i]).nan_to_num(0), len(a))
    return f"{float(kendall(a, b)):.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("run", "table", "one"))
    parser.add_argument("rows", nargs="?", type=Path)
    parser.add_argument("--set", default="design")
    parser.add_argument("--images", default="")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    if asked.what == "table":
        rows = rows_of(asked.rows)
        names = [name for name in rows[0]["points"][-1] if name not in ("step", "probe", "rows", "dimensions")]
        print(table(rows, names))
    elif asked.what == "one":
        name, place = asked.only
        print(json.dumps(one(name, int(place), asked.set, asked.images, asked.out)))
    else:
        run(missing(asked), asked.out, asked.processes, said)


def missing(asked: argparse.Namespace) -> dict[tuple[str, int], list[str]]:
    """The runs that are not in the rows yet, each with the arguments of its process."""
    done = {(row["method"], row["place"]) for row in rows_of(asked.out) if row["set"] == asked.set}
    jobs = [(name, place) for name, runs in SETS[asked.set].items() for place in range(len(runs))]
    scratch, told = asked.out.with_suffix(""), ["--set", asked.set, "--images", asked.images]
    return {
        (name, i): [__file__, "one", "--only", name, str(i), *told, "--out", str(scratch / f"{asked.set}-{name}-{i}")]
        for name, i in jobs
        if (name, i) not in done
    }


def said(row: Row) -> str:
    """A finished run in a line."""
    probes = [round(point["probe"], 3) for point in row["points"]]  # type: ignore[union-attr]
    return f"{row['method']} {row['place']}: {row['changes']} {probes}"


if __name__ == "__main__":
    main()
