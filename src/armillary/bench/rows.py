"""Results as rows of JSON that are kept: one line each in rows.jsonl, complete or absent."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from ..errors import DataError
from ..recipes.run import Json

DIGITS = 6  # of a number in a row


def key(tree: object) -> str:
    """A name for what decides a result: equal trees of JSON have equal names."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]


def read(path: Path) -> list[Json]:
    """The rows of a file, the last one of each key; nothing where there is no file.

    A last line that was cut off by a crash is passed over.
    Raises:
        DataError: another line is damaged.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found: dict[str, Json] = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            found[str(row["key"])] = row
        except (ValueError, TypeError, KeyError) as error:
            if number < len(lines):
                raise DataError(f"line {number} of {path} is no row ({error}): restore or delete this line") from None
    return list(found.values())


def append(path: Path, row: Json) -> None:
    """Add a row to a file, on the disk when this returns; half a line that a crash left is removed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            whole = file.read(1) == b"\n"
            if not whole:
                file.seek(0)
                *kept, last = file.read().rpartition(b"\n")
                if _row(last):
                    file.write(b"\n")
                else:
                    file.truncate(sum(map(len, kept)))
        file.write(json.dumps(plain(row), allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _row(line: bytes) -> bool:
    try:
        return "key" in json.loads(line)
    except (ValueError, TypeError):
        return False


def places(data: str, out: Path) -> dict[str, str]:
    """Places on this machine that a row or page must not tell, and what stands there instead, longest first."""
    name = Path(data).resolve().name
    found = {str(Path(data).resolve()): name, str(out.resolve()): "OUT", str(Path.home()): "~"}
    found |= {path: shown for path, shown in ((data, name), (str(out), "OUT")) if "/" in path.strip("./")}
    return dict(sorted(((path, shown) for path, shown in found.items() if len(path) > 1), key=lambda p: -len(p[0])))


def without(text: str, hidden: dict[str, str]) -> str:
    """Text without `places`."""
    for path, shown in hidden.items():
        text = text.replace(path, shown)
    return text


def plain(tree: object) -> object:
    """What JSON can say: tuples as lists, numbers of a few digits, null for those that are not finite."""
    if isinstance(tree, dict):
        return {str(name): plain(value) for name, value in tree.items()}
    if isinstance(tree, str) or tree is None or isinstance(tree, bool | int):
        return tree
    if isinstance(tree, Iterable):
        return [plain(value) for value in tree]
    if isinstance(tree, float):
        return float(f"{tree:.{DIGITS}g}") if math.isfinite(tree) else None
    return str(tree)


def packed(right: Bool[Tensor, " n"]) -> str:
    """Which test rows were answered rightly, as text: eight rows in a byte, base64."""
    return base64.b64encode(np.packbits(right.cpu().numpy()).tobytes()).decode()


def unpacked(text: str, n: int) -> Bool[Tensor, " n"]:
    """What `packed` made of `n` rows.

    Raises:
        DataError: the text is none of `n` rows.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise DataError(f"a row holds no packed answers ({error}): restore the file of rows") from None
    if len(data) != -(-n // 8):
        raise DataError(f"a row holds the answers of {8 * len(data)} test rows, not of {n}: restore the file of rows")
    return torch.from_numpy(np.unpackbits(np.frombuffer(data, np.uint8), count=n).astype(bool))


def one(path: Path) -> Json | None:
    """What a file of JSON holds, None where it is missing or damaged."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return tree if isinstance(tree, dict) else None
