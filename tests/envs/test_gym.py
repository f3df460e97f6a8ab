from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from armillary.contracts import check_env
from armillary.envs.gym import Gym, GymWorld
from armillary.envs.tasks import World
from armillary.errors import ConfigError, ShapeError
from armillary.planning.control import Scripted, control
from armillary.randomness import numbered


class Ramp(gymnasium.Env):
    """A gray image that brightens with each step; ends at 5, or breaks at 3 when it was told to."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (Gymnasium's name and type)
    action_space = Box(-1, 1, (2,), dtype=np.float32)

    def __init__(self, render_mode: str = "", end: int = 5, breaks: bool = False, shape: tuple[int, int] = (40, 60)):
        self.end, self.breaks, self.shape = end, breaks, shape

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level, self.offset = 0, self.np_random.uniform()
        return self._see(), {}

    def step(self, action):
        self.level += 1
        return self._see(), float(action[0]), self.level >= self.end, False, {}

    def render(self):
        frame = np.zeros((*self.shape, 3), dtype=np.uint8)
        frame[: self.shape[0] // 2] = 40 * self.level + int(30 * self.offset)
        return frame

    def _see(self):
        broken = self.breaks and self.level >= 3
        return np.array([np.nan if broken else self.level, self.offset], dtype=np.float32)


gymnasium.register("Ramp-v0", Ramp)
gymnasium.register("BreakingRamp-v0", Ramp, kwargs={"breaks": True})
gymnasium.register("BlindRamp-v0", Ramp, kwargs={"shape": (0, 0)})


@pytest.fixture(scope="module")
def reacher() -> GymWorld:
    try:
        return Gym("dm_control/reacher-easy", action_repeat=2).open(2)
    except ConfigError as error:
        pytest.skip(f"DM Control does not render here: {error}")


def test_pendulum_keeps_the_contract_of_environments() -> None:
    world = Gym("Pendulum-v1", size=32).open(2)
    assert isinstance(world, World) and world.kinds == ("ahead", "anywhere")
    check_env(world)
    assert world.reset(0)["image"].shape == (2, 3, 32, 32)
    assert world.low.tolist() == [-2.0] and world.high.tolist() == [2.0]


def test_a_world_depends_on_seed_and_number_alone() -> None:
    few, many = Gym(size=16).open(1), Gym(size=16).open(3)
    a, b = few.reset(7), many.reset(7)
    assert torch.equal(a["image"], b["image"][:1]) and torch.equal(a["state"], b["state"][:1])
    assert not torch.equal(b["state"][0], b["state"][1])


def test_images_are_reduced_by_area() -> None:
    world = Gym("Ramp-v0", size=10).open(1)
    world.reset(0)
    image = world.step(torch.zeros(1, 2))[0]["image"][0]
    full = world.worlds[0].env.render()
    assert bool((image[:, :5] == int(full[0, 0, 0])).all()) and bool((image[:, 5:] == 0).all())
    assert (Gym("Ramp-v0", size=9).open(1).reset(1)["image"][0, 0, 4] > 0).all()  # the middle row mixes both halves


def test_a_world_that_is_over_stays_while_the_others_go_on() -> None:
    world = Gym("Ramp-v0", size=8).open(2)
    world.reset(0)
    world.worlds[0].step(np.zeros(2, dtype=np.float32), 2)  # world 0 is two steps ahead
    for t in range(5):
        observation, reward, terminated, truncated = world.step(torch.full((2, 2), 0.5))
        over = [t >= 2, t >= 4]
        assert terminated.tolist() == over and truncated.tolist() == [False, False]
        assert observation["state"][:, 0].tolist() == [min(5, t + 3), t + 1]
        assert reward.tolist() == [0.0 if t > 2 else 0.5, 0.5]
    assert world.reset(0)["state"][:, 0].tolist() == [0, 0]
    assert world.step(torch.zeros(2, 2))[2].tolist() == [False, False]


def test_a_world_that_breaks_ends_with_its_last_sound_state(caplog: pytest.LogCaptureFixture) -> None:
    world = Gym("BreakingRamp-v0", size=8).open(1)
    world.reset(0)
    seen = [world.step(torch.zeros(1, 2)) for _ in range(4)]
    assert [s[0]["state"][0, 0].item() for s in seen] == [1, 2, 2, 2]
    assert [s[2].item() for s in seen] == [False, False, True, True]
    assert torch.equal(seen[1][0]["image"], seen[3][0]["image"])
    assert "not finite" in caplog.text


def test_action_repeat_adds_rewards_and_actions_are_clamped() -> None:
    world = Gym("Ramp-v0", size=8, action_repeat=3).open(1)
    world.reset(0)
    observation, reward, _, _ = world.step(torch.tensor([[9.0, 0.0]]))
    assert observation["state"][0, 0] == 3 and reward.item() == 3.0
    _, reward, terminated, _ = world.step(torch.tensor([[1.0, 0.0]]))
    assert reward.item() == 2.0 and terminated.item()  # it ended within the repeat


@pytest.mark.parametrize("kind", ["ahead", "anywhere"])
def test_pendulum_begins_where_its_tasks_say(kind: str) -> None:
    world = Gym("Pendulum-v1", size=32, ahead=10).open(3)
    tasks = world.tasks(kind, 3, 0)
    first = world.begin(tasks)
    assert torch.allclose(first["state"], tasks.start, atol=1e-5)
    assert bool(world.reached(tasks.goal, tasks.goal).all())
    assert torch.equal(world.tasks(kind, 2, 0).start, tasks.start[:2])
    assert not torch.equal(world.tasks(kind, 3, 1).goal, tasks.goal)


def test_a_goal_ahead_is_reached_by_the_actions_that_made_it() -> None:
    world = Gym("MountainCarContinuous-v0", size=24, ahead=12).open(4)
    tasks = world.tasks("ahead", 4, 3)
    actions = world.wander(numbered(4, 3).child(0), 12)
    outcome = control(world, world.begin(tasks), Scripted(actions), lambda s: world.reached(s, tasks.goal), 12)
    assert bool(outcome.at_end.all())
    assert torch.equal(outcome.states[:, -1], tasks.goal)


def test_a_pendulum_can_be_put_anywhere() -> None:
    world = Gym("Pendulum-v1", size=48).open(2)
    up, down = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([-1.0, 0.0, 0.0])
    first = world.reset_to(torch.stack([up, down]))
    dark = 255 - first["image"].float().mean(1)
    assert dark[0, :20].sum() > 10 * dark[0, 28:].sum() and dark[1, 28:].sum() > 10 * dark[1, :20].sum()
    assert world.reached(first["state"], first["state"].flip(0)).tolist() == [False, False]


def test_wandering_holds_actions_and_fills_the_bounds() -> None:
    world = Gym("Pendulum-v1", size=8).open(1)
    actions = world.wander(numbered(200), 60)
    assert -2 <= actions.min() < -1.9 and 1.9 < actions.max() <= 2
    held = (actions[:, 1:] == actions[:, :-1]).float().mean()
    assert abs(held - (1 - world.rules.turn)) < 0.02


def test_reacher_keeps_the_contract_and_reaches_what_it_is_shown(reacher: GymWorld) -> None:
    check_env(reacher, 3)
    tasks = reacher.tasks("anywhere", 2, 0)
    first = reacher.begin(tasks)
    assert torch.allclose(first["state"], tasks.start, atol=1e-5)
    assert (tasks.goal[:, :2].norm(dim=1) < 0.24 + 0.01).all()
    there = reacher.reset_to(tasks.goal)
    assert torch.equal(there["image"], tasks.image)
    assert reacher.reached(there["state"], tasks.goal).tolist() == [True, True]


def test_reacher_ahead_repeats_its_episode(reacher: GymWorld) -> None:
    tasks = reacher.tasks("ahead", 2, 1)
    actions = reacher.wander(numbered(2, 1).child(0), reacher.rules.ahead)
    reacher.begin(tasks)
    for action in actions.unbind(1):
        observation = reacher.step(action)[0]
    assert torch.allclose(observation["state"], tasks.goal, atol=1e-5)
    assert torch.equal(observation["image"], tasks.image)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPole-v1", r"Discrete\(2\).*continuous"),
        ("Pendulm-v1", "did you mean Pendulum-v1"),
        ("nowhere:Bar-v0", "cannot be made.*armillary\\[envs\\]"),
        ("BlindRamp-v0", "renders"),
    ],
)
def test_unusable_environments_are_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Gym(name).open(1)


def test_unknown_suite_tasks_are_suggested() -> None:
    pytest.importorskip("dm_control", reason="dm_control is not installed")
    with pytest.raises(ConfigError, match=r"did you mean dm_control/reacher-easy|does not render"):
        Gym("dm_control/reacher-eesy").open(1)


def test_wrong_input_is_named() -> None:
    world = Gym("Ramp-v0", size=8).open(2)
    with pytest.raises(ConfigError, match="cannot be set"):
        world.reset_to(torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="no task 'anywhere'"):
        world.tasks("anywhere", 1, 0)
    with pytest.raises(ShapeError, match="1 tasks for 2 worlds"):
        world.begin(world.tasks("ahead", 1, 0))
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        world.step(torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="turn 0"):
        Gym(turn=0.0)
    with pytest.raises(ConfigError, match="0 worlds"):
        Gym().open(0)
