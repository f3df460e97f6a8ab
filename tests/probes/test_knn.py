"""The vote is that of the nearest neighbors by cosine; wrong input is explained."""

import math

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from armillary.errors import ConfigError, DataError, ShapeError
from armillary.probes.knn import knn

from .conftest import clusters, features


def test_equals_an_independent_implementation():
    train, test = clusters(600), clusters(300, seed=1)
    report = knn(train, test, k=7, temperature=0.1)
    other = KNeighborsClassifier(
        7, metric="cosine", weights=lambda distance: torch.exp(-torch.tensor(distance) / 0.1).numpy()
    )
    right = torch.tensor(other.fit(train.x.double(), train.y).predict(test.x.double())) == test.y
    assert (report.rows != right).sum() <= 1  # a tie may fall otherwise in float32
    assert report.score == float(report.rows.double().mean())


def test_a_low_temperature_leaves_the_nearest_neighbor():
    train, test = clusters(200), clusters(100, seed=1)
    assert torch.equal(knn(train, test, k=20, temperature=1e-4).rows, knn(train, test, k=1).rows)


def test_chance_is_the_most_frequent_class_and_the_interval_is_wilsons():
    train = features(torch.randn(100, 3), torch.tensor([0] * 70 + [1] * 30))
    test = features(torch.randn(50, 3), torch.tensor([0] * 20 + [1] * 30))
    report = knn(train, test)
    assert math.isclose(report.chance, 0.4, rel_tol=1e-6) and (report.train, report.test) == (100, 50)
    p, z, n = report.score, 1.959964, 50
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert report.interval == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_a_test_class_that_training_lacks_is_answered_wrong():
    train = features(torch.randn(50, 3), torch.arange(50) % 2)
    assert knn(train, features(torch.randn(9, 3), torch.full((9,), 7))).score == 0


@pytest.mark.parametrize(
    ("train", "settings", "error", "message"),
    [
        (clusters(10), {}, DataError, "10 train rows are fewer than k = 20"),
        (features(torch.randn(30, 12), torch.zeros(30, dtype=torch.long)), {}, DataError, "needs at least 2 classes"),
        (
            features(torch.full((30, 12), torch.nan), torch.arange(30) % 2),
            {},
            DataError,
            "30 of 30 train features are NaN",
        ),
        (features(torch.randn(30, 12), torch.arange(30) % 2 - 1), {}, DataError, "unlabelled rows"),
        (features(torch.randn(30, 12), torch.rand(30, 2)), {}, DataError, "are no classes: use `ridge`"),
        (features(torch.randn(30, 5), torch.arange(30) % 2), {}, ShapeError, "width 5, test features 12"),
        (features(torch.randn(30, 4, 3), torch.arange(30) % 2), {}, ShapeError, "pool them"),
        (features(torch.randn(0, 12), torch.arange(0)), {}, DataError, "no train rows"),
        (clusters(30), {"k": 0}, ConfigError, "k is 0"),
        (clusters(30), {"temperature": 0.0}, ConfigError, "temperature 0.0"),
    ],
)
def test_wrong_input_is_explained(train, settings, error, message):
    with pytest.raises(error, match=message):
        knn(train, clusters(20, seed=1), **settings)
