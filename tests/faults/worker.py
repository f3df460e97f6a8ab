"""A training in a process of its own that can be killed, limited and told to stop."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path

from armillary.errors import CheckpointError
from armillary.training import checkpoint as disk
from armillary.training.loop import Loop, train
from armillary.training.optim import Optim
from training.rows import tiny

METHODS = ("control.lewm", "image.ijepa")
STEPS, SAVE_EVERY = 24, 3
LOOP = Loop(precision="fp32", log_every=1, save_every=SAVE_EVERY, monitor=8, diagnose_every=10, threads=1)
OPTIM = Optim(lr=1e-3, clip=1.0)
WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}
TIMES = {"samples_per_second", "seconds"}

# Imports torch and what its optimizers import late once, then forks: a start costs no seconds.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    ["torch._dynamo", "armillary.training.loop", "armillary.methods.control.lewm", "armillary.methods.image.ijepa"]
)


def die_at(event: int, folder: Path) -> None:
    """Kill this process by SIGKILL right before its `event`-th file operation in `folder` (1 is the first)."""
    left = [event]

    def hook(name: str, arguments: tuple) -> None:
        if name in WATCHED and str(folder) in str(arguments[0]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def work(folder: Path, name: str, resume: bool, event: int, file_limit: int) -> None:
    """Train to the end; exit with 0, with 128 + signal if stopped, with 3 and the message in `error` if refused."""
    if event:
        die_at(event, folder)
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))
    method, rows = tiny(name, **({"dropout": 0.2} if name == "control.lewm" else {}))
    try:
        outcome = train(method, rows, STEPS, 8, OPTIM, LOOP, folder=folder, resume=resume)
    except CheckpointError as error:
        (folder.parent / f"{folder.name}.error").write_text(str(error)[: file_limit or None])
        sys.exit(3)
    sys.exit(128 + signal.Signals[outcome.stopped].value if outcome.stopped else 0)


def start(folder: Path, name: str, resume: bool = False, event: int = 0, file_limit: int = 0):
    """The process, running."""
    process = _server.Process(target=work, args=(folder, name, resume, event, file_limit))
    process.start()
    return process


def finish(folder: Path, name: str, resume: bool = False, event: int = 0, file_limit: int = 0) -> int:
    """Run to its end and return the exit code, negative for a signal."""
    process = start(folder, name, resume, event, file_limit)
    process.join(120)
    assert process.exitcode is not None, "the training hangs"
    return process.exitcode


def rows_of(folder: Path) -> list[dict]:
    """The rows of the log without its times."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]


def last_step(folder: Path) -> int:
    """The newest row that is written in full; 0 where there is none."""
    path = folder / "log.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def assert_same_end(one: Path, other: Path) -> None:
    """Weights, moments and log are equal to the last bit, and nothing half-written is left."""
    a, b = disk.newest(one)[0], disk.newest(other)[0]
    assert disk.step_of(a) == disk.step_of(b) == STEPS
    for file in ("model.safetensors", "optimizer.safetensors"):
        assert (a / file).read_bytes() == (b / file).read_bytes()
    assert rows_of(one) == rows_of(other)
    assert [row["step"] for row in rows_of(one)] == list(range(1, STEPS + 1))
    assert all(p.name.startswith("step-") for p in (other / "checkpoints").iterdir())
