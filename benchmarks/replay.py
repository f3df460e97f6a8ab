"""What the radar of this code says of trainings that are over, from their logs alone.

    python benchmarks/replay.py runs/*/log.jsonl

Borders can so be tried on readings that an earlier version took; measures that it did not take stay unknown.
"""

from __future__ import annotations

import sys
from pathlib import Path

from armillary.diagnostics.radar import Radar
from armillary.training.log import readings


def replayed(folder: Path) -> tuple[int, list[str]]:
    """How many readings a run's log has, and the alarms that they raise."""
    radar, raised = Radar(), []
    held = readings(folder)
    for reading in held:
        raised += [f"{alarm.kind} at step {alarm.step:,}: {alarm.seen}" for alarm in radar.add(reading)]
    return len(held), raised


def main() -> None:
    """A line for each training with an alarm, then the count."""
    found = {path: replayed(Path(path).parent) for path in sys.argv[1:]}
    several = {path: raised for path, (count, raised) in found.items() if count >= 2}
    for path, raised in several.items():
        for alarm in raised:
            print(f"{path}: {alarm}")
    alarmed = sum(bool(raised) for raised in several.values())
    print(f"{alarmed} of {len(several)} trainings with 2 readings or more raise an alarm")


if __name__ == "__main__":
    main()
