"""What each of several processes runs in test_distribute.py: `torchrun shared_run.py FOLDER`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from armillary.contracts import Method
from armillary.parallel import rank, ranks
from armillary.training.distribute import processes
from armillary.training.loop import Loop, train
from armillary.training.optim import Optim
from training.rows import METHODS, Rows, tiny

STEPS = 20
# Channels that hardly vary over 8 rows make batch norm magnify rounding at every step of these, on one process as on
# two: 2e-7 in the first loss, 1e-4 after twenty steps in float32. In float64 two processes are one.
SENSITIVE = {
    "image.kerjepa", "image.lejepa", "image.rectified_lpjepa", "rivals.byol", "rivals.moco", "rivals.simclr",
    "rivals.simsiam", "image.seq_jepa",
}  # fmt: skip
LOOP = Loop(precision="fp32", log_every=1, save_every=10, monitor=8, diagnose_every=10)


def energies(method: Method, rows: Rows, loop: Loop = LOOP, **more: object) -> list[float]:
    """Energy and gradient norm of every step."""
    seen: list[dict] = []
    optim = Optim(lr=1e-3, clip=1.0, weight_decay=0.05)
    train(method, rows, STEPS, 8, optim, loop, on_log=seen.append, **more)
    return [value for row in seen for value in (row["energy"], row["gradient_norm"])]


def everything(folder: Path) -> dict[str, list[float]]:
    """Every method, each written to a folder and one resumed; one in micro-batches, one with NaN in the rows."""
    made = {name: tiny(name) for name in METHODS}
    for name in SENSITIVE:
        method, rows = made[name]
        made[name] = method.double(), rows.double()
    found = {name: energies(*pair, folder=folder / name) for name, pair in made.items()}
    found["micro-batches"] = energies(*tiny("control.lewm"), replace(LOOP, accumulate=2))
    found["poisoned"] = energies(*tiny("image.ijepa", 48, frozenset({3, 30})))
    method, rows = tiny(METHODS[0])
    train(method, rows, STEPS, 8, Optim(lr=1e-3, clip=1.0), LOOP, folder=folder / METHODS[0], resume=True)
    return found


if __name__ == "__main__":
    out = Path(sys.argv[1])
    with processes():
        result = everything(out)
        told = {"ranks": ranks(), "energies": {k: [repr(v) for v in values] for k, values in result.items()}}
        (out / f"rank-{rank()}.json").write_text(json.dumps(told))
