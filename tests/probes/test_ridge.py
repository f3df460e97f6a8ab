"""The regression is the one that scikit-learn finds, with errors in the units of the state."""

import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from armillary.errors import ConfigError, DataError
from armillary.probes.extract import Features
from armillary.probes.ridge import ridge

from .conftest import features


def world(n, width=10, noise=1.0, seed=0):
    maps = torch.randn(2, width, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(n, 2, generator=generator) * torch.tensor([1.0, 20.0]) + torch.tensor([0.0, 100.0])
    x = (state - torch.tensor([0.0, 100.0])) / torch.tensor([1.0, 20.0]) @ maps
    return features((x + noise * torch.randn(n, width, generator=generator)) * torch.logspace(-2, 2, width), state)


@pytest.mark.parametrize(("rows", "width"), [(300, 10), (40, 100)])  # more rows than features, and fewer
def test_equals_scikit_learn(rows, width):
    train, test = world(rows, width), world(200, width, seed=1)
    report = ridge(train, test, strengths=(0.1,))
    scaler = StandardScaler().fit(train.x.double())
    other = Ridge(alpha=0.1 * rows).fit(scaler.transform(train.x.double()), train.y.double())
    answer = torch.tensor(other.predict(scaler.transform(test.x.double())))
    assert report.score == pytest.approx(r2_score(test.y, answer), abs=1e-6)
    assert report.details["r2"] == pytest.approx(r2_score(test.y, answer, multioutput="raw_values").tolist(), abs=1e-6)
    assert report.details["rmse"] == pytest.approx((answer - test.y).square().mean(0).sqrt().tolist(), rel=1e-6)


def test_a_linear_map_without_noise_is_found():
    report = ridge(world(300, noise=0.0), world(100, noise=0.0, seed=1))
    assert report.score > 0.99999 and report.interval[0] > 0.9999
    assert report.chance < 0.02 and abs(report.chance) < 0.1


def test_the_score_is_the_mean_of_its_rows_and_the_interval_covers_it():
    report = ridge(world(300), world(200, seed=1))
    assert report.score == pytest.approx(float(report.rows.mean()))
    assert report.interval[0] < report.score < report.interval[1]
    wide = ridge(world(300), world(20, seed=1)).interval
    assert wide[1] - wide[0] > report.interval[1] - report.interval[0]


def test_the_strength_is_chosen_on_train_rows_alone():
    train, test = world(300, 200, noise=3.0), world(300, 200, noise=3.0, seed=1)
    report = ridge(train, test)
    assert ridge(train, features(test.x, test.y.roll(1, 0))).settings == report.settings
    assert report.score > ridge(train, test, strengths=(1e-6,)).score


def test_frames_of_few_episodes_give_a_wider_interval():
    train, test = world(300), world(400, seed=1)
    bias = torch.randn(8, 10, generator=torch.Generator().manual_seed(5)).repeat_interleave(50, 0)  # per episode
    frames = Features(test.x + bias * torch.logspace(-2, 2, 10), test.y, test.index, torch.arange(400) // 50)
    alone = Features(frames.x, frames.y, frames.index, frames.index)
    (low, high), (lower, higher) = ridge(train, alone).interval, ridge(train, frames).interval
    assert higher - lower > 1.5 * (high - low)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.arange(9) % 3, "are no quantities .* use `linear`"),
        (torch.cat([torch.randn(9, 1), torch.full((9, 1), 4.0)], 1), r"quantities \[1\] do not vary"),
        (torch.full((9, 2), torch.nan), "hold NaN"),
    ],
)
def test_wrong_targets_are_explained(y, message):
    with pytest.raises(DataError, match=message):
        ridge(features(torch.randn(9, 10), y), world(9))


def test_wrong_settings_and_too_few_rows_are_explained():
    for wrong in ((), (0.0,)):
        with pytest.raises(ConfigError):
            ridge(world(9), world(9), strengths=wrong)
    with pytest.raises(DataError, match="2 train rows are too few"):
        ridge(world(2), world(9))
