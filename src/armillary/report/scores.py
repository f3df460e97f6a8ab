"""The measured numbers of a `report.json`, each with its interval and the floors and ceilings it stands beside."""

from __future__ import annotations

from dataclasses import dataclass

from . import words
from .record import Json, Record, branch, number, numbers, text

Interval = tuple[float, float]

FURTHER = {  # key in report.json: what a reader calls it
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "calibration_error": "calibration error",
    "pixel_accuracy": "pixel accuracy",
    "foreground_iou": "foreground IoU",
}

REFERENCES = {  # key in report.json: what a reader calls it
    "untrained": "untrained encoder",
    "raw": "raw input",
    "chance": "chance",
    "random": "random policy",
    "cloned": "goal-conditioned cloning",
    "true_dynamics": "true dynamics",
    "planner": "its planner",
    "copy": "copy-last",
    "shuffled": "shuffled actions",
}


@dataclass(frozen=True)
class Reference:
    """A floor or ceiling: the same measurement on something else. key is one of `REFERENCES`."""

    key: str
    value: float
    interval: Interval | None

    @property
    def name(self) -> str:
        """What a reader calls it."""
        return REFERENCES[self.key]


@dataclass(frozen=True)
class Score:
    """One measured number. unit is one of `words.UNITS`; note says what it means, settings how it was measured.

    difference: paired, on the same rows or goals: from the untrained encoder, or from planning with true dynamics.
    """

    name: str
    value: float
    interval: Interval | None
    unit: str
    references: tuple[Reference, ...] = ()
    note: str = ""
    settings: str = ""
    difference: float | None = None
    difference_interval: Interval | None = None


@dataclass(frozen=True)
class Planned(Score):
    """A success rate, and success at the last step."""

    at_end: float | None = None
    at_end_interval: Interval | None = None


def probes(report: Json) -> list[Score]:
    """The scores of all probes, regression (`r2`) and classification (`score`)."""
    found = []
    for name in branch(report, "probe"):
        tree = branch(report, "probe", name)
        of = "" if name in ("label", "mask") else f" of {words.named(name).lower()}"
        if number(tree.get("r2")) is not None:
            found.append(_probe(f"{words.named(name)} probe, R²", tree, tree, "r2"))
        for kind, part in tree.items():
            if isinstance(part, dict) and number(part.get("score")) is not None:
                measure = text(part.get("measure")) or "accuracy"
                found.append(_probe(f"{words.named(kind)}, {measure}{of}", part, tree, "score"))
            elif isinstance(part, dict) and number(part.get("r2")) is not None:
                found.append(_probe(f"{words.named(kind)}, R²{of}", part, tree, "r2"))
    return found


def expectations(report: Json) -> list[Score]:
    """Coverage of a world model's 90 % intervals, and how well impossible clips are told from possible ones."""
    found = []
    for name, tree in branch(report, "uncertainty").items():
        held = branch(report, "uncertainty", name, "coverage", "0.9")
        value, raw = number(held.get("value")), branch(report, "uncertainty", name, "raw_coverage", "0.9")
        if value is not None and isinstance(tree, dict):
            note = f"{words.count(number(tree.get('episodes')) or 0)} held-back episodes"
            within = ends([held.get("low"), held.get("high")])
            said = f"{words.figure(number(raw.get('value')) or 0.0, 'share')} before correction"
            found.append(Score(f"{words.named(name)}: 90 % intervals hold", value, within, "share", (), note, said))
    for kind, tree in branch(report, "surprise").items():
        value = number(tree.get("auroc")) if isinstance(tree, dict) else None
        if value is not None and isinstance(tree, dict):
            note = f"{words.count(number(tree.get('pairs')) or 0)} pairs"
            said = f"the impossible twin surprises more in {words.figure(number(tree.get('accuracy')) or 0.0, 'share')}"
            chance = (Reference("chance", 0.5, None),)
            name, within = f"Surprise at {words.named(kind).lower()}, AUROC", ends(tree.get("auroc_interval"))
            found.append(Score(name, value, within, "r2", chance, note, said))
    return found


def plans(report: Json) -> list[Planned]:
    """Success rates, one for each kind of goal."""
    found = []
    for kind, tree in branch(report, "plan").items():
        value = number(tree.get("success")) if isinstance(tree, dict) else None
        if value is None or not isinstance(tree, dict):
            continue
        goals = f"{words.count(number(tree['goals']))} goals" if number(tree.get("goals")) else ""
        spent = _spent(tree)
        planned = Planned(
            name=words.named(kind),
            note=", ".join(filter(None, (goals, *spent))),
            value=value,
            interval=ends(tree.get("interval")),
            unit="share",
            references=_references(tree, "success", ("random", "cloned", "true_dynamics")),
            at_end=number(tree.get("at_end")),
            at_end_interval=ends(tree.get("at_end_interval")),
            difference=number(tree.get("difference")),
            difference_interval=ends(tree.get("difference_interval")),
        )
        found.append(planned)
    return found


def distilled(report: Json) -> list[Score]:
    """Success of a distilled policy, one for each kind of goal, beside the planner that it is of.

    settings: time for an action of policy and planner, all episodes at once.
    """
    found = []
    for kind, tree in branch(report, "distilled").items():
        value = number(tree.get("success")) if isinstance(tree, dict) else None
        if value is None or not isinstance(tree, dict):
            continue
        goals = f"{words.count(number(tree['goals']))} goals" if number(tree.get("goals")) else ""
        said = times(tree.get("seconds_per_action"), tree.get("planner_seconds_per_action"))
        score = Score(
            words.named(kind), value, ends(tree.get("interval")), "share", _references(tree, "success", ("planner",)),
            goals, said, number(tree.get("difference")), ends(tree.get("difference_interval")),
        )  # fmt: skip
        found.append(score)
    return found


def times(policy: object, planner: object) -> str:
    """Two times for an action in words, and how many of the first go into the second."""
    ours, theirs = number(policy), number(planner)
    if not ours or not theirs:
        return ""
    own, planned = (f"{words.compact(1000 * seconds)} ms" for seconds in (ours, theirs))
    return f"{own}, planner {planned}: {words.count(theirs / ours)} times"


def _spent(tree: Json) -> list[str]:
    """What reaching goals took, in words: time, steps of the model, steps to the goal; episodes that failed."""
    found = []
    for key, say in (
        ("seconds_per_plan", lambda x: f"{words.duration(x)} a plan"),
        ("evaluations_per_action", lambda x: f"{words.count(x)} model steps an action"),
        ("steps_to_success", lambda x: f"median {words.count(x)} steps to success"),
        ("failed", lambda x: f"{words.count(x)} episodes failed" if x else ""),
    ):
        value = number(tree.get(key))
        found.append("" if value is None else say(value))
    return found


def rollouts(report: Json) -> list[Score]:
    """Rollout error, over the targets' variance and over copying the last latent."""
    tree = branch(report, "rollout")
    rows = tree.get("by_horizon")
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    key = "horizon" if number(tree.get("horizon")) else "nmse"  # what tells which row the figure is of
    at = next((row for row in rows if row.get(key) == tree.get(key)), {})
    horizon = number(tree.get("horizon", at.get("horizon")))
    after = f"after {horizon:.0f} macro-steps" if horizon else "open loop"
    found = []
    for key, name, note in (
        ("nmse", "Rollout error over variance", f"{after}; 1 is predicting the mean"),
        ("ratio", "Rollout error over copy-last", f"{after}; 1 is copying the last latent"),
    ):
        value = number(tree.get(key))
        if value is not None:
            floors = _references(at, "nmse", ("copy", "shuffled")) if key == "nmse" else ()
            found.append(Score(name, value, ends(tree.get(f"{key}_interval")), "error", floors, note))
    return found


def ends(value: object) -> Interval | None:
    """The two ends of an interval that was written as [low, high]."""
    found = numbers(value)
    return (found[0], found[1]) if len(found) == 2 else None


def summary(record: Record) -> str:
    """What was learned, in one sentence: the run's own words, or else its numbers."""
    own = text(record.report.get("summary"))
    if own:
        return words.sentence(own)
    parts = []
    for score in probes(record.report)[:1]:
        floor = "".join(
            f" ({r.name} {words.figure(r.value, score.unit)})" for r in score.references if r.key == "untrained"
        )
        parts.append(f"a probe of its representation scores {words.figure(score.value, score.unit)}{floor}")
    reached = [f"{words.figure(plan.value, 'share')} of goals ({plan.name.lower()})" for plan in plans(record.report)]
    if reached:
        parts.append(f"planning with it reaches {words.listed(reached)}")
    steps, _ = record.series("energy", "loss")
    done = number(branch(record.report, "training").get("steps")) or (steps.max() if len(steps) else None)
    trained = f"after {words.count(done)} steps of training " if done else ""
    if parts:
        return words.sentence(trained + words.listed(parts))
    return words.sentence(f"{trained}nothing has been measured yet" if done else "this run has not been trained yet")


def tone(verdict: str) -> str:
    """The color of a verdict: healthy, collapse, warning, or unknown where there is none."""
    words_ = verdict.lower()
    if not words_:
        return "unknown"
    if words_.startswith("healthy"):
        return "healthy"
    return "collapse" if any(bad in words_ for bad in ("collapse", "not finite", "nan", "diverge")) else "warning"


def _probe(name: str, tree: Json, group: Json, key: str) -> Score:
    sizes = [f"{words.count(number(group[part]))} {part}" for part in ("train", "test") if number(group.get(part))]
    value = number(tree.get(key))
    assert value is not None
    return Score(
        name=name,
        value=value,
        interval=ends(tree.get("interval")),
        unit="r2" if key == "r2" else "share",
        references=_references({**group, **tree}, key, ("untrained", "raw", "chance")),
        note=", ".join(_further(tree)),
        settings=", ".join([*sizes, *_settings(tree.get("settings") or group.get("settings"))]),
        difference=number(tree.get("difference")),
        difference_interval=ends(tree.get("difference_interval")),
    )


def _further(tree: Json) -> list[str]:
    """What a probe found beside its score."""
    found = [f"{FURTHER[k]} {words.figure(number(tree[k]), 'share')}" for k in FURTHER if number(tree.get(k))]
    at = {k: number(value) for k, value in branch(tree, "recall").items()}
    return found + [f"recall at {k} {words.figure(value, 'share')}" for k, value in at.items()]


def _settings(value: object) -> list[str]:
    if isinstance(value, dict):
        tried = branch(value, "validation")  # what each strength gave: too much for a cell
        shown = [f"{words.named(k).lower()} {words.said(part)}" for k, part in value.items() if k != "validation"]
        return shown + ([f"chosen among {len(tried)}"] if tried else [])
    return [words.said(value)] if value else []


def _references(tree: Json, key: str, names: tuple[str, ...]) -> tuple[Reference, ...]:
    """Those that the tree has, written as `random`, `untrained_r2` or `untrained_score`."""
    found = []
    for name in names:
        value = number(tree.get(f"{name}_{key}", tree.get(name)))
        if value is not None:
            found.append(Reference(name, value, ends(tree.get(f"{name}_interval"))))
    return tuple(found)
