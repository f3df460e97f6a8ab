"""What is still to do, and which rows answer it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from armillary.bench.contenders import Contender, contender
from armillary.bench.jobs import FORMAT, Job, Terms, best, every, fields, known, pending, raw, together, tries
from armillary.bench.rows import plain
from armillary.bench.splits import Splits, open_splits
from armillary.commands.bench import _find
from armillary.data.formats.images import Images
from armillary.errors import ConfigError
from armillary.recipes.run import Json, Probe

from .conftest import IJEPA

TERMS = Terms(budget=1e9, tries=2, share=0.1, seeds=2)


@pytest.fixture(scope="module")
def splits(colored: Path) -> Splits:
    return open_splits(Images(str(colored), size=16))


@pytest.fixture(scope="module")
def one(splits: Splits) -> Contender:
    return contender(IJEPA, _find, splits, Probe(neighbors=3))


def row(job: Job, splits: Splits, validation: float = 0.5) -> Json:
    """The parts of a row that decide what it answers."""
    tree = {"key": job.key, "format": FORMAT, "kind": job.kind, "contender": job.contender, "seed": job.seed,
            "data": splits.fingerprint(), "factor": job.factor, "budget": job.budget}  # fmt: skip
    more: Json = {"values": fields(job.run), "validation": validation} if job.kind != "pixels" else {}
    return plain(tree | more)  # type: ignore[return-value]


def test_tries_come_first_then_the_floor_then_runs_at_the_best_rate(one: Contender, splits: Splits):
    first = pending([one], TERMS, splits, {}, ())
    assert [job.kind for job in first] == ["try", "try", "pixels"]
    done = {job.key: row(job, splits, 0.4 + 0.2 * i) for i, job in enumerate(first[:2])}
    rest = pending([one], TERMS, splits, done, ())
    assert [(job.kind, job.seed) for job in rest] == [("pixels", 0), ("run", 0), ("run", 1)]
    assert rest[1].run.optim.lr == pytest.approx(one.run.optim.lr / 3, rel=1e-5) and rest[1].budget == TERMS.budget
    assert not pending([one], TERMS, splits, done | {job.key: row(job, splits) for job in rest}, ())
    assert pending([one], TERMS, splits, done, {job.key for job in rest}) == []


def test_failed_tries_leave_no_rate_and_equals_keep_the_recipes():
    assert best([{"validation": None, "factor": 1.0}]) is None
    assert best([{"validation": 0.5, "factor": 1.0}, {"validation": 0.5, "factor": 3.0}]) == 1.0
    assert best([{"validation": None, "factor": 1.0}, {"validation": 0.0, "factor": 3.0}]) == 3.0


def test_rates_are_not_tried_without_labels_or_with_one_try(one: Contender, splits: Splits):
    assert tries(one, replace(TERMS, tries=1), splits) == []
    assert tries(one, TERMS, replace(splits, classes=())) == []


def test_row_that_tells_fewer_settings_answers_and_one_of_other_settings_does_not(one: Contender, splits: Splits):
    job = next(job for job in every(one, TERMS, splits) if job.kind == "run")
    held = row(job, splits) | {"key": "of an earlier version"}
    del held["values"]["optim"]["trust"]  # type: ignore[index,attr-defined]
    del held["format"]
    assert known([one], TERMS, splits, [held])[job.key] is held
    for name, value in (("budget", 2e9), ("data", {}), ("format", FORMAT + 1)):
        assert job.key not in known([one], TERMS, splits, [held | {name: value}])
    changed = row(job, splits) | {"key": "other"}
    changed["values"]["optim"]["lr"] = 1.0  # type: ignore[index]
    assert job.key not in known([one], TERMS, splits, [changed])


def test_runs_at_any_chosen_rate_are_known_after_a_version_that_told_fewer_settings(one: Contender, splits: Splits):
    held = []
    for i, job in enumerate(tries(one, TERMS, splits)):
        held.append(row(job, splits, 0.4 + 0.2 * i))
    chosen = best(held)
    assert chosen == 0.333333
    held += [row(job, splits) for job in pending([one], TERMS, splits, {r["key"]: r for r in held}, ())]  # type: ignore[misc]
    for r in held:
        r["key"] = f"old {r['key']}"
        if r["kind"] != "pixels":
            del r["values"]["optim"]["trust"]  # type: ignore[index,attr-defined]
    left = pending([one], TERMS, splits, known([one], TERMS, splits, held), ())
    assert [job.kind for job in left] == ["pixels"]


def test_changed_file_of_the_users_own_is_trained_anew(one: Contender, splits: Splits):
    before, after = (replace(one, sha256=sha) for sha in ("a" * 64, "b" * 64))
    held = [row(job, splits) for job in every(before, TERMS, splits)]
    assert all(job.key in known([before], TERMS, splits, held) for job in every(before, TERMS, splits))
    assert not any(job.key in known([after], TERMS, splits, held) for job in every(after, TERMS, splits))


def test_page_shows_the_rows_that_were_asked_for_though_others_came_later(one: Contender, splits: Splits):
    other = replace(one, run=replace(one.run, probe=replace(one.run.probe, train=20)))
    terms = replace(TERMS, tries=1)
    mine = [row(job, splits) for job in (*every(one, terms, splits), raw(one.run, splits))]
    foreign = [row(job, splits) for job in (*every(other, terms, splits), raw(other.run, splits))]
    richer = [row(job, splits) for job in every(one, replace(terms, budget=2e9), splits)]
    guest = [r | {"key": f"guest{i}", "contender": "guest"} for i, r in enumerate(mine[:2])]
    shown = together([one], terms, splits, [*mine, *guest, *foreign, *richer])
    assert shown == [*guest, *mine]
    assert together([other], terms, splits, [*mine, *foreign, *richer]) == foreign


def test_same_images_elsewhere_have_the_same_jobs(one: Contender, splits: Splits):
    config = replace(one.run.data, path="/somewhere/else/colored")  # type: ignore[type-var]
    moved = replace(one, run=replace(one.run, data=config))
    assert [job.key for job in every(moved, TERMS, splits)] == [job.key for job in every(one, TERMS, splits)]
    assert "/" not in str(fields(moved.run)["data"])


@pytest.mark.parametrize(
    "wrong", [{"tries": 8}, {"seeds": 0}, {"share": 0.0}, {"share": 1.1}, {"budget": -1.0}, {"budget": float("nan")}]
)
def test_impossible_terms_are_refused(wrong: dict):
    with pytest.raises(ConfigError):
        replace(TERMS, **wrong)
