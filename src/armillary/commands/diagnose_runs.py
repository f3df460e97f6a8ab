"""`armillary diagnose RUN ...`: checkpoints ranked without labels; of world models, how sure and how surprised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contracts import Dynamics, build
from ..errors import ConfigError, require
from ..recipes.run import Json, Run
from ..report import page
from ..training.checkpoint import weights
from . import screen, workspace
from .expectations import source_of, surprise_part, uncertain, uncertainty_part
from .progress import Watch
from .ranking import Ranked, best_first, ranked
from .worlds import Tell

SHOWN = ("effective_rank", "lidar", "recognition", "spread", "r2")  # measures beside the score
FEWEST = 20  # episodes that can be split into parts to fit, correct and score


def main(folders: Sequence[Path], recipe: str, episodes: int, pairs: int, json: bool) -> int:
    """Read every checkpoint, tell of each world model, print; 1 if a newest checkpoint is not healthy.

    Raises:
        ConfigError: a folder is named twice, or too few episodes or pairs.
    """
    require(0, 1 << 31, episodes=episodes, pairs=pairs)
    if len(set(folders)) < len(folders):
        raise ConfigError("a run folder is named twice")
    if 0 < episodes < FEWEST:
        raise ConfigError(f"episodes is {episodes}: give {FEWEST} or more, or 0 to leave that out")
    runs = {folder: workspace.open_run(folder, recipe) for folder in folders}
    found: list[Ranked] = []
    with Watch("reading checkpoints", len(folders), unit="run", shown=not json) as watch:
        for i, (folder, run) in enumerate(runs.items()):
            found += ranked(folder, run, lambda what, *_, i=i: watch.at(i, what))
    worlds = {folder: part for folder, run in runs.items() if (part := _world(folder, run, episodes, pairs, json))}
    found = best_first(found)
    if json:
        screen.as_json({"checkpoints": [_row(one) for one in found], **({"worlds": _named(worlds)} if worlds else {})})
    else:
        _show(found, len(folders) > 1)
        for folder, part in worlds.items():
            show_world(part, str(folder))
    newest = {folder: max((one for one in found if one.run == folder), key=lambda one: one.step) for folder in folders}
    return int(any(one.verdict != "healthy" for one in newest.values()))


def _world(folder: Path, run: Run, episodes: int, pairs: int, silent: bool) -> Json:
    """The parts `uncertainty` and `surprise` of a run with a world, which are also kept in its report."""
    source, method = source_of(run, folder), build(run.method, run.seed).eval()
    if source is None or not episodes or not isinstance(method, Dynamics):
        return {}
    weights(folder, method)  # type: ignore[arg-type]
    with Watch("uncertainty", episodes, unit="episode", shown=not silent) as watch:
        tell: Tell = lambda what, done, _: watch.at(done, what)  # noqa: E731
        fitted = uncertain(method, source, episodes, tell)  # type: ignore[arg-type]
        part: Json = {"uncertainty": uncertainty_part(fitted)}
        if pairs and source.kinds:
            tell("surprise", episodes, episodes)
            part["surprise"] = surprise_part(method, source, fitted["ensemble"], pairs)  # type: ignore[arg-type]
    workspace.add_to_report(folder, part)
    page.write(folder)
    return part


def _show(found: Sequence[Ranked], several: bool) -> None:
    names = [name for name in SHOWN if any(name in one.reading.numbers for one in found)]
    rows = []
    for one in found:
        numbers = (_cell(one.score), *(_cell(one.reading.get(name)) for name in names))
        kept = "best-by-radar" if one.kept else ""
        rows.append((*([str(one.run)] if several else []), f"{one.step:,}", *numbers, one.verdict, kept))
    titles = ["step", "score", *(name.replace("_", " ") for name in names), "verdict", ""]
    screen.table("checkpoints, the best first", [*(["run"] if several else []), *titles], rows)


def show_world(part: Mapping[str, Any], title: str) -> None:
    """How sure and how surprised, in two tables."""
    rows = []
    for name, told in part["uncertainty"].items():
        cells = (_ends(told["coverage"]["0.9"]), _ends(told["raw_coverage"]["0.9"]), _ends(told["spearman"]),
                 _ends(told["disagreement"]) if told["disagreement"] else "")  # fmt: skip
        rows.append((name, *cells, f"{told['episodes']:,}"))
    columns = ["90 % intervals of the error hold", "uncorrected", "spread ~ error", "disagreement ~ error", "episodes"]
    screen.table(title, ["predictor", *columns], rows)
    odd = [
        (kind, f"{told['auroc']:.3f} ({_two(told['auroc_interval'])})",
         f"{told['accuracy']:.3f} ({_two(told['accuracy_interval'])})", f"{told['pairs']:,}")
        for kind, told in part.get("surprise", {}).items()
    ]  # fmt: skip
    if odd:
        screen.table("surprise", ["violation", "AUROC", "the impossible twin surprises more", "pairs"], odd)


def _row(one: Ranked) -> Json:
    return {"run": str(one.run), "step": one.step, "score": one.score, "verdict": one.verdict,
            "best_by_radar": one.kept, "measures": dict(one.reading.numbers)}  # fmt: skip


def _named(worlds: Mapping[Path, Json]) -> Json:
    return {str(folder): part for folder, part in worlds.items()}


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _ends(told: Mapping[str, float]) -> str:
    return f"{told['value']:.3f} ({told['low']:.3f} to {told['high']:.3f})"


def _two(ends: Sequence[float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"
