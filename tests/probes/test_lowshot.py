"""Few labels are drawn class by class, fitted as scikit-learn fits them, and averaged over draws."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from armillary.data.dataset import open_data
from armillary.data.formats.images import Images
from armillary.errors import ConfigError, DataError
from armillary.probes import report as reports
from armillary.probes.extract import extract, raw_input
from armillary.probes.lowshot import labeled, low_shot
from armillary.probes.report import paired
from armillary.randomness import numbered

from .conftest import clusters, features


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch):
    """Fewer resamples than users get; what is claimed here holds for both."""
    monkeypatch.setattr(reports, "RESAMPLES", 200)


@pytest.mark.parametrize("width", [12, 60])  # fewer features than labeled rows, and more
def test_equals_scikit_learn_on_the_same_rows(width):
    train, test = clusters(400, width=width, apart=0.5), clusters(300, width=width, apart=0.5, seed=1)
    report = low_shot(train, test, 8, draws=3, strengths=(0.01,), iterations=1000)
    scaler = StandardScaler().fit(train.x.double())
    for draw in range(3):
        rows = labeled(train.y, torch.full((4,), 8), numbered(1, 0, draw))
        other = LogisticRegression(C=1 / (0.01 * 32), max_iter=5000, tol=1e-8)
        other.fit(scaler.transform(train.x[rows].double()), train.y[rows])
        score = other.score(scaler.transform(test.x.double()), test.y)
        assert report.details["draws"][draw] == pytest.approx(score, abs=0.01)
    assert report.score == pytest.approx(sum(report.details["draws"]) / 3)
    assert report.score == pytest.approx(float(report.rows.mean()), abs=1e-6) and report.train == 32


def test_so_many_rows_of_each_class_are_drawn_or_such_a_share():
    y = torch.tensor([0] * 50 + [1] * 200 + [2] * 3)
    rows = labeled(y, torch.tensor([3, 3, 3]), numbered(1))
    assert y[rows].tolist() == [0] * 3 + [1] * 3 + [2] * 3 and len(rows.unique()) == 9
    assert not torch.equal(rows, labeled(y, torch.tensor([3, 3, 3]), numbered(1, step=1)))
    part = features(torch.randn(253, 4), y)
    assert low_shot(part, part, 0.1, draws=1).train == 5 + 20 + 1  # at least one row of each class
    assert low_shot(part, part, 3, draws=1).train == 9


def test_more_labels_help_and_draws_widen_the_interval():
    train, test = clusters(800, apart=0.8), clusters(400, apart=0.8, seed=1)
    scores = [low_shot(train, test, shots) for shots in (1, 10, 0.3)]
    assert scores[0].score < scores[1].score < scores[2].score
    low, high = scores[0].interval
    assert low < scores[0].score < high
    wilson = 2 * 1.96 * (scores[0].score * (1 - scores[0].score) / 400) ** 0.5
    assert high - low > 1.15 * wilson  # one label of a class: draws differ more than test rows do


def test_one_row_of_a_class_has_a_fixed_strength_and_more_are_cross_validated():
    train, test = clusters(200), clusters(50, seed=1)
    assert low_shot(train, test, 1).settings["strength"] == [0.1] * 5
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (400,), generator=generator)
    noisy = features(torch.randn(400, 200, generator=generator) + 0.2 * y[:, None], y)
    assert min(low_shot(noisy, noisy, 20, draws=2).settings["strength"]) >= 0.1
    clear = features(torch.randn(400, 2, generator=generator) * 0.1 + y[:, None] * torch.tensor([1.0, 0.1]), y)
    assert low_shot(clear, clear, 20, draws=2).score > 0.99


def test_settings_are_those_of_the_labeled_rows_alone():
    train, test = clusters(300), clusters(80, seed=1)
    report = low_shot(train, test, 5, draws=3)
    assert low_shot(train, features(test.x, test.y.roll(1)), 5, draws=3).settings == report.settings
    assert torch.equal(low_shot(train, test, 5, draws=3).rows, report.rows)


def test_encoders_are_paired_on_the_same_draws():
    train, test = clusters(400), clusters(200, seed=1)
    noise = torch.randn(2, 400, 12, generator=torch.Generator().manual_seed(5)) * train.x.std(0) * 1.5
    worse = [features(part.x + noise[i, : len(part.x)], part.y) for i, part in enumerate((train, test))]
    good, bad = low_shot(train, test, 5, draws=3), low_shot(*worse, 5, draws=3)
    low, high = paired(good, bad)
    assert 0 < low < good.score - bad.score < high
    assert paired(good, good) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("shots", "error", "message"),
    [
        (200, DataError, r"200 rows of each class are needed, there are \d+ of class 0.*lower shots"),
        (0.0, ConfigError, "give a share between 0 and 1 or a whole number"),
        (2.5, ConfigError, "whole number"),
    ],
)
def test_impossible_shots_are_explained(shots, error, message):
    with pytest.raises(error, match=message):
        low_shot(clusters(100), clusters(20, seed=1), shots)


def test_single_class_labels_are_explained():
    with pytest.raises(DataError, match="needs at least 2 classes"):
        low_shot(features(torch.randn(9, 12), torch.ones(9, dtype=torch.int64)), clusters(9), 1)


def test_hand_signs_are_told_apart_better_with_more_labels(shared):
    data = Images(path=str(shared / "data" / "sign_digits"), size=16)
    train, test = (extract(raw_input("image"), open_data(data, split), count=300) for split in ("train", "test"))
    one, ten = low_shot(train, test, 1), low_shot(train, test, 10, draws=2)
    assert one.chance < one.score < ten.score < 0.9
