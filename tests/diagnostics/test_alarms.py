"""Each kind of failure is raised by what it is, and names settings that exist."""

from __future__ import annotations

import dataclasses
import importlib
import re

import pytest
import torch

from armillary import catalogue
from armillary.data.formats.images import Images
from armillary.diagnostics.alarms import KINDS
from armillary.diagnostics.radar import Radar
from armillary.diagnostics.reading import Reading, read
from armillary.training.loop import Loop
from armillary.training.optim import Optim
from armillary.types import Forecast, Tokens


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tokens(x, coordinates=2):
    return Tokens(x, torch.arange(float(x.shape[1]))[None, :, None].expand(len(x), -1, coordinates))


def healthy(step, **changes):
    """A reading of a run that goes well."""
    numbers = {"rows": 64.0, "dimensions": 96.0, "directions": 60.0, "effective_rank": 30.0, "std": 1.0, "norm": 1.5}
    numbers |= {"spread": 0.66, "clumping": 0.9, "within": 0.6, "over_time": 0.2, "r2": 0.6, "target_spread": 0.9}
    numbers |= {"predicted_place": 0.5, "place_gain": 0.4, "teacher_gap": 0.02}
    return Reading(numbers | changes, step=step)


def run(*changes):
    radar = Radar([healthy(100 * i) for i in range(8)])
    raised = [radar.add(healthy(800 + 100 * i, **change)) for i, change in enumerate(changes)]
    return radar, raised


FAILURES = {
    "full": {"spread": 0.03},
    "dimensional": {"effective_rank": 6.0},
    "cluster": {"clumping": 0.04},
    "token_uniform": {"within": 0.01},
    "temporal": {"over_time": 0.03},
    "position": {"predicted_place": 0.99, "place_gain": 0.0},
    "norm": {"norm": 20.0},
    "teacher": {"teacher_gap": 1.3},
}


@pytest.mark.parametrize("kind", FAILURES)
def test_the_kind_is_raised_once_and_alone(kind):
    radar, raised = run(*[FAILURES[kind]] * 4)
    assert [alarm.kind for alarms in raised for alarm in alarms] == [kind]
    alarm = radar.active[kind]
    assert alarm.since == 800 and alarm.step <= 900 and 0 < alarm.sure < 1
    assert KINDS[kind].title in radar.verdict and KINDS[kind].causes[0] in alarm.sentence()


def test_a_slow_decline_of_the_rank_is_raised_before_it_is_large():
    _, raised = run(*[{"effective_rank": 30.0 * 0.98**i} for i in range(20)])
    first = [(i, alarm.kind) for i, alarms in enumerate(raised) for alarm in alarms]
    assert [kind for _, kind in first] == ["late"] and 30 * 0.98 ** first[0][0] > 0.75 * 30


def test_noise_around_a_level_is_no_decline():
    draw = torch.Generator().manual_seed(0)
    shaky = [{"effective_rank": 30.0 + 6 * float(torch.rand(1, generator=draw))} for _ in range(200)]
    radar, raised = run(*shaky)
    assert not any(raised) and radar.verdict == "healthy"


def test_embeddings_that_shrink_to_a_point_collapse_rather_than_drift():
    steps = [0.5**i for i in range(1, 6)]
    _, raised = run(*[{"std": s, "norm": 1.5 * s**0.8, "spread": 0.66 * s**0.2} for s in steps])
    assert {alarm.kind for alarms in raised for alarm in alarms} == {"full"}
    _, raised = run(*[{"std": s, "norm": 1.5 * s} for s in steps])  # the same at another scale
    assert {alarm.kind for alarms in raised for alarm in alarms} == {"norm"}


def test_a_run_that_is_read_from_its_first_steps_on_is_no_collapse():
    ranks = (26.9, 15.2, 11.9, 11.3, 10.8, 10.7, 11.1, 10.8)  # of a healthy LeWM, every 25 steps
    spreads = (0.40, 0.86, 0.97, 0.95, 1.0, 0.99, 0.96, 0.99)
    radar = Radar()
    for step, (rank, spread) in enumerate(zip(ranks, spreads, strict=True)):
        assert radar.add(healthy(25 * step, effective_rank=rank, spread=spread)) == []


def test_tokens_that_still_differ_are_not_uniform():
    _, raised = run(*[{"within": 0.16}] * 4)  # a quarter of what it was, as large masks of I-JEPA do in healthy runs
    assert not any(raised)
    _, raised = run(*[{"clumping": 0.25}] * 4)  # as I-JEPA on images of which many are nearly alike
    assert not any(raised)
    _, raised = run(*[{"within": 0.04}] * 4)
    assert {alarm.kind for alarms in raised for alarm in alarms} == {"token_uniform"}


def test_a_predictor_that_only_knows_places_at_the_start_is_no_shortcut_yet():
    start = {"predicted_place": 0.97, "place_gain": -0.3}
    radar = Radar([healthy(0, **start), healthy(1, **start), healthy(2, **start), healthy(3)])
    assert not radar.active
    radar = Radar([healthy(step, **start) for step in range(6)])
    assert set(radar.active) == {"position"}, "unless it stays so"


def test_one_look_names_what_is_certain():
    place = torch.arange(90) % 9
    flat = noise(200, 1, 32).expand(-1, 9, -1) + 0.01 * noise(200, 9, 32, seed=1)
    looks = {
        "full": read(1 + 0.01 * noise(200, 32)),
        "dimensional": read(noise(300, 2) @ noise(2, 64, seed=1)),
        "cluster": read(noise(6, 64)[torch.arange(300) % 6] + 1e-3 * noise(300, 64, seed=1)),
        "token_uniform": read(tokens(flat)),
        "position": read(noise(90, 8), Forecast(noise(9, 8)[place], noise(90, 8, seed=1), place=place)),
    }
    for kind, reading in looks.items():
        assert [alarm.kind for alarm in Radar(confirm=1).add(reading)] == [kind]


def test_tokens_of_time_may_be_alike_at_first():
    slow = noise(100, 1, 16).expand(-1, 4, -1) + 0.1 * noise(100, 4, 16, seed=1)
    assert not Radar(confirm=1).add(read(tokens(slow, coordinates=1)))


def test_settings_that_causes_name_exist():
    parts = {"optim": Optim, "loop": Loop, "data": Images}
    known = {f"{name}.{field.name}" for name, part in parts.items() for field in dataclasses.fields(part)} | {"steps"}
    for entry in catalogue.methods():
        module = importlib.import_module(f"armillary.methods.{entry.file.parent.name}.{entry.file.stem}")
        known |= {f"method.{f.name}" for f in dataclasses.fields(module.Config)}
    named = {
        word
        for kind in KINDS.values()
        for cause in kind.causes
        for inside in re.findall(r"\(([^)]*)\)", cause)
        for word in re.split(r",\s*", inside)
        if "." in word or word == "steps"
    }
    assert named and not named - known, f"no such settings: {sorted(named - known)}"
