"""The classifier is the one that scikit-learn finds; its strength is chosen without the test rows."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from armillary.errors import ConfigError, DataError
from armillary.probes.linear import fit, held_out, linear
from armillary.probes.report import paired

from .conftest import clusters, features


@pytest.mark.parametrize("strength", [1e-1, 1e-3])
def test_equals_scikit_learn(strength):
    train, test = clusters(400, apart=0.5), clusters(400, apart=0.5, seed=1)
    report = linear(train, test, strengths=(strength,), iterations=1000)
    scaler = StandardScaler().fit(train.x.double())
    other = LogisticRegression(C=1 / (strength * 400), max_iter=5000, tol=1e-8)
    other.fit(scaler.transform(train.x.double()), train.y)
    right = torch.tensor(other.predict(scaler.transform(test.x.double()))) == test.y
    assert (report.rows != right).sum() <= 2 and 0.4 < report.score < 0.95


def test_the_fit_is_the_minimum():
    x, y = torch.randn(300, 5, dtype=torch.float64), torch.randint(0, 3, (300,))
    weight = fit(x, y, torch.zeros(3, 6, dtype=torch.float64), 0.01, 1000)
    probability = (x @ weight[:, :-1].T + weight[:, -1]).softmax(1)
    error = (probability - torch.eye(3)[y]) / 300
    gradient = error.T @ x + 0.01 * weight[:, :-1]
    assert gradient.abs().max() < 1e-4 and error.sum(0).abs().max() < 1e-4


def test_the_strength_is_chosen_on_train_rows_alone():
    train, test = clusters(500, apart=0.4), clusters(300, apart=0.4, seed=1)
    report = linear(train, test)
    spoiled = features(test.x, test.y.roll(1))
    assert linear(train, spoiled).settings == report.settings
    held = held_out(500, 0)
    assert held.sum() == 50 and not torch.equal(held, held_out(500, 1))
    validation = report.settings["validation"]
    assert validation[str(report.settings["strength"])] == max(validation.values())


def test_strengths_are_judged_on_rows_that_were_not_fitted():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(600, 400, generator=generator), torch.randint(0, 2, (600,), generator=generator)
    validation = linear(features(x, y), features(x, y)).settings["validation"]
    assert max(validation.values()) < 0.75  # labels are random; fitted rows are answered without a mistake


def test_many_noisy_features_ask_for_a_strong_penalty():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (2200,), generator=generator)
    x = torch.randn(2200, 60, generator=generator) + 0.3 * y[:, None]
    train, test = features(x[:200], y[:200]), features(x[200:], y[200:])
    chosen, weak = linear(train, test), linear(train, test, strengths=(1e-5,))
    assert paired(chosen, weak)[0] > 0.02  # the whole interval


def test_scale_and_constant_features_change_nothing():
    train, test = clusters(300), clusters(200, seed=1)

    def changed(part):
        return features(torch.cat([part.x * 1000 + 7, torch.full((len(part.x), 1), 3.3)], 1), part.y)

    first, second = linear(train, test), linear(changed(train), changed(test))
    assert (first.rows != second.rows).float().mean() <= 0.02


def test_the_same_input_gives_the_same_answers():
    train, test = clusters(300), clusters(200, seed=1)
    assert torch.equal(linear(train, test).rows, linear(train, test).rows)


def test_random_labels_are_answered_by_chance():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2000, 8, generator=generator), torch.randint(0, 4, (2000,), generator=generator)
    report = linear(features(x[:1000], y[:1000]), features(x[1000:], y[1000:]))
    assert report.interval[0] < 0.28 and abs(report.score - 0.25) < 0.06


def test_wrong_input_is_explained():
    with pytest.raises(DataError, match="needs at least 2 classes"):
        linear(features(torch.randn(9, 12), torch.ones(9, dtype=torch.long)), clusters(9))
    with pytest.raises(DataError, match="test features are NaN or infinite, the first is row 2"):
        bad = clusters(9)
        bad.x[2, 3] = np.inf
        linear(clusters(9), bad)
    for wrong in ((), (-1.0,)):
        with pytest.raises(ConfigError):
            linear(clusters(9), clusters(9), strengths=wrong)
