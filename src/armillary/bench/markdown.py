"""A comparison as Markdown, from rows alone: equal rows give equal text."""

from __future__ import annotations

from ..report import words
from . import table
from .summary import Summary
from .texts import CURVE, FURTHER, failed, how, lead, notes


def render(found: Summary) -> str:
    """The whole page."""
    parts = [f"# Comparison on {found.data['name']}", lead(found), grid(table.columns(found)), how(found)]
    parts += [f"- {note}" for note in notes(found)]
    further = table.further(found)
    if further["Probe"]:
        parts += ["## Other probes", FURTHER, grid(further)]
    if found.pairs:
        differ = [pair for pair in found.pairs if pair.differ]
        parts += [
            "## Which methods differ",
            f"{len(differ)} of {len(found.pairs)} pairs of methods differ by paired 95 % intervals of linear accuracy "
            "(points; the first minus the second; not corrected for the number of pairs, so that one in twenty would "
            "differ by chance).",
            matrix(found),
        ]
    if any(line.curve for line in found.lines):
        parts += ["## Score against compute", CURVE, grid(curves(found))]
    if found.tries:
        parts += ["## Learning rates that were tried", grid(tried(found))]
    if found.failures:
        parts += ["## What failed", *[f"- {line}" for line in failed(found)]]
    return "\n\n".join(parts) + "\n"


def curves(found: Summary) -> dict[str, list[str]]:
    """Nearest-neighbor accuracy of each contender at the places along its training where it was measured."""
    lines = [line for line in found.lines if line.curve]
    most = max(len(line.curve) for line in lines)
    shown = {"Contender": [line.name for line in lines]}
    for i in range(most):
        cells = [line.curve[i] if i < len(line.curve) else None for line in lines]
        share = max(at[0] for at in cells if at) / max(line.curve[-1][0] for line in lines)
        shown[f"{100 * share:.0f} %"] = ["" if at is None else f"{100 * at[1]:.1f}" for at in cells]
    return shown


def grid(columns: dict[str, list[str]]) -> str:
    """A table of Markdown."""
    lines = [list(columns), ["---"] * len(columns), *map(list, zip(*columns.values(), strict=True))]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def matrix(found: Summary) -> str:
    """Differences of each contender (row) from each one behind it (column); bold where the interval leaves zero out."""
    names = [line.name for line in found.lines if line.kind == "run"]
    held = {(pair.first, pair.second): pair for pair in found.pairs}
    columns: dict[str, list[str]] = {"": names}
    for second in names[1:]:
        cells = []
        for first in names:
            pair = held.get((first, second))
            text = "" if pair is None else table.points(pair.difference, None)
            cells.append(f"**{text}**" if pair and pair.differ else text)
        columns[second] = cells
    return grid(columns)


def tried(found: Summary) -> dict[str, list[str]]:
    """The tries of each contender: rate and score on the validation images."""
    rows = sorted(found.tries, key=lambda row: (str(row["contender"]), float(row["lr"])))  # type: ignore[arg-type]
    names = list(dict.fromkeys(str(row["contender"]) for row in rows))
    shown = {}
    for name in names:
        cells = []
        for row in rows:
            if row["contender"] == name:
                value = row.get("validation")
                score = f"{100 * value:.1f}" if isinstance(value, float) else "did not train"
                cells.append(f"{words.compact(float(row['lr']))}: {score}")  # type: ignore[arg-type]
        shown[name] = "; ".join(cells)
    return {"Contender": names, "Learning rate: score on the validation images, %": list(shown.values())}
