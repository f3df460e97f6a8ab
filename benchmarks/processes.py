"""Jobs of a benchmark side by side, each in a process of its own; the row that a job prints last is kept."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

from armillary.training.log import Row

PAUSE = 0.2  # seconds between looks at the processes


def rows_of(path: Path) -> list[Row]:
    """The rows that are kept; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(jobs: Mapping[Hashable, Sequence[str]], out: Path, count: int, said: Callable[[Row], str]) -> None:
    """Call `python` with each job's arguments, `count` at a time, and add the rows that they print to `out`.

    Raises:
        SystemExit: a job failed; the others were finished first, and what it said is on the screen.
    """
    todo, running, failed = list(jobs.items()), {}, []
    while todo or running:
        while todo and len(running) < count:
            name, arguments = todo.pop(0)
            running[name] = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
        for name, process in [(name, process) for name, process in running.items() if process.poll() is not None]:
            del running[name]
            lines = process.stdout.read().splitlines() if process.stdout else []
            if process.returncode or not lines:
                failed.append(name)
                continue
            with out.open("a") as file:
                file.write(lines[-1] + "\n")
            print(said(json.loads(lines[-1])), flush=True)
        time.sleep(PAUSE)
    if failed:
        raise SystemExit(f"failed: {failed}")
