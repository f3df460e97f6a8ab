"""The radar raises what is confirmed, ends what is over, and goes on after an interruption."""

from __future__ import annotations

from armillary.diagnostics.radar import Radar
from armillary.diagnostics.reading import Reading

from .test_alarms import FAILURES, healthy


def test_a_single_reading_little_beyond_the_border_is_not_enough():
    radar = Radar([healthy(0), healthy(1)])
    assert radar.add(healthy(2, spread=0.2)) == [] and radar.verdict == "healthy"
    assert [alarm.kind for alarm in radar.add(healthy(3, spread=0.2))] == ["full"]
    assert radar.active["full"].since == 2 and radar.active["full"].step == 3


def test_one_that_is_far_beyond_is_enough():
    radar = Radar([healthy(0)])
    assert [alarm.kind for alarm in radar.add(healthy(1, spread=0.001))] == ["full"]


def test_an_alarm_ends_and_can_come_again():
    radar = Radar([healthy(0), healthy(1)])
    for step in (2, 3):
        radar.add(healthy(step, spread=0.04))
    radar.add(healthy(4))
    assert radar.verdict == "healthy" and not radar.active
    radar.add(healthy(5, spread=0.2))
    assert [alarm.since for alarm in radar.add(healthy(6, spread=0.2))] == [5]


def test_surety_grows_with_readings_and_distance():
    near, far = Radar([healthy(0), healthy(1)]), Radar([healthy(0), healthy(1)])
    for step in (2, 3):
        near.add(healthy(step, spread=0.045))
        far.add(healthy(step, spread=0.005))
    assert near.active["full"].sure < far.active["full"].sure < 1


def test_what_a_complete_collapse_implies_is_not_told_beside_it():
    radar = Radar([healthy(0), healthy(1)])
    everything = {name: value for kind in FAILURES for name, value in FAILURES[kind].items()}
    for step in (2, 3):
        radar.add(healthy(step, **everything))
    assert set(radar.active) == {"full", "teacher"}


def test_of_several_the_one_that_is_furthest_beyond_is_raised_and_names_the_others():
    radar = Radar([healthy(i) for i in range(8)])
    (alarm,) = radar.add(healthy(8, effective_rank=7.0, clumping=0.1))
    assert alarm.kind == "cluster" and alarm.beside == ("dimensional",)
    assert "with it, less: dimensional collapse" in alarm.sentence() and set(radar.active) == {"cluster"}
    assert [alarm.kind for alarm in radar.add(healthy(9, effective_rank=1.5, clumping=0.1))] == ["dimensional"]
    assert set(radar.active) == {"cluster", "dimensional"}, "what was raised stays while it lasts"


def test_an_alarm_does_not_become_the_past_that_it_is_compared_with():
    radar = Radar([healthy(i) for i in range(8)])
    for step in range(8, 80):
        radar.add(healthy(step, effective_rank=7.0))
    assert set(radar.active) == {"dimensional"} and radar.active["dimensional"].since == 8


def test_a_resumed_radar_is_the_uninterrupted_one():
    rows = [healthy(i, effective_rank=30 - i, spread=0.66 if i < 9 else 0.045) for i in range(12)]
    whole = Radar(rows)
    for cut in range(13):
        resumed = Radar(rows[:cut])
        for row in rows[cut:]:
            resumed.add(row)
        assert (resumed.active, resumed.verdict) == (whole.active, whole.verdict)


def test_broken_readings_are_said_and_forgotten():
    radar = Radar([healthy(0)])
    assert radar.add(Reading({"rows": 3.0}, step=1, broken="NaN or infinity in 1 of 3 embeddings")) == []
    assert radar.verdict == "not finite: NaN or infinity in 1 of 3 embeddings"
    radar.add(healthy(2))
    assert radar.verdict == "healthy" and Radar().verdict == "not examined"


def test_a_verdict_tells_the_numbers_of_now_and_the_step_at_which_it_was_raised():
    radar = Radar([healthy(0), healthy(1), healthy(2, spread=0.2), healthy(3, spread=0.2)])
    radar.add(healthy(4, spread=0.01))
    assert "differ by 1.0% of their size" in radar.verdict and radar.active["full"].step == 3


def test_the_first_reading_of_a_run_has_to_be_confirmed_too():
    radar = Radar()
    assert radar.add(healthy(0, spread=0.04)) == [] and radar.verdict == "healthy"
    assert [alarm.since for alarm in radar.add(healthy(1, spread=0.04))] == [0]
