"""What pages say, worked out by hand from rows."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from armillary.bench import charts, comparison, markdown, page, rows
from armillary.bench.summary import summary
from armillary.errors import DataError
from armillary.functional.statistics import wilson
from armillary.randomness import numbered

N = 200  # test rows
DATA = {"name": "pictures", "images": 100, "labeled": 100, "test": N, "classes": 2, "size": 16}
PROBE = {"train": 50, "test": N, "neighbors": 3, "temperature": 0.07, "iterations": 20}
SHARED = {"flops": 1e9, "flops_per_step": 1e6, "samples": 8000, "steps": 1000, "seconds": 9.0, "cpu_seconds": 60.0,
          "parameters": 10, "encoder_parameters": 5, "batch": 8}  # fmt: skip


def answers(chance: float, seed: int) -> torch.Tensor:
    return numbered(1, seed).uniform("answers", N)[0] < chance


def scores(right: torch.Tensor) -> dict[str, Any]:
    probe = {"score": float(right.double().mean()), "interval": [0, 1], "rows": rows.packed(right)}
    found = {"linear": probe, "knn": probe, "chance": 0.5, "train": 50, "test": N, "verdict": "healthy"}
    return found | {"diagnostics": {"rankme": 3.0, "min_std": None}}


def run(name: str, seed: int, chance: float, **changes: Any) -> dict[str, Any]:
    key = rows.key([name, seed, chance, {k: v for k, v in changes.items() if k != "values"}])
    row = {"key": key, "kind": "run", "contender": name, "method": name, "seed": seed, "data": DATA, "budget": 1e9,
           "backbone": "vit8x1/4", "commit": "a" * 40, "lr": 1e-3, "factor": 1.0, "version": "0", "warnings": [],
           "values": {"method": {}, "optim": {"lr": 1e-3}, "seed": seed, "probe": PROBE},
           "scores": scores(answers(chance, seed)), "untrained": scores(answers(0.5, seed)),
           "curve": [[0, 0.5], [1e9, chance]]}  # fmt: skip
    return row | SHARED | changes


def tried(name: str, factor: float, validation: float | None, **changes: Any) -> dict[str, Any]:
    row = run(name, 0, 0.5, kind="try", factor=factor, lr=1e-3 * factor, budget=1.5e8, validation=validation)
    return row | {"key": rows.key([name, factor, "try"])} | changes


def pixels(**changes: Any) -> dict[str, Any]:
    row = {"key": "pixels", "kind": "pixels", "contender": "pixels", "seed": 0, "data": DATA, "commit": "a" * 40}
    return row | {"scores": scores(answers(0.55, 9)), "warnings": []} | changes


THREE = [run(name, seed, chance) for name, chance in (("good", 0.8), ("poor", 0.5)) for seed in range(3)]


def test_lines_hold_means_gains_floors_and_ranks():
    found = summary([*THREE, pixels()])
    assert [line.name for line in found.lines[:1]] == ["good"]
    assert sorted(line.name for line in found.lines) == ["good", "poor", "raw pixels", "untrained vit8x1/4"]
    good = found.lines[0]
    means = [float(answers(0.8, seed).double().mean()) for seed in range(3)]
    before = [float(answers(0.5, seed).double().mean()) for seed in range(3)]
    score = good.scores["linear"]
    assert score.mean == pytest.approx(sum(means) / 3) and score.seeds == pytest.approx(tuple(means))
    assert score.gain == pytest.approx(sum(means) / 3 - sum(before) / 3)
    middle = sum(means) / 3
    half = 4.302653 * math.sqrt(sum((m - middle) ** 2 for m in means) / 2 / 3)
    assert score.interval == pytest.approx((middle - half, middle + half), rel=1e-5)
    assert good.rank == (1.0, 1, 1)
    poor = next(line for line in found.lines if line.name == "poor")  # the same answers as untrained: nothing gained
    assert poor.scores["linear"].gain == 0 and poor.scores["linear"].gain_interval[0] < 0  # type: ignore[index]
    floor = next(line for line in found.lines if line.kind == "untrained")
    assert floor.seeds == 3 and floor.scores["linear"].mean == pytest.approx(sum(before) / 3)  # not once per contender
    assert [(pair.first, pair.second) for pair in found.pairs] == [("good", "poor")] and found.pairs[0].differ
    assert "1 of 2 contenders beat their own untrained backbone" in markdown.render(found)


def test_untrained_encoders_are_counted_once_whatever_their_version_says_beside():
    newer = [run("newer", seed, 0.6) for seed in range(3)]
    for row in newer:
        row["untrained"]["diagnostics"]["clumping"] = 0.9
    floor = next(line for line in summary([*THREE, *newer]).lines if line.kind == "untrained")
    assert floor.seeds == 3


def test_warnings_are_told_whole_with_whose_they_are_and_not_those_of_tries():
    cut = ("step 75: it collapses. Usually because of this " + "and that " * 40)[:300]
    warned = [run("good", 0, 0.8, warnings=[cut, "low"]), run("good", 1, 0.8, warnings=["low"])]
    found = summary([*warned, tried("good", 1.0, 0.5, warnings=["of a try"])])
    assert found.warnings == ("good, seed 0: step 75: it collapses.", "good, seed 0; good, seed 1: low")


def test_floors_are_told_and_ranks_of_two_seeds_have_no_interval():
    floor = {"key": "f", "kind": "floor", "contender": "a guess", "seed": 0, "measure": "accuracy", "score": 0.25}
    text = markdown.render(summary([*(row for row in THREE if row["seed"] < 2), floor]))
    assert "Floor: accuracy 25 %, a guess." in text
    line = next(line for line in text.splitlines() if line.startswith("| good"))
    assert "| 1 |" in line and "(1 to" not in line


def test_pairs_are_made_of_the_seeds_that_both_have():
    found = summary([*THREE[:3], THREE[4]])
    gap = answers(0.8, 1).double().mean() - answers(0.5, 1).double().mean()
    assert found.pairs[0].difference == pytest.approx(float(gap))
    assert "1 and 3 per contender" in markdown.render(found)


def test_later_row_of_the_same_place_replaces_the_earlier():
    again = run("good", 1, 0.9)
    found = summary([*THREE, again])
    good = found.lines[0]
    assert good.seeds == 3 and good.keys[1] == again["key"]
    assert good.scores["linear"].seeds[1] == pytest.approx(float(answers(0.9, 1).double().mean()))


def test_rows_of_settings_that_a_contender_no_longer_has_are_left_out():
    new = run("good", 0, 0.7, lr=3e-3)
    new["values"] = {**new["values"], "optim": {"lr": 3e-3}}
    found = summary([*THREE, new])
    good = found.lines[0]
    assert good.seeds == 1 and good.keys == (new["key"],)
    more = deepcopy(THREE[0]) | {"key": "more"}  # tells a setting that the others do not: the same as far as both tell
    more["values"]["method"] = {"width": 8}
    assert summary([*THREE, more]).lines[0].seeds == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budget": 2e9}, "different budget"),
        ({"data": {**DATA, "images": 7}}, "different data"),
        ({"values": {"method": {}, "probe": {**PROBE, "train": 20}}}, r"different probe\.train"),
    ],
)
def test_mixed_comparisons_are_refused(change: dict[str, Any], words: str):
    with pytest.raises(DataError, match=words):
        summary([*THREE, run("other", 0, 0.6, **change)])


def test_rows_of_an_earlier_version_that_tell_fewer_settings_are_not_called_mixed():
    old = run("other", 0, 0.6, values={"method": {}, "probe": {"train": 50}})
    assert len(summary([*THREE, old, run("older", 0, 0.6, values=None)]).pairs) == 6


def test_raw_pixels_of_other_images_do_not_stand_beside():
    found = summary([*THREE, pixels(data={**DATA, "images": 7})])
    assert all(line.kind != "pixels" for line in found.lines)


def test_no_finished_run_is_told():
    with pytest.raises(DataError, match="no run is finished"):
        summary([pixels(), tried("good", 1.0, 0.5)])


def test_unequal_tuning_labels_and_single_seeds_are_said():
    taught = run("taught", 0, 0.9, values={"method": {"classes": 2}, "optim": {"lr": 1e-3}, "seed": 0, "probe": PROBE})
    tries = [tried("good", 1.0, 0.7), tried("good", 3.0, None)]
    text = markdown.render(summary([THREE[0], taught, *tries]))
    assert "Trained on the labels, which the others are not: taught." in text
    assert "Trained without labels: " in text and ", of good." in text
    assert "Not everyone was tuned alike" in text and "good 2" in text and "taught 0" in text
    assert "say nothing of other seeds" in text
    assert "0.001: 70.0; " in text and ": did not train |" in text
    everyone = [*THREE, *(tried(name, 1.0, 0.7) for name in ("good", "poor"))]
    text = markdown.render(summary(everyone))
    assert not any(words in text for words in ("tuned alike", "Trained on the labels", "other seeds"))


def test_seeds_that_agree_by_chance_do_not_give_an_interval_of_no_width():
    same = [run("good", seed, 0.8, scores=scores(answers(0.8, 0))) for seed in range(3)]
    score = summary(same).lines[0].scores["linear"]
    assert score.interval == pytest.approx(tuple(wilson(int(answers(0.8, 0).sum()), N)))


FURTHER = {"score": 0.4, "interval": [0.3, 0.5], "untrained": 0.2, "untrained_interval": [0.1, 0.3], "raw": 0.1,
           "raw_interval": [0.0, 0.2], "difference": 0.2, "difference_interval": [0.1, 0.3],
           "measure": "mean IoU"}  # fmt: skip


def test_further_probes_of_some_contenders_and_unknown_numbers_are_shown(tmp_path: Path):
    a = run("good", 0, 0.8, further={"segmentation": FURTHER})
    b = run("poor", 0, 0.5, further={"clinical": FURTHER | {"score": 0.9, "measure": "AUROC", "raw": None}})
    c = run("third", 0, 0.5, further={"segmentation": FURTHER | {"score": 0.6, "interval": [None, None]}})
    written = comparison.write([a, b, c], [], tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    assert "| segmentation, mean IoU | good | vit8x1/4 | 40.0 (30.0 to 50.0) | +20.0 (+10.0 to +30.0) |" in text
    assert "| clinical, AUROC | poor | vit8x1/4 | 90.0 (30.0 to 50.0) |" in text
    assert text.index("| third | vit8x1/4 | 60.0 (? to ?)") < text.index("| good | vit8x1/4 | 40.0")
    assert "Other probes" in (tmp_path / "comparison.html").read_text()
    assert rows.plain(written.tree())


def test_low_shot_probes_become_a_curve_of_labeled_images():
    def low(score: float, count: int) -> dict[str, Any]:
        return {"score": score, "raw": 0.2, "train": count, "interval": [0, 1]}

    shots = {"low_shot_5_per_class": low(0.5, 10), "low_shot_1_per_class": low(0.3, 2), "linear": low(0.9, 50)}
    more = {"low_shot_5_per_class": low(0.7, 10), "low_shot_1_per_class": low(0.4, 2), "linear": low(0.9, 50)}
    found = summary([run("good", 0, 0.8, further=shots), run("good", 1, 0.8, further=more), run("poor", 0, 0.5)])
    assert "Score against labels" in [chart.title for chart in charts.charts(found)]
    count, scores = charts._low_shot(found.lines[0], "score")
    assert count.tolist() == [2, 10] and scores.flatten().tolist() == pytest.approx([30, 40, 50, 70])
    assert "Score against labels" not in [chart.title for chart in charts.charts(summary(THREE))]


def test_page_of_twenty_contenders_names_all_and_no_label_is_wider_than_its_margin(tmp_path: Path):
    names = [f"ijepa[method.masks=variant{i}]" for i in range(20)]
    found = summary([run(name, 0, 0.5 + i / 100) for i, name in enumerate(names)])
    text = page.render(found, tmp_path)
    assert all(name in text for name in names) and "variant17]" in text
    from armillary.bench.charts import _font, _short

    shown = [_short(name) for name in names]
    assert len(set(shown)) == 20 and max(len(name) for name in shown) <= 21
    assert all(_font(name) * 0.6 * len(_short(name)) <= 110 for name in [*names, "untrained resnet18/16", "x"])
