"""Areas are those of counted pairs, the other figures those of their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from armillary.data.dataset import open_data
from armillary.data.formats.images import Images
from armillary.errors import ConfigError, DataError
from armillary.probes import report as reports
from armillary.probes.clinical import clinical, figures, roc
from armillary.probes.extract import Features, extract, raw_input
from armillary.probes.linear import classified, linear
from armillary.probes.report import paired

from .conftest import clusters, features

ONCE = torch.ones(120, dtype=torch.float64)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch):
    """Fewer resamples than users get; what is claimed here holds for both."""
    monkeypatch.setattr(reports, "RESAMPLES", 200)


def scores(classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities with many ties, and classes that they tell of."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (120,), generator=generator)
    raw = torch.rand(120, classes, generator=generator, dtype=torch.float64) + 0.4 * torch.eye(classes)[y]
    return (raw / raw.sum(1, keepdim=True) * 20).round() / 20, y


def pairs(score, positive):
    """The area by counting all pairs."""
    won = [(a > b) + 0.5 * (a == b) for a in score[positive].tolist() for b in score[~positive].tolist()]
    return sum(won) / len(won)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_area_counts_pairs_rightly_ordered(classes):
    probability, y = scores(classes)
    area, _ = roc(probability, y, 0.9)(ONCE)
    for k in range(classes):
        assert float(area[k]) == pytest.approx(pairs(probability[:, k], y == k), abs=1e-12)
        assert float(area[k]) == pytest.approx(roc_auc_score(y == k, probability[:, k]))


def test_rows_that_count_twice_are_rows_that_occur_twice():
    probability, y = scores(3)
    drawn = torch.randint(0, 120, (120,), generator=torch.Generator().manual_seed(3))
    weight = drawn.bincount(minlength=120).double()
    one, other = (figures(probability, y, 0.8, 10)(weight), figures(probability[drawn], y[drawn], 0.8, 10)(ONCE))
    assert torch.allclose(one, other)


def test_sensitivity_is_the_highest_at_the_specificity():
    probability, y = scores(2)
    for asked in (0.5, 0.8, 0.95):
        false, true, _ = roc_curve(y, probability[:, 1], drop_intermediate=False)
        wanted = max(t for f, t in zip(false, true, strict=True) if 1 - f >= asked - 1e-12)
        assert float(figures(probability, y, asked, 10)(ONCE)[2]) == pytest.approx(wanted)


def test_known_answers():
    y = torch.tensor([0, 0, 0, 1, 1])
    perfect = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.2, 0.8]], dtype=torch.float64)
    area, recall, sensitivity, gap = figures(perfect, y, 0.9, 10)(torch.ones(5, dtype=torch.float64)).tolist()
    assert (area, recall, sensitivity) == (1.0, 1.0, 1.0)
    # right answers of confidence .9 .8 .7 .6 .8: bins hold one each but for the two of .8
    assert gap == pytest.approx((0.1 + 0.2 + 0.3 + 0.4 + 0.2) / 5)
    same = torch.full((5, 2), 0.5, dtype=torch.float64)
    assert figures(same, y, 0.9, 10)(torch.ones(5, dtype=torch.float64)).tolist() == pytest.approx([0.5, 0.5, 0, 0.1])


def test_calibration_error_equals_a_loop_over_bins():
    probability, y = scores(4)
    confidence, answer = probability.max(1)
    total = 0.0
    for b in range(15):
        rows = [i for i in range(120) if b <= float(confidence[i]) * 15 < b + 1 or (b == 14 and confidence[i] == 1)]
        if rows:
            accuracy = sum(float(answer[i] == y[i]) for i in rows) / len(rows)
            mean = sum(float(confidence[i]) for i in rows) / len(rows)
            total += len(rows) / 120 * abs(accuracy - mean)
    assert float(figures(probability, y, 0.9, 15)(ONCE)[3]) == pytest.approx(total)


def test_the_probe_is_the_linear_one_with_intervals_around_every_figure():
    train, test = clusters(300, apart=0.4), clusters(200, apart=0.4, seed=1)
    report, plain = clinical(train, test), linear(train, test)
    assert torch.equal(report.rows, plain.rows) and report.settings["strength"] == plain.settings["strength"]
    logits, _ = classified(train, test, (report.settings["strength"],), 100, 0)
    assert report.score == pytest.approx(roc_auc_score(test.y, logits.softmax(1), multi_class="ovr"), abs=0.01)
    answers = logits.argmax(1)
    assert report.details["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(test.y, answers), abs=0.02)
    for name in ("auroc", "balanced_accuracy", "sensitivity"):
        low, high = report.details[f"{name}_interval"]
        assert 0 < low < report.details[name] < high <= 1
    assert report.interval == tuple(report.details["auroc_interval"]) and report.chance == 0.5
    assert torch.equal(clinical(train, test).rows, report.rows) and clinical(train, test).interval == report.interval


def test_the_interval_of_an_area_is_about_hanley_and_mcneils():
    generator = torch.Generator().manual_seed(0)
    y = (torch.arange(1200) % 3 == 0).long()
    x = torch.randn(1200, 1, generator=generator) + 0.8 * y[:, None]
    report = clinical(features(x[:600], y[:600]), features(x[600:], y[600:]))
    a, m, n = report.score, 200, 400
    one, two = a / (2 - a), 2 * a * a / (1 + a)
    error = math.sqrt((a * (1 - a) + (m - 1) * (one - a * a) + (n - 1) * (two - a * a)) / (m * n))
    low, high = report.interval
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_rows_of_one_patient_widen_the_interval():
    train, test = clusters(300, apart=0.5), clusters(60, apart=0.5, seed=1)
    five = torch.arange(60).repeat_interleave(5)
    alone = features(test.x[five], test.y[five])
    patients = Features(alone.x, alone.y, alone.index, five)
    (low, high), (lower, higher) = (clinical(train, part).interval for part in (alone, patients))
    assert higher - lower > 1.7 * (high - low)


def test_a_rare_class_is_in_every_resample():
    train, test = clusters(300), clusters(100, seed=1)
    y = torch.where(torch.arange(100) < 98, test.y.clamp_max(2), 3)
    report = clinical(train, features(test.x, y))
    assert all(math.isfinite(end) for end in report.details["balanced_accuracy_interval"])


def test_encoders_are_paired_and_classes_that_training_lacks_are_missed():
    train, test = clusters(300, apart=0.4), clusters(200, apart=0.4, seed=1)
    worse = [features(part.x[:, :4], part.y) for part in (train, test)]
    good, bad = clinical(train, test), clinical(*worse)
    low, high = paired(good, bad)
    assert 0 < low < good.score - bad.score < high
    few = features(train.x[train.y < 3], train.y[train.y < 3])
    assert clinical(few, test).details["balanced_accuracy"] < good.details["balanced_accuracy"]


def test_wrong_input_is_explained():
    one = features(torch.randn(20, 12), torch.zeros(20, dtype=torch.int64))
    with pytest.raises(DataError, match="needs at least 2 classes"):
        clinical(one, clusters(20))
    with pytest.raises(DataError, match="20 test rows are of class 0"):
        clinical(clusters(50), one)
    for wrong in ({"specificity": 1.0}, {"specificity": 0.0}, {"bins": 0}):
        with pytest.raises(ConfigError, match="specificity is"):
            clinical(clusters(50), clusters(20), **wrong)


def test_chest_images_are_told_apart_by_their_pixels(shared):
    data = Images(path=str(shared / "data" / "chest_xray"), size=16, channels=1)
    train, test = (extract(raw_input("image"), open_data(data, split), count=200) for split in ("train", "test"))
    report = clinical(train, test)
    assert report.interval[0] > 0.5 and report.details["calibration_error"] < 0.5
