"""The log of a run: log.jsonl always, TensorBoard where it is asked for."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..diagnostics.reading import Reading
from ..errors import CheckpointError, ConfigError

log = logging.getLogger("armillary.training")

Row = dict[str, object]  # of one step: numbers, or dictionaries of numbers; `step` is always there


@runtime_checkable
class _Scalars(Protocol):
    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...

    def close(self) -> None: ...


class Log:
    """Rows of one run, each written as it comes. Rows after `step` are cut first: a resumed run writes them again.

    Args:
        run: the run folder, which exists.
        step: the last step whose rows stay; 0 starts a new log.
    Raises:
        CheckpointError: the file cannot be written.
        ConfigError: TensorBoard is asked for and not installed.
    """

    def __init__(self, run: Path, step: int = 0, tensorboard: bool = False):
        self.path = run / "log.jsonl"
        self._board = _tensorboard(run, step) if tensorboard else None
        try:
            _cut(self.path, step)
            self._file = self.path.open("ab", buffering=0)  # nothing waits in memory, so closing cannot fail
        except OSError as error:
            raise self._failed(error) from error

    def write(self, row: Row) -> None:
        """Append a row; NaN and infinities, which JSON cannot say, become null.

        Raises:
            CheckpointError: the disk is full or fails.
        """
        row = {name: _said(value) for name, value in row.items()}
        try:
            line = (json.dumps(row, allow_nan=False) + "\n").encode()
            while line:
                line = line[self._file.write(line) :]  # a disk that fills up takes a part first
        except OSError as error:
            raise self._failed(error) from error
        if self._board is not None:
            for name, value in _leaves(row):
                self._board.add_scalar(name, value, int(str(row["step"])))

    def sync(self) -> None:
        """Make every row durable, as it must be before a checkpoint that follows it.

        Raises:
            CheckpointError: the disk is full or fails.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file and the board."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _failed(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"{self.path} could not be written: {error.strerror or error}. Checkpoints are intact; free space or "
            "permit writing, then continue with --resume"
        )


def readings(run: Path) -> list[Reading]:
    """What was read off the representations so far, as the log tells; nothing where there is none."""
    path = run / "log.jsonl"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return [found for line in lines if (found := Reading.of_row(json.loads(line))) is not None]


def has_rows(run: Path) -> bool:
    """Whether a run folder holds a log that was begun."""
    path = run / "log.jsonl"
    return path.exists() and path.stat().st_size > 0


def _cut(path: Path, step: int) -> None:
    """Keep the rows up to `step`, in one replacement; half a line that a killed process left is dropped."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if _in(line, step)]
    if kept == lines:
        return
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(kept)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _in(line: str, step: int) -> bool:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not line.endswith("\n") or not isinstance(row, dict) or not isinstance(row.get("step"), int):
        log.warning("a line of the log is unreadable and left out: %.60r", line)
        return False
    return row["step"] <= step


def _said(value: object) -> object:
    if isinstance(value, dict):
        return {name: _said(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _leaves(row: Row, prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            yield f"{prefix}{name}", float(value)


def _tensorboard(run: Path, step: int) -> _Scalars:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError("loop.tensorboard needs tensorboard: pip install 'armillary[tracking]'") from None
    return SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)
