"""Which checkpoint of which run to keep, without labels: what the same inputs look like to each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Method, build
from ..data.dataset import Dataset
from ..data.formats.images import Images
from ..diagnostics.agreement import view_numbers
from ..diagnostics.pairs import subsample
from ..diagnostics.radar import Radar
from ..diagnostics.reading import Reading
from ..diagnostics.score import score
from ..randomness import Random
from ..recipes.run import Run
from ..training.checkpoint import best_step, checkpoints, fill, newest, read, step_of
from ..training.examiner import Examiner
from ..training.log import readings
from ..views.crops import resized_crop
from . import workspace
from .worlds import Tell, silent

ROWS, CHUNK = 1000, 100  # inputs that are read, and of them in one pass
INPUTS, VIEWS, SCALE = 200, 8, (0.3, 1.0)  # images of which crops are compared, crops of each, their share of the area


@dataclass(frozen=True)
class Ranked:
    """A checkpoint of a run, as the radar sees it.

    score: see `score`, None where it cannot be told. verdict: of the run's own readings up to its step. kept: it is the
    one that training kept as best-by-radar.
    """

    run: Path
    step: int
    score: float | None
    verdict: str
    reading: Reading
    kept: bool


def ranked(folder: Path, run: Run, tell: Tell = silent) -> list[Ranked]:
    """The checkpoints of a run, read on the train images or episodes of the run; the best first.

    Raises:
        CheckpointError: there is none, or one is damaged. DataError: the run's data are not where they were.
    """
    newest(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method, dataset = build(run.method, run.seed).to(device), workspace.open_split(run, folder, "train")
    examiner, kept = Examiner(dataset, ROWS, CHUNK, run.seed), best_step(folder)
    history, found, paths = readings(folder), [], checkpoints(folder)
    for i, path in enumerate(paths):
        tell(f"{folder.name}, {path.name}", i, len(paths))
        fill(method, read(path), path)
        step = step_of(path)
        reading = judged(method, dataset, examiner, isinstance(run.data, Images), step)
        if reading is None:
            continue
        before = [past for past in history if past.step <= step]
        verdict = Radar(before).verdict if before else Radar([reading], confirm=1).verdict
        found.append(Ranked(folder, step, score(reading), verdict, reading, step == kept))
    return best_first(found)


def best_first(found: list[Ranked]) -> list[Ranked]:
    """Healthy ones by score, then the others by score."""
    return sorted(found, key=lambda one: (one.verdict != "healthy", -(one.score or -1e9)))


def judged(method: Method, dataset: Dataset, examiner: Examiner, images: bool, step: int = 0) -> Reading | None:
    """All numbers that inputs without labels allow: those of a reading, and of images what their crops say together."""
    reading = examiner.reading(method.eval(), "fp32", step)
    method.eval()
    if reading is None or reading.broken or not images:
        return reading
    return replace(reading, numbers={**reading.numbers, **view_numbers(crops(method, dataset))})


@torch.no_grad()
def crops(method: Method, dataset: Dataset) -> Float[Tensor, "n q D"]:
    """Embeddings of random crops of the same images."""
    index = subsample(len(dataset), INPUTS, seed=1)
    device, made = next(method.parameters()).device, []
    raw = dataset.batch(index)
    batch = dataset.prepare({key: value.to(device) for key, value in raw.items()})
    for view in range(VIEWS):
        image = resized_crop(batch["image"], Random(0, view, batch["index"]), SCALE, flip=0.5)
        made.append(method.encode({**batch, "image": image}).pooled().float())
    return torch.stack(made, 1)
