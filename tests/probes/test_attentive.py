"""The attentive probe finds what only attention can find, and chooses its settings without the test rows."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ConfigError, DataError, ShapeError
from armillary.probes.attentive import attentive
from armillary.probes.extract import Features
from armillary.probes.linear import linear

from .conftest import features


def hidden(n: int, tokens: int = 12, width: int = 16, seed: int = 0) -> Features:
    """One token, marked by its first channel, holds the class; all others hold the same thing at random."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (n,), generator=generator)
    x = torch.randn(n, tokens, width, generator=generator) * 0.3
    x[..., 1:4] += 2 * torch.eye(3)[torch.randint(0, 3, (n, tokens), generator=generator)]
    place = torch.randint(0, tokens, (n,), generator=generator)
    x[torch.arange(n), place, 0] += 4
    x[torch.arange(n), place, 1:4] = 2 * torch.eye(3)[y]
    return features(x, y)


def test_one_token_among_many_is_found_where_the_mean_hides_it():
    train, test = hidden(600), hidden(300, seed=1)
    report = attentive(train, test)
    assert report.score > 0.95
    assert linear(train.pooled(), test.pooled()).score < report.score - 0.2
    assert (report.probe, report.measure, report.train, report.test) == ("attentive", "accuracy", 600, 300)


def test_settings_are_chosen_on_train_rows_alone_and_counted():
    train, test = hidden(200), hidden(60, seed=1)
    report = attentive(train, test, rates=(1e-3, 1e-5), epochs=3)
    spoiled = features(test.x, test.y.roll(1))
    assert attentive(train, spoiled, rates=(1e-3, 1e-5), epochs=3).settings == report.settings
    assert report.settings["tried"] == 6 and report.settings["validation"].keys() == {"0.001", "1e-05"}
    assert report.settings["rate"] in (1e-3, 1e-5) and 1 <= report.settings["epoch"] <= 3


def test_the_same_seed_gives_the_same_answers_and_the_global_generator_is_left_alone():
    train, test = hidden(100), hidden(50, seed=1)
    state = torch.random.get_rng_state()
    first, again = (attentive(train, test, rates=(1e-3,), epochs=2, depth=2) for _ in range(2))
    assert torch.equal(first.rows, again.rows) and first.settings == again.settings
    assert torch.equal(state, torch.random.get_rng_state())


def test_heads_divide_the_width_whatever_it_is():
    for width, heads in ((96, 3), (48, 1), (100, 2), (7, 1)):
        part = hidden(30, width=width)
        assert attentive(part, part, rates=(1e-3,), epochs=1).settings["heads"] == heads


def test_random_labels_are_answered_by_chance():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(600, 4, 8, generator=generator), torch.randint(0, 2, (600,), generator=generator)
    report = attentive(features(x[:300], y[:300]), features(x[300:], y[300:]), epochs=5)
    assert report.interval[0] < 0.5 and report.score < 0.6


def test_wrong_input_is_explained():
    part = hidden(20)
    with pytest.raises(ShapeError, match="extract them with pool=False"):
        attentive(part.pooled(), part)
    with pytest.raises(ShapeError, match="12 tokens, test rows 11"):
        attentive(part, hidden(20, tokens=11))
    with pytest.raises(DataError, match="needs at least 2 classes"):
        attentive(features(part.x, torch.zeros(20, dtype=torch.int64)), part)
    with pytest.raises(DataError, match="1 of 20 train features are NaN"):
        x = part.x.clone()
        x[3, 2, 1] = torch.nan
        attentive(features(x, part.y), part)
    for wrong in ({"rates": ()}, {"rates": (-1.0,)}, {"epochs": 0}, {"batch": 0}, {"depth": 0}):
        with pytest.raises(ConfigError, match="give at least one rate"):
            attentive(part, part, **wrong)
    with pytest.raises(ConfigError, match="not a multiple of 5 heads"):
        attentive(part, part, heads=5)
