from __future__ import annotations

import pytest
import torch

from armillary.contracts import Environment, check_dynamics, check_env
from armillary.envs.tasks import World
from armillary.envs.two_rooms import CLOSE, DOT, WITHIN, TwoRooms, TwoRoomsDynamics, published
from armillary.errors import ConfigError, ShapeError
from armillary.randomness import Random, numbered

FIXED, VARIED = TwoRooms(), TwoRooms(random_wall=True)
BOTH = pytest.mark.parametrize("rules", [FIXED, VARIED], ids=["fixed", "random wall"])


@BOTH
def test_keeps_the_contract_of_environments(rules: TwoRooms) -> None:
    world = rules.open(3)
    assert isinstance(world, World) and isinstance(world, Environment)
    check_env(world)


@BOTH
def test_nobody_passes_the_wall_but_through_the_door(rules: TwoRooms) -> None:
    random = numbered(400)
    wall = rules.walls(random)
    position = rules.place(random, "place", torch.arange(400) % 2 == 0, wall)
    heading = 2 * torch.pi * random.uniform("heading", 300)
    crossings = 0
    for t in range(300):  # fast and straight for ten steps, then elsewhere
        action = torch.stack([heading[:, t - t % 10].cos(), heading[:, t - t % 10].sin()], 1) * 100
        following = rules.move(position, action, wall)
        assert bool(rules.free(following, wall).all())
        assert bool(((following - position).norm(dim=1) <= rules.speed + 1e-4).all())
        crossed = (position[:, 0] < wall[:, 0]) != (following[:, 0] < wall[:, 0])
        in_door = (position[:, 1] - wall[:, 1]).abs() <= rules.door_width / 2 + 1e-4
        assert bool((in_door | ~crossed).all())
        crossings += int(crossed.sum())
        position = following
    assert crossings > 100  # the door does let people through


def test_no_step_is_long_enough_to_tunnel() -> None:
    rules = TwoRooms(speed=60.0)
    wall = rules.walls(numbered(2))
    position = rules.move(torch.tensor([[20.0, 40.0], [45.0, 40.0]]), torch.tensor([[50.0, 0.0], [-50.0, 0.0]]), wall)
    assert position[:, 0].tolist() == [32.0 - 1.5, 32.0 + 1.5]
    through = rules.move(torch.tensor([[20.0, rules.door]]), torch.tensor([[30.0, 0.0]]), wall[:1])
    assert through.tolist() == [[50.0, rules.door]]


def test_a_wall_stops_one_direction_and_lets_slide_along_the_other() -> None:
    wall = FIXED.walls(numbered(1))
    moved = FIXED.move(torch.tensor([[4.0, 40.0]]), torch.tensor([[-2.0, 1.0]]), wall)
    assert moved.tolist() == [[FIXED.border, 41.0]]


@BOTH
def test_tasks_are_where_the_harness_says(rules: TwoRooms) -> None:
    for kind, crossing in (("same_room", False), ("other_room", True)):
        tasks = rules.tasks(kind, 2000, 0)
        edges = rules.border + rules.margin
        for place in (tasks.start, tasks.goal):
            assert bool(((place >= edges) & (place <= rules.size - edges)).all())
            gap = (place[:, 0] - tasks.layout[:, 0]).abs()
            assert bool((gap >= rules.margin + rules.thickness / 2).all())
        sides = tasks.start[:, 0] < tasks.layout[:, 0], tasks.goal[:, 0] < tasks.layout[:, 0]
        assert bool(((sides[0] != sides[1]) == crossing).all())
        assert 0.45 < sides[0].float().mean() < 0.55  # both rooms, equally often


def test_places_fill_the_rooms_evenly() -> None:
    start = FIXED.tasks("same_room", 8000, 0).start
    room = FIXED.border + FIXED.margin
    left = start[start[:, 0] < FIXED.wall]
    low, high = torch.tensor([room, room]), torch.tensor([FIXED.wall - 7.5, FIXED.size - room])
    unit = (left - low) / (high - low)
    counts = torch.histogramdd(unit, bins=[4, 4], range=[0.0, 1.0, 0.0, 1.0]).hist
    assert counts.min() > 0.8 * counts.mean() and counts.max() < 1.2 * counts.mean()


def test_a_task_and_a_world_depend_on_seed_and_number_alone() -> None:
    few, many, other = (VARIED.tasks("other_room", n, s) for n, s in ((3, 5), (9, 5), (3, 6)))
    assert torch.equal(few.start, many.start[:3]) and torch.equal(few.image, many.image[:3])
    assert not torch.equal(few.start, other.start)
    assert torch.equal(VARIED.open(2).reset(4)["image"], VARIED.open(5).reset(4)["image"][:2])


def test_the_dot_is_drawn_where_the_position_says() -> None:
    position = numbered(50).uniform("position", 2) * 40 + 12
    image = FIXED.render(position, FIXED.walls(numbered(1)))
    red = image[:, 0].float() - FIXED.render(torch.full((1, 2), -100.0), FIXED.walls(numbered(1)))[:, 0].float()
    weight = red.clamp_min(0)
    middle = torch.arange(64) + 0.5
    x = (weight * middle).sum((1, 2)) / weight.sum((1, 2))
    y = (weight * middle[:, None]).sum((1, 2)) / weight.sum((1, 2))
    away = (position[:, 0] - FIXED.wall).abs() > 8  # the wall hides a little of the dot's red
    assert torch.allclose(torch.stack([x, y], 1)[away], position[away], atol=0.15)


@BOTH
def test_walls_are_drawn_where_they_stop_the_dot(rules: TwoRooms) -> None:
    wall = rules.walls(numbered(4))
    image = rules.render(torch.full((4, 2), -100.0), wall).float()  # worlds without a dot
    grid = torch.stack(torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="xy"), -1)
    bright = image.mean(1) > (image.amax() + image.amin()) / 2.2
    for i in range(4):
        free = rules.free(grid.flatten(0, 1), wall[i].expand(64 * 64, 2)).view(64, 64)
        assert (free == ~bright[i]).float().mean() > 0.985  # all but pixels that a wall covers in part


@BOTH
def test_images_are_those_of_a_dot_blended_into_every_pixel(rules: TwoRooms) -> None:
    wall = rules.walls(numbered(100))
    position = rules.place(numbered(100), "x", torch.arange(100) % 2 == 0, wall)
    middle = torch.arange(64) + 0.5
    far = (middle - position[:, :1]).square()[:, None] + (middle - position[:, 1:]).square()[:, :, None]
    share = (-far / (2 * rules.dot**2)).exp()[:, None]
    whole = rules.scene(wall) * (1 - share) + torch.tensor(DOT)[:, None, None] * share
    gap = (whole + 0.5).floor() - rules.render(position, wall)
    assert gap.abs().max() <= 1 and (gap != 0).float().mean() < 1e-3, "but for rounding"


def test_layers_show_the_dot_and_the_walls_apart() -> None:
    rules = TwoRooms(layers=True, random_wall=True)
    world = rules.open(50)
    check_env(world)
    seen = world.reset(0)
    dot, stone = seen["image"].float().unbind(1)
    middle = torch.arange(64) + 0.5
    x, y = ((dot.sum(axis) @ middle) / dot.sum((1, 2)) for axis in (1, 2))
    assert torch.allclose(torch.stack([x, y], 1), seen["state"], atol=0.05)
    assert bool((dot.amax((1, 2)) > 230).all()) and bool((stone[:, 0] == 255).all())
    again = world.reset_to(rules.place(numbered(50, 3), "x", torch.arange(50) % 2 == 0, seen["wall"]))["image"]
    assert torch.equal(again[:, 1], seen["image"][:, 1]), "walls do not change where the dot is"


def test_the_published_world_has_both_success_radii_and_draws_walls_as_published() -> None:
    rules, strict = published(), published(tolerance=CLOSE)
    assert rules.open(2).reset(0)["image"].shape == (2, 2, 65, 65)
    wall = rules.walls(numbered(4000))
    assert 20.5 <= wall[:, 0].min() < 21 and 44 < wall[:, 0].max() <= 44.5
    assert 9.5 <= wall[:, 1].min() < 10.5 and 54.5 < wall[:, 1].max() <= 55.5
    assert published(random_wall=False).walls(numbered(2)).tolist() == [[32.5, 10.5]] * 2
    goal = torch.full((4, 2), 15.0)
    state = goal + torch.tensor([[4.4, 0.0], [4.6, 0.0], [0.99, 0.99], [1.01, 1.01]])
    assert WITHIN == 4.5 and rules.reached(state, goal).tolist() == [True, False, True, True]
    squared = (state - goal).square().mean(1)  # PLDM: below 1
    assert strict.reached(state, goal).tolist() == (squared < 1).tolist() == [False, False, True, False]


def test_images_do_not_depend_on_how_many_are_drawn_at_once() -> None:
    wall = VARIED.walls(numbered(150))
    position = VARIED.place(numbered(150), "x", torch.arange(150) % 2 == 0, wall)
    image = VARIED.render(position, wall)
    assert torch.equal(image[140:], VARIED.render(position[140:], wall[140:]))
    shared = FIXED.walls(numbered(150))
    assert torch.equal(FIXED.render(position, shared), FIXED.render(position, shared[:1]))


def test_wandering_is_smooth_and_visits_both_rooms() -> None:
    world = FIXED.open(200)
    position = world.reset(1)["state"]
    actions = world.wander(numbered(200, 2), 200)
    speed = actions.norm(dim=2)
    assert speed.max() <= FIXED.speed + 1e-4 and (speed > FIXED.speed - 1e-3).float().mean() > 0.6
    assert torch.equal(world.position, position)  # it only says what to do
    turning = (actions[:, 1:] * actions[:, :-1]).sum(2) / (speed[:, 1:] * speed[:, :-1]).clamp_min(1e-6)
    assert turning.median() > 0.98
    sides = [position[:, 0] < FIXED.wall]
    for t in range(200):
        sides.append(world.step(actions[:, t])[0]["state"][:, 0] < FIXED.wall)
    side = torch.stack(sides)
    assert (side[1:] != side[:-1]).float().mean() > 0.005  # once in 200 steps or more often
    fewer = FIXED.open(3)
    fewer.reset(1)
    assert torch.equal(fewer.wander(numbered(3, 2), 200), actions[:3])


@BOTH
def test_true_dynamics_are_the_world(rules: TwoRooms) -> None:
    dynamics, world = TwoRoomsDynamics(rules), rules.open(8)
    first = world.reset(3)
    actions = world.wander(numbered(8), 30)
    check_dynamics(dynamics, first, actions[:, :3].flatten(1))
    state = dynamics.start(first)
    for macro in actions.split(3, 1):
        state = dynamics.step(state, macro.flatten(1))
        for t in range(3):
            observation = world.step(macro[:, t])[0]
        assert torch.equal(dynamics.latent(state), observation["state"])


def test_a_world_begins_where_its_task_says() -> None:
    tasks = VARIED.tasks("other_room", 4, 0)
    first = VARIED.open(4).begin(tasks)
    assert torch.equal(first["state"], tasks.start) and torch.equal(first["wall"], tasks.layout)
    assert torch.equal(first["image"], VARIED.render(tasks.start, tasks.layout))
    assert not bool(VARIED.reached(first["state"], tasks.goal).any())
    assert bool(VARIED.reached(tasks.goal + torch.tensor([4.4, 0.0]), tasks.goal).all())
    assert not bool(VARIED.reached(tasks.goal + torch.tensor([4.6, 0.0]), tasks.goal).any())


def test_wander_is_a_function_of_its_random_numbers() -> None:
    world = FIXED.open(2)
    one = world.wander(Random(0, 0, torch.tensor([7, 7])), 20)
    world.reset_to(torch.tensor([[20.0, 20.0], [20.0, 20.0]]))
    same = world.wander(Random(0, 0, torch.tensor([7, 7])), 20)
    assert torch.equal(same[0], same[1]) and not torch.equal(one[0], world.wander(numbered(2), 20)[0])


def test_wrong_input_is_named() -> None:
    world = FIXED.open(3)
    with pytest.raises(ShapeError, match=r"\(2, 2\); 3 worlds take \(3, 2\)"):
        world.step(torch.zeros(2, 2))
    with pytest.raises(ConfigError, match=r"\[1\] are NaN"):
        world.step(torch.tensor([[0.0, 0.0], [torch.nan, 0.0], [0.0, 0.0]]))
    with pytest.raises(ConfigError, match=r"worlds \[2\] are inside a wall.*32.0, 50.0"):
        world.reset_to(torch.tensor([[20.0, 20.0], [20.0, 20.0], [32.0, 50.0]]))
    with pytest.raises(ConfigError, match="not finite"):
        world.reset_to(torch.full((3, 2), torch.nan))
    with pytest.raises(ShapeError, match="4 positions and 4 walls for 3 worlds"):
        world.begin(FIXED.tasks("same_room", 4, 0))
    with pytest.raises(ConfigError, match="no task 'same_rooms'; did you mean same_room"):
        world.tasks("same_rooms", 1, 0)
    with pytest.raises(ConfigError, match="0 worlds"):
        FIXED.open(0)


@pytest.mark.parametrize("options", [{"wall": 5.0}, {"door": 62.0}, {"speed": 0.0}, {"margin": 20.0}], ids=str)
def test_impossible_geometry_is_named(options: dict) -> None:
    with pytest.raises(ConfigError, match="keep"):
        TwoRooms(**options)
