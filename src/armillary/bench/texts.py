"""What a comparison says in sentences."""

from __future__ import annotations

from ..report import words
from .summary import Line, Summary

FURTHER = (
    "In percent, one value for each seed with its 95 % interval over test images; differences are paired. Chosen by no "
    "test image; floors stand beside. Masks and images are the middle square at the size above."
)


CURVE = (
    "Nearest-neighbor accuracy, %, mean of seeds, after so much of the budget; on fewer rows than the table above, "
    "where there are many."
)


def lead(found: Summary) -> str:
    """What came out, in a sentence or two."""
    runs = _runs(found)
    if found.masked:
        return (
            f"{len(runs)} contenders without labels, judged by masks: the best mean IoU is "
            f"{words.figure(runs[0].main, 'share')}, of {runs[0].name}; intervals and gains over untrained backbones "
            "stand under other probes. Other columns are label-free diagnostics of test images."
        )
    if not found.labeled:
        return (
            f"{len(runs)} contenders without labels: accuracy is unknown. What stands here are label-free diagnostics "
            "of the representations of test images, which show a collapse and say little of usefulness; the order is "
            "that of uniformity, the more uniform first, and no ranking."
        )
    gained = [line for line in runs if (line.scores["linear"].gain_interval or (0.0, 0.0))[0] > 0]
    first, free = runs[0], [line for line in runs if not line.supervised]
    tied = [pair.second for pair in found.pairs if pair.first == first.name and not pair.differ]
    shared = f"; {words.listed(tied)} may be as good" if tied else ""
    without = f" Trained without labels: {_best(free[0])}." if first.supervised and free else ""
    return (
        f"{len(gained)} of {len(runs)} contenders beat their own untrained backbone. The best linear accuracy is "
        f"{_best(first)}{shared}.{without}"
    )


def _best(line: Line) -> str:
    return f"{words.figure(line.scores['linear'].mean, 'share')}, of {line.name}"


def how(found: Summary) -> str:
    """How it was done."""
    data, runs = found.data, _runs(found)
    seeds = sorted({line.seeds for line in runs})
    said = [
        f"Every contender was trained for {words.compact(found.budget)} counted FLOPs (products of training steps, "
        f"forwards and backwards, teachers included) on {words.count(_number(data['images']))} images of "
        f"{data['size']} pixels"
    ]
    if found.tries:
        judge = "linear probe" if found.labeled else "mean IoU of masks"
        count = max(sum(row["contender"] == line.name for row in found.tries) for line in runs)
        share = _number(found.tries[0]["budget"]) / found.budget
        said[0] += (
            f", after {count} learning rates had been tried for {100 * share:.0f} % of that each, on the train images "
            f"without a held-out tenth, by which they were judged ({judge})"
        )
    said.append(f"seeds: {words.listed([str(n) for n in seeds])} per contender")
    said += [
        f"floor: {floor['measure']} {words.figure(_number(floor['score']), 'share')}, {floor['contender']}"
        for floor in found.floors
    ]
    text = ". ".join(part[:1].upper() + part[1:] for part in said) + "."
    if not found.labeled:
        return text
    return text + (
        f" Probes are fitted on frozen features of {words.count(found.probe_rows[0])} train images and scored on "
        f"{words.count(found.probe_rows[1])} test images, which nothing was chosen by. Intervals are "
        "95 %: of scores Student's over seeds for these test images (Wilson's over test images for a single seed), of "
        "gains and differences paired over test images and seeds, of ranks a bootstrap of both."
    )


def notes(found: Summary) -> list[str]:
    """What a reader must know: partial labels, verdicts other than healthy, warnings."""
    said = []
    images, labeled = _number(found.data["images"]), _number(found.data["labeled"])
    if 0 < labeled < images:
        said.append(f"{words.count(labeled)} of the train images are labeled; the others were trained on without.")
    if all(line.seeds == 1 for line in _runs(found)):
        said.append("One seed each: intervals are of the test images alone and say nothing of other seeds.")
    taught = [line.name for line in found.lines if line.supervised]
    if taught and len(taught) < len(_runs(found)):
        said.append(f"Trained on the labels, which the others are not: {words.listed(taught)}.")
    counts = {line.name: sum(row["contender"] == line.name for row in found.tries) for line in _runs(found)}
    if len(set(counts.values())) > 1:
        each = words.listed([f"{name} {count}" for name, count in counts.items()])
        said.append(f"Not everyone was tuned alike; learning rates that were tried: {each}.")
    for line in found.lines:
        bad = [verdict for verdict in line.verdicts if verdict != "healthy"]
        if bad and line.kind == "run":
            said.append(f"{line.name}: {'; '.join(bad)}.")
    said += [f"Warned by the code of its commit, {text}" for text in found.warnings]
    dirty = [commit for commit in found.commits if commit.endswith("-dirty") or not commit]
    if dirty:
        said.append("Some rows were made by code that is not exactly that of a commit.")
    return said


def _runs(found: Summary) -> list[Line]:
    return [line for line in found.lines if line.kind == "run"]


def failed(found: Summary) -> list[str]:
    """One sentence per failure."""
    return [f"{f['contender']}, {f['kind']}, seed {f['seed']}: {f['message']}" for f in found.failures]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
