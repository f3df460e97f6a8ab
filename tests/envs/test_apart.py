"""One world that throws, hangs or returns NaN ends its own episode only."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest
import torch
from torch import Tensor

from armillary.contracts import check_env
from armillary.envs.apart import Apart
from armillary.envs.tasks import World
from armillary.envs.two_rooms import TwoRooms, TwoRoomsWorld
from armillary.errors import ConfigError, ShapeError
from armillary.planning.control import Scripted, control
from armillary.randomness import numbered

RULES = TwoRooms()
TASKS = RULES.tasks("same_room", 4, 0)
RELEASE = threading.Event()


class Faulty(TwoRoomsWorld):
    """Two Rooms that misbehaves at its third step."""

    def __init__(self, kind: str) -> None:
        self.kind, self.steps = kind, 0
        super().__init__(RULES, 1)

    def step(self, action: Tensor):  # type: ignore[override]
        self.steps += 1
        if self.steps == 3 and self.kind == "throws":
            raise RuntimeError("the motor is stuck")
        if self.steps == 3 and self.kind == "hangs":
            RELEASE.wait(30)
        seen, *rest = super().step(action)
        if self.steps >= 3 and self.kind == "nan":
            seen["state"] = torch.full_like(seen["state"], torch.nan)
        return seen, *rest


def opened(kind: str, seconds: float | None = None) -> Apart:
    openers = [partial(RULES.open, 1)] * 4
    return Apart([*openers[:2], partial(Faulty, kind), *openers[3:]], seconds)  # type: ignore[list-item]


@pytest.mark.parametrize("seconds", [None, 20.0])
def test_worlds_apart_keep_the_contract_and_play_as_together(seconds: float | None) -> None:
    worlds = Apart([partial(RULES.open, 1)] * 3, seconds)  # type: ignore[list-item]
    check_env(worlds)
    assert isinstance(worlds, World)
    tasks = RULES.tasks("other_room", 3, 1)
    together = RULES.open(3)
    seen, alone = together.begin(tasks), worlds.begin(tasks)
    actions = together.wander(numbered(3), 9)
    assert torch.equal(worlds.wander(numbered(3), 9), actions)
    for action in actions.unbind(1):
        for name, value in seen.items():
            assert torch.equal(value, alone[name])
        seen, alone = together.step(action)[0], worlds.step(action)[0]


@pytest.mark.parametrize(("kind", "why"), [("throws", "motor is stuck"), ("hangs", "no answer within"), ("nan", "NaN")])
def test_the_episode_of_a_faulty_world_fails_and_the_others_go_on(kind: str, why: str) -> None:
    RELEASE.clear()
    begun = time.perf_counter()
    script = Scripted(torch.ones(4, 8, 2) * torch.tensor([0.5, -0.25]))

    def run(world: World):
        everything_counts = lambda state: torch.ones(len(state), dtype=torch.bool)  # noqa: E731
        return control(world, world.begin(TASKS), script, everything_counts, 8)

    outcome, sound = run(opened(kind, 0.5 if kind == "hangs" else None)), run(RULES.open(4))
    RELEASE.set()
    assert time.perf_counter() - begun < 20
    assert list(outcome.failures) == [2] and why in outcome.failures[2]
    assert outcome.reached.tolist() == outcome.at_end.tolist() == [True, True, False, True]
    assert outcome.first.tolist() == [1, 1, -1, 1]
    others = [0, 1, 3]
    assert torch.equal(outcome.states[others], sound.states[others])
    assert torch.equal(outcome.states[2, :3], sound.states[2, :3])
    assert bool((outcome.states[2, 3:] == outcome.states[2, 2]).all())  # as it was last seen
    row = outcome.row()
    assert row["failed"] == 1 and row["success"] == 0.75 and why in row["failures"][0]  # type: ignore[index]


def test_worlds_that_threw_may_begin_again_and_those_that_hang_may_not() -> None:
    worlds = opened("throws")
    worlds.begin(TASKS)
    for _ in range(4):
        worlds.step(torch.zeros(4, 2))
    assert list(worlds.failures) == [2]
    assert bool(worlds.begin(TASKS)["state"].isfinite().all()) and not worlds.failures
    RELEASE.clear()
    worlds = opened("hangs", 0.2)
    worlds.begin(TASKS)
    for _ in range(4):
        worlds.step(torch.zeros(4, 2))
    assert not bool(worlds.begin(TASKS)["state"][2].isfinite().any())
    RELEASE.set()


def test_wrong_input_is_named() -> None:
    with pytest.raises(ConfigError, match="0 worlds"):
        Apart([])
    with pytest.raises(ConfigError, match="limit of 0 s"):
        opened("nan", 0)
    with pytest.raises(ShapeError, match="4 tasks for 1 worlds"):
        Apart([partial(RULES.open, 1)]).begin(TASKS)  # type: ignore[list-item]

    def broken() -> World:
        raise OSError("no such display")

    with pytest.raises(OSError, match="no such display"):
        Apart([broken], 5.0)
