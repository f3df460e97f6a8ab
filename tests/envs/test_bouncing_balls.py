from __future__ import annotations

import math

import pytest
import torch

from armillary.contracts import Environment, check_dynamics, check_env
from armillary.envs.bouncing_balls import COLORS, OVERLAP, BouncingBalls
from armillary.envs.tasks import World
from armillary.errors import ConfigError
from armillary.randomness import numbered

RULES = BouncingBalls()


def run(rules: BouncingBalls, worlds: int, steps: int) -> list[torch.Tensor]:
    """States of balls that nobody acts on."""
    state, layout = rules.begin(numbered(worlds))
    found = [state]
    for _ in range(steps):
        found.append(rules.move(found[-1], torch.zeros(worlds, 2), layout))
    return found


def test_keeps_the_contract_of_environments() -> None:
    world = RULES.open(3)
    assert isinstance(world, World) and isinstance(world, Environment)
    check_env(world)
    assert world.reset(0)["state"].shape == (3, 12) and world.kinds == ()


@pytest.mark.parametrize("balls", [1, 3, 6])
def test_energy_is_kept_and_balls_stay_apart_and_inside(balls: int) -> None:
    rules = BouncingBalls(balls=balls)
    states = run(rules, 100, 150)
    energy = torch.stack([rules.energy(state.double()) for state in states])
    assert float((energy / energy[0] - 1).abs().max()) < 1e-5
    for state in states:
        place, _ = rules.parts(state.double())
        assert place.min() >= rules.border + rules.radius - 1e-4
        assert place.max() <= rules.size - rules.border - rules.radius + 1e-4
        apart = torch.cdist(place, place) + torch.eye(balls) * 1e9
        assert apart.min() >= 2 * rules.radius - OVERLAP / 2


def test_balls_meet_each_other_and_the_walls() -> None:
    states = torch.stack(run(RULES, 100, 50))
    velocity = states[..., 6:]
    assert (velocity[1:] != velocity[:-1]).any(-1).double().mean() > 0.1
    speed = velocity.unflatten(-1, (3, 2)).norm(dim=-1)
    assert (speed[-1] - speed[0]).abs().max() > 0.5, "speeds are exchanged, which walls never do"


def test_momentum_is_kept_where_no_wall_is_near() -> None:
    wide = BouncingBalls(size=2000, balls=6)
    state, layout = BouncingBalls(balls=6).begin(numbered(200))
    place, velocity = wide.parts(state)
    state = torch.stack([place + 900, velocity], 1).flatten(1)
    before, moved = velocity.double().sum(1), 0
    for _ in range(100):
        state = wide.move(state, torch.zeros(200, 2), layout)
        now = wide.parts(state)[1]
        assert float((now.double().sum(1) - before).abs().max()) < 1e-5
        moved += int((now != velocity).any())
        velocity = now
    assert moved > 20


def test_motion_runs_backwards_the_same_way() -> None:
    states = run(RULES, 100, 25)
    place, velocity = RULES.parts(states[-1])
    state = torch.stack([place, -velocity], 1).flatten(1)
    for _ in range(25):
        state = RULES.move(state, torch.zeros(100, 2), torch.zeros(100, 0))
    apart = (RULES.parts(state)[0] - RULES.parts(states[0])[0]).norm(dim=2).amax(1)
    assert apart.median() < 1e-3 and apart.max() < 0.05  # each collision enlarges rounding


def test_a_step_does_not_depend_on_how_it_is_cut() -> None:
    """Many small steps are a large one: the same rules with all velocities a tenth as large."""
    state, layout = RULES.begin(numbered(100))
    whole = state
    place, velocity = RULES.parts(state)
    small = torch.stack([place, velocity / 10], 1).flatten(1)
    for _ in range(15):
        whole = RULES.move(whole, torch.zeros(100, 2), layout)
        for _ in range(10):
            small = RULES.move(small, torch.zeros(100, 2), layout)
    apart = (RULES.parts(whole)[0] - RULES.parts(small)[0]).norm(dim=2).amax(1)
    assert apart.median() < 1e-3 and apart.max() < 0.05


def test_a_head_on_push_hands_over_the_velocity() -> None:
    rules = BouncingBalls(balls=2)
    state = torch.tensor([[20.0, 32.0, 32.0, 32.0, 3.0, 0.0, 0.0, 0.0]])
    after = rules.move(state, torch.zeros(1, 2), torch.zeros(1, 0))
    assert after[0].tolist() == pytest.approx([22, 32, 33, 32, 0, 0, 3, 0], abs=1e-5)


def test_an_oblique_push_follows_the_line_between_the_balls() -> None:
    rules = BouncingBalls(balls=2)
    line = torch.tensor([math.cos(0.6), math.sin(0.6)])
    other = torch.tensor([24.0, 24.0]) + 10 * line
    state = torch.cat([torch.tensor([24.0, 24.0]), other, torch.tensor([1.0, 0.0, 0.0, 0.0])])[None]
    after = rules.move(state, torch.zeros(1, 2), torch.zeros(1, 0))
    given = math.cos(0.6) * line
    assert torch.allclose(after[0, 6:], given, atol=1e-6)
    assert torch.allclose(after[0, 4:6], torch.tensor([1.0, 0.0]) - given, atol=1e-6)


def test_a_wall_turns_one_direction_round_within_a_step() -> None:
    rules = BouncingBalls(balls=1)
    after = rules.move(torch.tensor([[54.0, 30.0, 4.0, 1.0]]), torch.zeros(1, 2), torch.zeros(1, 0))
    assert after[0].tolist() == pytest.approx([54.0, 31.0, -4.0, 1.0], abs=1e-5)  # 2 px there, 2 px back


def test_an_action_pushes_the_first_ball_and_only_where_there_is_force() -> None:
    state, layout = RULES.begin(numbered(5))
    still, action = torch.zeros(5, 2), torch.tensor([[3.0, 4.0]]).expand(5, 2)
    assert torch.equal(RULES.move(state, action, layout), RULES.move(state, still, layout))
    rules = BouncingBalls(size=2000, force=0.5)
    far = state + torch.cat([torch.full((6,), 500.0), torch.zeros(6)])
    gained = rules.move(far, action, layout)[:, 6:] - rules.move(far, still, layout)[:, 6:]
    alone = gained[:, 2:].abs().amax(1) == 0  # worlds in which the first ball met no other
    assert bool(alone.any())
    assert torch.allclose(gained[alone, :2], 0.5 * torch.tensor([0.6, 0.8]), atol=1e-5)


def test_a_world_depends_on_seed_and_number_alone_and_rows_do_not_mix() -> None:
    few, many = RULES.open(2), RULES.open(9)
    assert torch.equal(few.reset(4)["image"], many.reset(4)["image"][:2])
    for _ in range(30):
        one, all_ = few.step(torch.zeros(2, 2))[0], many.step(torch.zeros(9, 2))[0]
    assert torch.equal(one["state"], all_["state"][:2]) and torch.equal(one["image"], all_["image"][:2])


def test_every_ball_has_its_color_where_it_is() -> None:
    rules = BouncingBalls(balls=6)
    world = rules.open(20)
    seen = world.reset(0)
    for i in range(20):
        for ball, color in zip(rules.parts(seen["state"])[0][i], COLORS, strict=True):
            assert seen["image"][i, :, int(ball[1]), int(ball[0])].tolist() == list(color)


def test_true_dynamics_are_the_world() -> None:
    world = BouncingBalls(force=0.3).open(6)
    first = world.reset(1)
    actions = world.wander(numbered(6), 12)
    check_dynamics(world.dynamics(), first, actions[:, :3].flatten(1))
    state = world.dynamics().start(first)
    for macro in actions.split(3, 1):
        state = world.dynamics().step(state, macro.flatten(1))
        for t in range(3):
            observation = world.step(macro[:, t])[0]
        assert torch.equal(world.dynamics().latent(state), observation["state"])
    assert bool((actions.norm(dim=2) <= 1 + 1e-5).all()) and actions.std() > 0.3


def test_wrong_input_is_named() -> None:
    world = BouncingBalls(balls=2).open(1)
    for wrong in ([20.0, 20, 25, 20, 0, 0, 0, 0], [2.0, 20, 40, 20, 0, 0, 0, 0], [20.0, 20, 40, 20, math.nan, 0, 0, 0]):
        with pytest.raises(ConfigError, match=r"worlds \[0\] are impossible"):
            world.reset_to(torch.tensor([wrong]))
    with pytest.raises(ConfigError, match="Bouncing Balls has no task 'far'; none is known"):
        world.tasks("far", 1, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balls": 7}, "1 to 6 balls"),
        ({"balls": 0}, "1 to 6 balls"),
        ({"radius": 20.0}, "less than half"),
        ({"slowest": 5.0}, "slower speed comes first"),
        ({"force": math.nan}, "force is nan"),
    ],
    ids=str,
)
def test_impossible_settings_are_named(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BouncingBalls(**options)
