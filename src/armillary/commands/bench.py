"""`armillary bench`: many methods on the user's own images, under one budget of counted FLOPs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from pydantic import ConfigDict, TypeAdapter
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..bench import comparison, pool, rows
from ..bench.contenders import Contender, chosen
from ..bench.flops import affordable, per_step
from ..bench.jobs import Terms, every, known, pending, together
from ..bench.measure import PROBES
from ..bench.splits import Splits, check, open_splits
from ..bench.worker import Order, work
from ..data.formats.images import Images
from ..errors import ConfigError, DataError, suggest
from ..recipes.run import Json, Probe, Run
from ..training.checkpoint import lock
from . import flags, screen, workspace

ABOUT = (
    "Compare methods on a folder of images: equal backbones, an equal budget of counted FLOPs, equal tuning, equal "
    "probes. Finished runs are kept in OUT/rows.jsonl; the same command again does only what is missing."
)
KINDS = ("images",)
FEW = 50  # held-out images below which the choice of a learning rate is called chance


@dataclass(frozen=True)
class Bench:
    """Flags of `bench images`."""

    data: Annotated[Images, tyro.conf.FlagConversionOff] = Images()
    """the images"""
    methods: tuple[str, ...] = ()
    """who takes part, e.g. ijepa simclr 'ijepa[method.masks=released]' my.py:recipe; all small image recipes if none"""
    seeds: int = 3
    """runs of each, with seeds 0, 1, ..."""
    budget: float = 2e13
    """counted FLOPs of each training; the default is about 6 minutes of one CPU core"""
    tries: int = 3
    """learning rates that are tried for each: the recipe's, a third of it, three times it, ..."""
    tuning_share: float = 0.15
    """share of the budget that each try gets"""
    processes: int = 2
    """trainings side by side, each on one thread"""
    probe: Annotated[Probe, tyro.conf.FlagConversionOff] = Probe(train=10_000, test=10_000)
    """how representations are measured"""
    out: Path = Path("runs/bench")
    """where rows, pages and pictures go"""
    report_only: bool = False
    """train nothing; write the pages from the rows that are there"""
    rows: Path | None = None
    """read the rows of this file instead, for the pages alone"""
    markdown: Path | None = None
    """write the Markdown here instead of OUT/comparison.md"""
    json: bool = False
    """print the summary as JSON"""


def main(arguments: list[str]) -> int:
    """Compare methods on your own images under one budget: armillary bench images --data.path FOLDER."""
    kind, rest = flags.first(arguments, "bench", "images", ABOUT)
    if kind == "worker":  # how the comparison itself starts its processes
        return _worker(Path(rest[0]))
    if kind not in KINDS:
        raise ConfigError(f"there is no comparison of {kind!r}: {suggest(kind, KINDS)}")
    asked = flags.parse(Bench, rest, "bench images", ABOUT)
    if asked.report_only or asked.rows:
        return report(asked, rows.read(asked.rows or asked.out / "rows.jsonl"), [])
    return report(asked, *compare(asked))


def compare(asked: Bench) -> tuple[list[Json], list[Json]]:
    """Train and measure what is missing; the rows of this comparison, and what failed.

    Raises:
        ConfigError, DataError: something was asked that cannot be; nothing was trained then.
    """
    terms = Terms(asked.budget, asked.tries, asked.tuning_share, asked.seeds)
    if asked.processes < 1:
        raise ConfigError(f"processes is {asked.processes}, at least 1 is needed")
    splits = open_splits(replace(asked.data, path=str(asked.data.path)))
    check(splits, asked.probe)
    contenders, said = chosen(asked.methods, _find, splits, asked.probe)
    for line in [*said, *about(splits, asked.probe)]:
        screen.say(line, "yellow")
    with lock(asked.out):
        costs = _costs(contenders, terms, splits, asked.out)
        plan = pool.Comparison(contenders, terms, splits, lambda one: costs[one.name], asked.out, asked.processes)
        with Board() as board:
            state = pool.run(plan, board.at)
    held = rows.read(asked.out / "rows.jsonl")
    shown = together(contenders, terms, splits, held)
    if len(shown) < len(held):
        others = len(held) - len(shown)
        screen.say(f"{others} rows of other data, budgets or probes are kept and not shown", "yellow")
    return shown, state.failures


def about(splits: Splits, probe: Probe) -> list[str]:
    """What a reader should know of the data."""
    if not splits.classes:
        left = [kind for kind in probe.kinds if kind not in (*PROBES, "segmentation")]
        masked = splits.judge(probe) == "mask"
        rates = f"judged by masks of {len(splits.asked(True))} held-out images" if masked else "the recipes' own"
        how = "mean IoU beside label-free diagnostics" if masked else "label-free diagnostics"
        return [
            f"{splits.config.path} has no labels of at least 2 classes: accuracy stays unknown, learning rates are "
            f"{rates}, and representations are compared by {how}",
            *[f"{', '.join(left)} of --probe.kinds need labels and are left out" for _ in left[:1]],
        ]
    said, judged = [], len(splits.asked(True))
    if splits.partly:
        said += [f"{len(splits.labeled):,} of {len(splits.images):,} train images have labels: the others only train"]
    if judged < FEW:
        said += [f"learning rates are judged by {judged} held-out images, which is little more than chance"]
    return said


def report(asked: Bench, held: list[Json], failures: list[Json]) -> int:
    """Write the pages from rows, and show the table; 1 if something failed."""
    for failure in failures:
        screen.error(f"{failure['contender']}, {failure['kind']}, seed {failure['seed']}: {failure['message']}")
    if not any(row["kind"] == "run" for row in held):
        if failures:
            return 1
        source = asked.rows or asked.out / "rows.jsonl"
        raise DataError(f"{source} holds no finished run: run the comparison first, without --report-only and --rows")
    summary = comparison.write(held, failures, asked.out, asked.markdown)
    if asked.json:
        screen.as_json(rows.plain(summary.tree()))
    else:
        screen.table("", summary.headings, summary.lines)
        for path in summary.paths:
            screen.say(str(path))
    return 1 if failures else 0


def _find(name: str) -> tuple[Run, str]:
    reference = workspace.find(name)
    return reference.run, reference.sha256


def _worker(path: Path) -> int:
    adapter = TypeAdapter(tuple[Order], config=ConfigDict(extra="forbid", strict=True))
    work(adapter.validate_json(f"[{path.read_text()}]")[0], _find)
    return 0


def _costs(contenders: list[Contender], terms: Terms, splits: Splits, out: Path) -> dict[str, float]:
    """FLOPs of a step of each contender that still has something to do, counted unless a row of it tells.

    Raises:
        ConfigError: the budget, or a try's share of it, does not pay a step.
    """
    held = known(contenders, terms, splits, rows.read(out / "rows.jsonl"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    share = terms.share if splits.judge(contenders[0].run.probe) and terms.tries > 1 else 1.0
    costs = {}
    with screen.err.status("counting the FLOPs of each method's step") as status:
        for one in contenders:
            if any(job.contender == one.name for job in pending([one], terms, splits, held, ())):
                status.update(f"counting the FLOPs of a step of {one.name}")
                dataset = splits.trained_on(one.supervised, tuning=False)
                told = [held[job.key]["flops_per_step"] for job in every(one, terms, splits) if job.key in held]
                costs[one.name] = (
                    float(str(told[0])) if told else per_step(one.run, dataset, device, budget=terms.budget * share)
                )
                affordable(terms.budget, costs[one.name], one.name, share)
    return costs


class Board:
    """What runs, what is done, how long it will take: a table that renews itself, or lines without a terminal."""

    def __init__(self) -> None:
        self._live = Live(console=screen.err, refresh_per_second=2, transient=True)
        self._told, self._begun = 0, time.monotonic()

    def __enter__(self) -> Board:
        if screen.err.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if screen.err.is_terminal:
            self._live.stop()

    def at(self, state: pool.State) -> None:
        """Show how it stands."""
        for row in state.finished[self._told :]:
            screen.err.print(Text(f"{said(row)}; {remaining(state)}"), soft_wrap=True)
        self._told = len(state.finished)
        if screen.err.is_terminal:
            self._live.update(self._shown(state))

    def _shown(self, state: pool.State) -> Group:
        table = Table(box=None, show_header=False)
        for one in state.running:
            what = {"try": f"learning rate {one.job.run.optim.lr:.2g}", "run": f"seed {one.job.seed}"}
            spent = screen.duration(time.monotonic() - one.begun)
            table.add_row(Text(one.job.contender), what.get(one.job.kind, ""), spent)
        failed = f", {len(state.failures)} failed" if state.failures else ""
        return Group(table, Text(f"{len(state.finished)} finished{failed}; {remaining(state)}", style="dim"))


def said(row: Json) -> str:
    """A finished row in a line."""
    name, kind = row["contender"], row["kind"]
    if kind == "try":
        value = row.get("validation")
        shown = f"{value:.3f} on the validation images" if isinstance(value, float) else "did not train"
        return f"{name}, learning rate {row['lr']:.2g}: {shown}"
    scores: Json = row["scores"]  # type: ignore[assignment]
    linear = scores.get("linear")
    value = f"linear {linear['score']:.3f}" if isinstance(linear, dict) else str(scores["verdict"])
    return f"{name}, seed {row['seed']}: {value}"


def remaining(state: pool.State) -> str:
    """Time that is left, judged by what was finished."""
    if not state.weight or not state.left:
        return "time left not known yet" if state.left else "nothing left"
    at_once = max(1, len(state.running))
    return f"about {screen.duration(state.left * state.spent / state.weight / at_once)} left"
