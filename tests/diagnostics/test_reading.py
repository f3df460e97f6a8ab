"""Readings: one look at embeddings, at tokens, or at chunks that are never together."""

from __future__ import annotations

import json

import pytest
import torch

from armillary.diagnostics.pairs import clumping, subsample, uniformity
from armillary.diagnostics.rank import effective_rank, rankme, spectrum
from armillary.diagnostics.reading import MEANING, Reading, read, stream
from armillary.errors import ShapeError
from armillary.types import Forecast, Tokens


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def grid(x):
    place = torch.stack(torch.meshgrid(torch.arange(2.0), torch.arange(3.0), indexing="ij"), -1).reshape(1, 6, 2)
    return Tokens(x, place.expand(len(x), -1, -1))


def test_numbers_are_those_of_the_measures():
    x = noise(200, 12) @ noise(12, 12, seed=1)
    found = read(x)
    assert found.get("effective_rank") == pytest.approx(float(effective_rank(spectrum(x).sqrt())))
    assert found.get("rankme") == pytest.approx(float(rankme(x)), rel=1e-6)
    assert found.get("clumping") == pytest.approx(float(clumping(x)))
    assert found.get("uniformity") == pytest.approx(float(uniformity(x)))
    assert found.spectrum == pytest.approx(tuple(spectrum(x).tolist()))


def test_every_number_has_a_meaning_and_tokens_of_time_another_name_than_places():
    forecast = Forecast(noise(20, 4), noise(20, 4, seed=1), noise(20, 4, seed=2), noise(20, 4), torch.arange(20) % 5)
    places = read(grid(noise(30, 6, 8)), forecast, teacher_gap=0.1)
    steps = read(Tokens(noise(30, 5, 8), torch.arange(5.0)[None, :, None].expand(30, -1, 1)))
    single = read(Tokens(noise(30, 1, 8), torch.zeros(30, 1, 1)))
    assert set(places.numbers) | set(steps.numbers) == set(MEANING)
    assert "within" in places.numbers and "over_time" not in places.numbers
    assert "over_time" in steps.numbers and "within" not in steps.numbers
    assert not {"within", "over_time", "place"} & set(single.numbers)


@pytest.mark.parametrize("chunk", [1, 37, 5000])
def test_a_stream_reads_what_one_look_reads(chunk):
    x = noise(1500, 6) * torch.tensor([1, 1, 0.1, 3, 1, 1]) + 2
    whole, streamed = read(x), stream(x.split(chunk), len(x))
    assert streamed.numbers == pytest.approx(dict(whole.numbers), rel=1e-9)
    assert streamed.spectrum == pytest.approx(whole.spectrum, rel=1e-9)
    assert len(subsample(1500)) == 1000


def test_what_is_not_finite_is_said_with_its_place():
    bad = noise(100, 4)
    bad[60, 1] = torch.inf
    assert stream(bad.split(50), 100).broken == "NaN or infinity in 1 of rows 50 to 99"
    assert read(bad).broken == "NaN or infinity in 1 of 100 embeddings"


def test_too_few_rows_and_wrong_counts_are_refused():
    with pytest.raises(ShapeError, match="at least 2"):
        read(noise(1, 3))
    with pytest.raises(ShapeError, match="10 rows came where 12"):
        stream(noise(10, 3).split(4), 12)


def test_a_row_of_the_log_gives_the_reading_back():
    found = read(noise(50, 4), step=7)
    row = json.loads(json.dumps({"step": 7, "diagnostics": dict(found.numbers), "verdict": "healthy"}))
    assert Reading.of_row(row) == Reading(found.numbers, step=7)
    assert Reading.of_row({"step": 3, "energy": 1.0}) is None
    assert Reading.of_row({"step": 3, "diagnostics": {}, "verdict": "not finite: NaN here"}).broken == "NaN here"


def test_constants_and_single_dimensions_have_numbers():
    constant = read(torch.ones(10, 4)).numbers
    assert constant["spread"] == 0 and constant["directions"] == 0 and "clumping" not in constant
    assert read(noise(10, 1)).get("directions") == 1
