from __future__ import annotations

import math

import torch

from armillary.envs.wandering import Habits, wander
from armillary.randomness import numbered


def walked(habits: Habits, stops: bool = False, worlds: int = 400, steps: int = 200) -> torch.Tensor:
    stopped = torch.full((worlds,), stops)
    state = torch.zeros(worlds, 2)
    quarter = torch.full((worlds,), math.pi / 2)
    return wander(numbered(worlds), "x", steps, state, habits, lambda s, a: (s + a, stopped), lambda s, t: quarter)


def turns(actions: torch.Tensor) -> torch.Tensor:
    """Whether a heading was drawn anew in each step, seen as a change of more than rounding."""
    angle = torch.atan2(actions[..., 1], actions[..., 0])
    return (torch.remainder(angle.diff(dim=1) + math.pi, 2 * math.pi) - math.pi).abs() > 1e-3


def test_headings_are_drawn_anew_as_often_as_the_habits_say_and_more_often_where_stopped() -> None:
    habits = Habits(2.0, turn=0.05, bump=0.4, drift=0.0, aimed=0.0)
    assert abs(turns(walked(habits)).double().mean() - 0.05) < 0.005
    assert abs(turns(walked(habits, stops=True)).double().mean() - 0.4) < 0.01


def test_three_of_four_headings_are_at_full_length_and_none_is_longer() -> None:
    length = walked(Habits(2.0, 1.0, 1.0, 0.0, 0.0)).norm(dim=2)
    assert float(length.max()) <= 2 + 1e-5
    assert abs((length > 2 - 1e-4).double().mean() - 0.75) < 0.01
    assert abs(length[length < 1.99].mean() - 1.0) < 0.05


def test_the_aimed_share_goes_where_it_is_aimed() -> None:
    actions = walked(Habits(2.0, 1.0, 1.0, 0.0, 0.6))
    up = (torch.atan2(actions[..., 1], actions[..., 0]) - math.pi / 2).abs() < 1e-3
    assert abs(up.double().mean() - 0.6) < 0.01


def test_headings_drift_by_as_much_as_the_habits_say() -> None:
    actions = walked(Habits(2.0, 0.0, 0.0, 0.1, 0.0))
    angle = torch.atan2(actions[..., 1], actions[..., 0]).diff(dim=1)
    angle = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    assert abs(angle.std() - 0.1) < 0.005


def test_numbers_depend_on_the_world_and_the_sample_alone() -> None:
    habits = Habits(2.0, 0.2, 0.2, 0.1, 0.5)
    assert torch.equal(walked(habits, worlds=3, steps=20), walked(habits, worlds=50, steps=20)[:3])
    other = wander(
        numbered(3), "y", 20, torch.zeros(3, 2), habits, lambda s, a: (s, torch.zeros(3, dtype=torch.bool)),
        lambda s, t: torch.zeros(3),
    )  # fmt: skip
    assert not torch.equal(other, walked(habits, worlds=3, steps=20))
