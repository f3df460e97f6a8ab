from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
import torch

from armillary.contracts import Environment, check_dynamics, check_env
from armillary.envs import mazes
from armillary.envs.batched import draw
from armillary.envs.geodesic import Lattice, distances
from armillary.envs.point_maze import KINDS, PointMaze
from armillary.envs.tasks import World
from armillary.errors import ConfigError, ShapeError
from armillary.randomness import numbered

NAMED, GROWN = PointMaze(), PointMaze(layouts="generated", loops=0.1)
BOTH = pytest.mark.parametrize("rules", [NAMED, GROWN], ids=["named", "generated"])


def rectangles(rules: PointMaze, grid: np.ndarray) -> np.ndarray:
    """Left, top, right and bottom of every wall of a grid, added up from the image's corner."""
    widths = [rules.thickness if i % 2 == 0 else rules.corridor for i in range(len(grid))]
    edges = np.concatenate([[0], np.cumsum(widths)])
    return np.array([(edges[c], edges[r], edges[c + 1], edges[r + 1]) for r, c in zip(*np.nonzero(grid), strict=True)])


def overlap(rules: PointMaze, layout: torch.Tensor, position: np.ndarray) -> float:
    """How deep squares around positions [N, 2] are inside walls at most."""
    walls = rectangles(rules, rules.grid(layout[None])[0].numpy())
    x, y = position[:, None, 0], position[:, None, 1]
    across = np.minimum(x + rules.radius, walls[:, 2]) - np.maximum(x - rules.radius, walls[:, 0])
    down = np.minimum(y + rules.radius, walls[:, 3]) - np.maximum(y - rules.radius, walls[:, 1])
    return float(np.minimum(across, down).max())


@BOTH
def test_keeps_the_contract_of_environments(rules: PointMaze) -> None:
    world = rules.open(3)
    assert isinstance(world, World) and isinstance(world, Environment)
    check_env(world)
    assert world.reset(0)["image"].shape == (3, 3, 64, 64) and world.low.tolist() == [-1, -1]


@pytest.mark.parametrize(
    "changes", [{}, {"speed": 50.0, "force": 50.0}, {"radius": 4.0, "margin": 0.5, "damping": 1.0}], ids=str
)
def test_the_ball_is_never_inside_a_wall_and_never_passes_one(changes: dict) -> None:
    rules = PointMaze(layouts="generated", **changes)
    state, layout = rules.begin(numbered(40))
    heading = 2 * math.pi * numbered(40, 1).uniform("heading", 60)
    for t in range(60):
        if t % 3 == 2:  # adversarial: straight on, into whatever is ahead
            action = 9 * state[:, 2:]
        else:
            action = 9 * torch.stack([heading[:, t - t % 10].cos(), heading[:, t - t % 10].sin()], 1)
        following = rules.move(state, action, layout)
        assert bool(rules.lawful(following, layout).all())
        assert bool((following[:, 2:].norm(dim=1) <= rules.speed * (1 + 1e-5)).all())
        share = np.linspace(0, 1, 60)[:, None]
        for i in range(40):
            corner = np.array([following[i, 0], state[i, 1]])  # first along x, then along y
            legs = [(state[i, :2].numpy(), corner), (corner, following[i, :2].numpy())]
            way = np.concatenate([a + share * (b - a) for a, b in legs]).astype(np.float64)
            assert overlap(rules, layout[i], way) < 1e-4
        state = following


def test_the_ball_gets_through_the_whole_maze() -> None:
    world = NAMED.open(200)
    world.reset(0)
    actions, rooms = world.wander(numbered(200, 1), 150), []
    for action in actions.unbind(1):
        cell = (world.step(action)[0]["state"][:, :2] / (NAMED.corridor + NAMED.thickness)).long().clamp(0, 3)
        rooms.append(cell[:, 0] + 4 * cell[:, 1])
    seen = torch.tensor([len(row.unique()) for row in torch.stack(rooms, 1)])
    assert seen.double().mean() > 5 and int(seen.max()) > 9
    assert bool((actions.norm(dim=2) <= 1 + 1e-5).all())
    turning = torch.nn.functional.cosine_similarity(actions[:, 1:], actions[:, :-1], dim=2)
    assert turning.median() > 0.98


def test_a_force_speeds_up_to_the_known_speed_and_damping_stops() -> None:
    rules = PointMaze(speed=100.0, damping=0.7, force=0.3)
    layout = mazes.built(torch.zeros(1, 24, dtype=torch.bool), 4).flatten(1)
    state = torch.tensor([[5.0, 9.0, 0.0, 0.0]])
    for n in range(1, 10):
        state = rules.move(state, torch.tensor([[1.0, 0.0]]), layout)
        assert state[0, 2].item() == pytest.approx(0.3 * (1 - 0.7**n) / 0.3, rel=1e-5)
    state = rules.move(state, torch.zeros(1, 2), layout)
    assert state[0, 2].item() == pytest.approx(0.7 * (1 - 0.7**9), rel=1e-5)


def test_a_wall_stops_one_direction_and_lets_slide_along_the_other() -> None:
    layout = mazes.named(False)[:1].flatten(1)
    state = NAMED.move(torch.tensor([[5.1, 20.0, 0.0, 0.0]]), torch.tensor([[-0.6, 0.8]]), layout)
    assert state[0, 0] == NAMED.thickness + NAMED.radius and state[0, 2] == 0
    assert state[0, 3].item() == pytest.approx(0.48, rel=1e-5) and state[0, 1].item() == pytest.approx(20.48, rel=1e-5)


def test_worlds_are_mirrored_and_turned_as_their_mazes_are() -> None:
    layout = mazes.half(numbered(30), "x", 4, 0.1, False)
    state, _ = NAMED.begin(numbered(30))
    action = numbered(30, 2).normal("action", 20, 2) * 2
    mirror = torch.tensor([-1.0, 1.0])
    other = torch.cat([state[:, :2] * mirror + torch.tensor([64.0, 0.0]), state[:, 2:]], 1)
    for t in range(20):
        state = NAMED.move(state, action[:, t], layout.flatten(1))
        other = NAMED.move(other, action[:, t] * mirror, layout.flip(2).flatten(1))
    assert torch.allclose(other[:, :2] * mirror + torch.tensor([64.0, 0.0]), state[:, :2], atol=1e-3)
    assert torch.allclose(other[:, 2:] * mirror, state[:, 2:], atol=1e-4)


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_tasks_are_as_far_and_in_such_mazes_as_their_kind_says(rules: PointMaze, kind: str) -> None:
    tasks = rules.tasks(kind, 200, 0)
    grid = rules.grid(tasks.layout)
    room = [(x[:, :2] / (rules.corridor + rules.thickness)).long() for x in (tasks.start, tasks.goal)]
    one, other = (cell[:, 1] * 4 + cell[:, 0] for cell in room)
    apart = mazes.hops(grid)[torch.arange(200), one, other]
    low, high = (rules.far, 16) if kind.endswith("far") else (1, rules.near)
    assert int(apart.min()) == low and int(apart.max()) <= high
    assert bool((mazes.held_back(grid) == kind.startswith("unseen")).all())
    assert bool(rules.lawful(tasks.start, tasks.layout).all()) and bool(rules.lawful(tasks.goal, tasks.layout).all())
    assert bool((tasks.start[:, 2:] == 0).all()) and bool((tasks.goal[:, 2:] == 0).all())
    few = rules.tasks(kind, 3, 0)
    assert torch.equal(few.start, tasks.start[:3]) and torch.equal(few.image, tasks.image[:3])


def test_episodes_never_happen_in_an_unseen_maze() -> None:
    for rules in (NAMED, GROWN):
        assert not bool(mazes.held_back(rules.grid(rules.open(300).reset(1)["layout"])).any())
    assert len(NAMED.open(300).reset(1)["layout"].unique(dim=0)) == len(mazes.SEEN)


@BOTH
def test_a_world_begins_where_its_task_says_and_shows_its_goal(rules: PointMaze) -> None:
    tasks, world = rules.tasks("unseen_far", 4, 0), rules.open(4)
    first = world.begin(tasks)
    assert torch.equal(first["state"], tasks.start) and torch.equal(first["layout"], tasks.layout)
    assert torch.equal(first["image"], draw(rules, tasks.start, tasks.layout))
    assert torch.equal(world.reset_to(tasks.goal)["image"], tasks.image)
    assert not bool(rules.reached(first["state"], tasks.goal).any())
    moved = torch.tensor([rules.tolerance, 0.0, 9.0, 9.0])
    assert bool(rules.reached(tasks.goal + 0.99 * moved, tasks.goal).all())
    assert not bool(rules.reached(tasks.goal + 1.01 * moved, tasks.goal).any())


def test_walls_are_drawn_where_they_stop_the_ball() -> None:
    rules = PointMaze(layouts="generated", radius=0.01, margin=0.0)
    _, layout = rules.begin(numbered(5))
    middle = torch.arange(64) + 0.5
    points = torch.stack([middle.repeat(64), middle.repeat_interleave(64)], 1).expand(5, -1, -1)
    dark = rules.scene(layout)[:, 0].flatten(1) < 61
    assert (dark == rules.free(points, layout)).float().mean() > 0.97  # all but pixels that a wall covers in part


@BOTH
def test_true_dynamics_are_the_world(rules: PointMaze) -> None:
    world = rules.open(8)
    tasks = rules.tasks("near", 8, 0)
    first = world.begin(tasks)
    actions = world.wander(numbered(8), 30)
    for dynamics in (world.dynamics(), world.toward(tasks)):
        check_dynamics(dynamics, first, actions[:, :3].flatten(1))
    state = world.dynamics().start(first)
    for macro in actions.split(3, 1):
        state = world.dynamics().step(state, macro.flatten(1))
        for t in range(3):
            observation = world.step(macro[:, t])[0]
        assert torch.equal(world.dynamics().latent(state), observation["state"])


def shortest(rules: PointMaze, layout: torch.Tensor, start: tuple, goal: tuple) -> float:
    """Dijkstra's algorithm on a lattice of whole pixels, in the 16 directions of a king and a knight."""
    walls = rectangles(rules, rules.grid(layout[None])[0].numpy())
    grown = walls + rules.radius * np.array([-1, -1, 1, 1])

    def clear(x: float, y: float) -> bool:
        return not bool(((x > grown[:, 0]) & (x < grown[:, 2]) & (y > grown[:, 1]) & (y < grown[:, 3])).any())

    free = {(x, y) for x in range(64) for y in range(64) if clear(x, y)}
    steps = [(a, b) for a in range(-2, 3) for b in range(-2, 3) if math.gcd(a, b) == 1]
    far, heap = {start: 0.0}, [(0.0, start)]
    while heap:
        length, place = heapq.heappop(heap)
        if place == goal:
            return length
        for dx, dy in steps:
            other = place[0] + dx, place[1] + dy
            longer = length + math.hypot(dx, dy)
            if other in free and longer < far.get(other, math.inf):
                far[other] = longer
                heapq.heappush(heap, (longer, other))
    return math.inf


def test_geodesic_distances_are_those_of_another_search() -> None:
    layout = torch.cat([mazes.named(False), mazes.named(True)]).flatten(1)
    start, _ = NAMED.begin(numbered(12, 1))
    goal, _ = NAMED.begin(numbered(12, 2))
    start, goal = start[:, :2].round(), goal[:, :2].round()
    found = NAMED.geodesic(start, goal, layout).numpy()
    for i in range(12):
        known = shortest(NAMED, layout[i], tuple(start[i].int().tolist()), tuple(goal[i].int().tolist()))
        assert known / 1.03 - 1.5 <= found[i] <= known * 1.09 + 1.5  # 16 directions are at most 2.8 % too long


def test_geodesic_distance_is_straight_in_a_room_symmetric_and_never_below_the_straight_line() -> None:
    _, layout = GROWN.begin(numbered(200))
    start, goal = (GROWN.begin(numbered(200, seed))[0][:, :2] for seed in (1, 2))
    there, back = GROWN.geodesic(start, goal, layout), GROWN.geodesic(goal, start, layout)
    assert bool(there.isfinite().all())
    assert bool((there >= (start - goal).norm(dim=1) - 1e-3).all())
    assert bool(((there - back).abs() <= 0.09 * there + 2).all())
    same = (
        GROWN.place(numbered(200), "a", torch.arange(200) % 16),
        GROWN.place(numbered(200), "b", torch.arange(200) % 16),
    )
    length = (same[0][:, :2] - same[1][:, :2]).norm(dim=1)
    assert torch.allclose(GROWN.geodesic(same[0][:, :2], same[1][:, :2], layout), length)


def test_the_way_that_is_left_shrinks_smoothly_along_it() -> None:
    tasks = NAMED.tasks("far", 30, 0)
    way, index = NAMED.way(tasks), torch.arange(30)
    points = Lattice(64).points().expand(30, -1, -1)
    free = NAMED.free(points, tasks.layout)
    for dx in ((0.25, 0.0), (0.0, 0.25)):
        step = torch.tensor(dx)
        both = free & NAMED.free(points + step, tasks.layout)
        for i in (0, 7, 19):
            here, there = (
                way(torch.cat([p[i, both[i]], torch.zeros_like(p[i, both[i]])], 1), index[i].expand(int(both[i].sum())))
                for p in (points, points + step)
            )
            assert float((here - there).abs().max()) < 2.5, "no jump above a lattice step"


def test_a_goal_that_no_way_leads_to_is_infinitely_far() -> None:
    closed = mazes.built(torch.ones(1, 24, dtype=torch.bool), 4).flatten(1)
    assert NAMED.geodesic(torch.tensor([[9.0, 9.0]]), torch.tensor([[55.0, 55.0]]), closed).item() == math.inf
    lattice = Lattice(8, 1.0)
    nowhere = torch.zeros(1, 64, dtype=torch.bool)
    assert bool((distances(lattice, nowhere, torch.tensor([[4.0, 4.0]]), ~nowhere) == math.inf).all())


def test_wrong_input_is_named() -> None:
    world = NAMED.open(2)
    with pytest.raises(ShapeError, match=r"\(3, 2\); 2 worlds take \(2, 2\)"):
        world.step(torch.zeros(3, 2))
    with pytest.raises(ConfigError, match=r"\[1\] are NaN"):
        world.step(torch.tensor([[0.0, 0.0], [torch.inf, 0.0]]))
    state = world.reset(0)["state"]
    for wrong in ([1.0, 1.0, 0.0, 0.0], [math.nan, 9.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0], [-100.0, 9.0, 0.0, 0.0]):
        with pytest.raises(ConfigError, match=r"worlds \[1\] are impossible"):
            world.reset_to(torch.cat([state[:1], torch.tensor([wrong])]))
    with pytest.raises(ShapeError, match="4 states and 4 layouts for 2 worlds"):
        world.begin(NAMED.tasks("near", 4, 0))
    with pytest.raises(ShapeError, match=r"these worlds have \(2, 4\) and \(2, 81\)"):
        world.reset_to(torch.zeros(2, 6))
    with pytest.raises(ConfigError, match="no task 'farr'; did you mean"):
        world.tasks("farr", 1, 0)
    with pytest.raises(ConfigError, match="0 worlds"):
        NAMED.open(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rooms": 5}, "'named' with 4"),
        ({"layouts": "generated", "rooms": 1}, "'named' with 4"),
        ({"radius": 6.0}, "too narrow"),
        ({"layouts": "generated", "rooms": 8}, "too narrow"),
        ({"near": 5}, "near 5, far 5"),
        ({"far": 7}, "at most 6"),
        ({"damping": 1.5}, "damping is 1.5"),
        ({"speed": 0.0}, "speed is 0.0"),
    ],
    ids=str,
)
def test_impossible_settings_are_named(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PointMaze(**options)
