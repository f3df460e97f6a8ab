from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch

from armillary.contracts import Environment, check_dynamics, check_env
from armillary.envs.batched import draw
from armillary.envs.push_block import OVERLAP, PushBlock
from armillary.envs.tasks import World
from armillary.errors import ConfigError
from armillary.randomness import numbered

RULES = PushBlock()
NONE = torch.zeros(1, 0)


def state_of(block: tuple[float, float], degrees: float, at: tuple[float, float]) -> torch.Tensor:
    angle = 4 * math.radians(degrees)
    return torch.tensor([[*block, math.cos(angle), math.sin(angle), *at]])


def corners(state: np.ndarray) -> np.ndarray:
    """The block's corners [B, 4, 2], in order around it, from complex numbers."""
    turn = np.exp(1j * np.arctan2(state[:, 3], state[:, 2]) / 4)
    around = RULES.side / math.sqrt(2) * np.exp(1j * (math.pi / 4 + math.pi / 2 * np.arange(4)))
    at = state[:, :1] + 1j * state[:, 1:2] + turn[:, None] * around
    return np.stack([at.real, at.imag], -1)


def gap(state: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Distance of points [B, 2] from the block, 0 inside: from its four edges and the side on which each point lies."""
    corner = corners(state)
    following = np.roll(corner, -1, 1)
    edge, to = following - corner, at[:, None] - corner
    share = ((edge * to).sum(-1) / (edge**2).sum(-1)).clip(0, 1)
    far = np.linalg.norm(to - share[..., None] * edge, axis=-1).min(1)
    inside = (edge[..., 0] * to[..., 1] - edge[..., 1] * to[..., 0] > 0).all(1)
    return np.where(inside, 0, far)


@cache
def pushed(rules: PushBlock, worlds: int, steps: int, spoil: bool) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """States and the actions taken in them: wandering, or always at the block and often straight into a corner."""
    state, layout = rules.begin(numbered(worlds))
    actions = rules.wander(numbered(worlds, 1), steps, state, layout)
    found = []
    for t in range(steps):
        action = actions[:, t]
        if spoil:
            corner = torch.tensor([64.0 * (t // 60 % 2), 64.0 * (t // 30 % 2)])
            action = torch.where((torch.arange(worlds) % 2 == 0)[:, None], state[:, :2] - state[:, 4:], action)
            stand = state[:, :2] - 11 * torch.nn.functional.normalize(corner - state[:, :2], dim=1)
            herding = stand - state[:, 4:]
            herding = torch.where(herding.norm(dim=1, keepdim=True) < 2, corner - state[:, 4:], herding)
            action = torch.where((torch.arange(worlds) % 4 == 1)[:, None], herding, action)
        found.append((state, action))
        state = rules.move(state, action, layout)
    return [*found, (state, actions[:, 0])]


def test_keeps_the_contract_of_environments() -> None:
    world = RULES.open(3)
    assert isinstance(world, World) and isinstance(world, Environment)
    check_env(world)
    assert world.reset(0)["state"].shape == (3, 6)


@pytest.mark.parametrize("spoil", [False, True], ids=["wandering", "adversarial"])
@pytest.mark.parametrize("rules", [RULES, PushBlock(speed=8.0, substeps=3)], ids=["slow", "fast"])
def test_bodies_never_overlap_and_never_leave_the_table(rules: PushBlock, spoil: bool) -> None:
    for state, _ in pushed(rules, 100, 120, spoil):
        exact = state.double().numpy()
        assert gap(exact, exact[:, 4:]).min() >= rules.radius - OVERLAP
        assert corners(exact).min() >= rules.rim - OVERLAP and corners(exact).max() <= 64 - rules.rim + OVERLAP
        assert exact[:, 4:].min() >= rules.radius - 1e-4 and exact[:, 4:].max() <= 64 - rules.radius + 1e-4
        assert bool(rules.lawful(state, torch.zeros(100, 0)).all())


def test_the_block_moves_only_where_the_disc_touches_it() -> None:
    moves = rests = 0
    for (state, action), (after, _) in zip(*(lambda x: (x, x[1:]))(pushed(RULES, 100, 120, True)), strict=False):
        exact = state.double().numpy()
        step = (action / action.norm(dim=1, keepdim=True).clamp_min(RULES.speed) * RULES.speed).double().numpy()
        way = [gap(exact, (exact[:, 4:] + share * step).clip(3, 61)) for share in np.linspace(0, 1, 13)]
        touched = np.min(way, 0) < RULES.radius - 1e-3
        moved = (after[:, :4] != state[:, :4]).any(1).numpy()
        assert not (moved & (np.min(way, 0) > RULES.radius + 1e-3)).any()
        moves, rests = moves + int(moved.sum()), rests + int((~touched & ~moved).sum())
    assert moves > 1000 and rests > 1000


def test_nothing_moves_without_an_action_even_just_after_a_push() -> None:
    for state, _ in pushed(RULES, 100, 120, True)[::6]:
        assert torch.equal(RULES.move(state, torch.zeros(100, 2), torch.zeros(100, 0)), state)


@pytest.mark.parametrize("turn", ["mirror", "quarter"])
def test_a_world_that_is_mirrored_or_turned_moves_alike(turn: str) -> None:
    def other(state: torch.Tensor) -> torch.Tensor:
        block, angle, at = state[:, :2], state[:, 2:4], state[:, 4:]
        if turn == "mirror":
            place = lambda x: x * torch.tensor([-1.0, 1.0]) + torch.tensor([64.0, 0.0])  # noqa: E731
            return torch.cat([place(block), angle * torch.tensor([1.0, -1.0]), place(at)], 1)
        place = lambda x: torch.stack([64 - x[:, 1], x[:, 0]], 1)  # noqa: E731
        return torch.cat([place(block), angle, place(at)], 1)

    worst = 0.0
    for state, action in pushed(RULES, 100, 120, True)[::4]:
        acted = (
            action * torch.tensor([-1.0, 1.0]) if turn == "mirror" else torch.stack([-action[:, 1], action[:, 0]], 1)
        )
        gone = other(RULES.move(state, action, torch.zeros(100, 0)))
        worst = max(worst, float((RULES.move(other(state), acted, torch.zeros(100, 0)) - gone).abs().max()))
    assert worst < 2e-3  # rounding, which a push at a corner enlarges


def test_a_push_through_the_middle_moves_straight_and_one_beside_it_turns() -> None:
    start = state_of((32, 32), 0, (20, 32))
    state = start
    for _ in range(6):
        state = RULES.move(state, torch.tensor([[2.0, 0.0]]), NONE)
    assert state[0].tolist() == pytest.approx([42, 32, 1, 0, 32, 32], abs=1e-3)  # 2 of 12 px were a gap
    for beside, sense in ((4.0, -1), (-4.0, 1)):  # y points down: a push along x below the middle turns from x to -y
        state = RULES.move(state_of((32, 32), 0, (22, 32 + beside)), torch.tensor([[2.0, 0.0]]), NONE)
        assert math.copysign(1, float(RULES.angle(state))) == sense


def test_a_small_push_moves_the_block_as_the_limit_surface_says() -> None:
    beside, way = 4.0, 0.02
    state = RULES.move(state_of((32, 32), 0, (22, 32 + beside)), torch.tensor([[way, 0.0]]), NONE).double()
    x = (np.arange(2000) + 0.5) / 2000 - 0.5
    rho = RULES.side * np.hypot(x[:, None], x[None]).mean()  # the mean distance, by adding it up
    forward = way / (1 + beside**2 / rho**2)
    assert float(state[0, 0]) - 32 == pytest.approx(forward, rel=0.01)
    assert float(RULES.angle(state)) == pytest.approx(-forward * beside / rho**2, rel=0.01)
    assert float(state[0, 1]) == pytest.approx(32, abs=1e-4), "no friction along the side"


def test_a_disc_slides_along_a_block_that_cannot_move_and_a_block_in_a_corner_comes_out_again() -> None:
    state = state_of((14, 14), 0, (24, 14))
    for _ in range(5):
        state = RULES.move(state, torch.tensor([[-2.0, 0.0]]), NONE)
    assert state[0].tolist() == pytest.approx([14, 14, 1, 0, 24, 14], abs=1e-3)
    state = RULES.move(state, torch.tensor([[-1.0, 1.0]]), NONE)
    assert float(state[0, 5]) > 14.5
    state = state_of((14, 14), 0, (3, 14))  # from the rim
    for _ in range(4):
        state = RULES.move(state, torch.tensor([[2.0, 0.0]]), NONE)
    assert float(state[0, 0]) == pytest.approx(21, abs=1e-3)


def test_a_block_looks_and_counts_the_same_after_a_quarter_turn() -> None:
    one, other = (state_of((32, 32), degrees, (10, 10)) for degrees in (25.0, 115.0))
    assert torch.allclose(one, other, atol=1e-6)
    goal = state_of((35, 32), 44.0, (50, 50))
    assert not bool(RULES.reached(state_of((32, 32), 20.0, (9, 9)), goal))
    assert bool(RULES.reached(state_of((32, 32), 25.0, (9, 9)), goal))
    assert bool(RULES.reached(state_of((32, 32), -30.0, (9, 9)), goal)), "46 degrees are -44"
    assert not bool(RULES.reached(state_of((30.9, 32), 44.0, (9, 9)), goal)), "4.1 px away"
    assert bool(PushBlock(turned=45.0).reached(state_of((32, 32), 0.0, (9, 9)), goal))


@pytest.mark.parametrize("kind", ["near", "far"])
def test_tasks_are_as_far_as_their_kind_says_and_can_be_done(kind: str) -> None:
    tasks = RULES.tasks(kind, 300, 0)
    for state in (tasks.start, tasks.goal):
        assert bool(RULES.lawful(state, tasks.layout).all())
    apart = (tasks.start[:, :2] - tasks.goal[:, :2]).norm(dim=1)
    turned = RULES.turn_between(tasks.start, tasks.goal).abs().rad2deg()
    if kind == "near":
        assert apart.min() >= 6 and apart.max() <= 12 and turned.max() <= 20.01
    else:
        assert apart.min() >= 16 and turned.max() > 40
    assert not bool(RULES.reached(tasks.start, tasks.goal).any())
    few = RULES.tasks(kind, 3, 0)
    assert torch.equal(few.goal, tasks.goal[:3]) and torch.equal(few.image, tasks.image[:3])
    assert not torch.equal(RULES.tasks(kind, 3, 1).goal, few.goal)
    assert bool((RULES.gap(tasks.goal) < 6).all()), "the disc stands at the block"


def test_what_is_left_of_the_way_is_nothing_at_the_goal_and_falls_towards_it() -> None:
    tasks = RULES.tasks("far", 50, 0)
    way, index = RULES.way(tasks), torch.arange(50)
    assert way(tasks.goal, index).norm(dim=1).max() < 1e-4
    half = tasks.start.lerp(tasks.goal, 0.5)
    assert bool((way(half, index)[:, :2].norm(dim=1) < way(tasks.start, index)[:, :2].norm(dim=1)).all())
    behind = torch.cat([tasks.start[:, :4], tasks.start[:, :2] - (tasks.goal - tasks.start)[:, :2] * 0.6], 1)
    ahead = torch.cat([tasks.start[:, :4], tasks.start[:, :2] + (tasks.goal - tasks.start)[:, :2] * 0.6], 1)
    assert bool((way(behind, index).norm(dim=1) < way(ahead, index).norm(dim=1)).all())


def test_a_world_begins_where_its_task_says_and_true_dynamics_are_the_world() -> None:
    tasks, world = RULES.tasks("near", 8, 0), RULES.open(8)
    first = world.begin(tasks)
    assert torch.equal(first["state"], tasks.start)
    assert torch.equal(world.reset_to(tasks.goal)["image"], tasks.image)
    first = world.begin(tasks)
    actions = world.wander(numbered(8), 30)
    for dynamics in (world.dynamics(), world.toward(tasks)):
        check_dynamics(dynamics, first, actions[:, :3].flatten(1))
    state = world.dynamics().start(first)
    for macro in actions.split(3, 1):
        state = world.dynamics().step(state, macro.flatten(1))
        for t in range(3):
            observation = world.step(macro[:, t])[0]
        assert torch.allclose(world.dynamics().latent(state), observation["state"], atol=1e-4)


def test_wandering_pushes_the_block_often_and_turns_it() -> None:
    found = pushed(RULES, 100, 120, False)
    states = torch.stack([state for state, _ in found])
    moved = (states[1:, :, :2] != states[:-1, :, :2]).any(2).double()
    assert moved.mean() > 0.2
    turned = RULES.turn_between(states[0], states[-1]).abs().rad2deg()
    assert turned.mean() > 10
    assert (states[-1, :, :2] - states[0, :, :2]).norm(dim=1).mean() > 8


def test_bodies_are_drawn_where_the_state_says() -> None:
    state, layout = RULES.begin(numbered(20))
    image = draw(RULES, state, layout).double().numpy()
    at = np.arange(64) + 0.5
    greenish = (image[:, 1] - image[:, 0]).clip(0) > 50  # the block
    x, y = ((greenish.sum(axis) @ at) / greenish.sum((1, 2)) for axis in (1, 2))
    assert np.allclose(np.stack([x, y], 1), state[:, :2].numpy(), atol=0.5)
    orange = image[:, 0] > 200
    x, y = ((orange.sum(axis) @ at) / orange.sum((1, 2)) for axis in (1, 2))
    assert np.allclose(np.stack([x, y], 1), state[:, 4:].numpy(), atol=0.3)


def test_wrong_input_is_named() -> None:
    world = RULES.open(1)
    for wrong in (
        state_of((32, 32), 0, (30, 30)), state_of((10, 32), 0, (50, 50)), state_of((32, 32), 0, (1, 50)),
        torch.full((1, 6), math.nan), torch.tensor([[32.0, 32.0, 0.0, 0.0, 50.0, 50.0]]),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=r"worlds \[0\] are impossible"):
            world.reset_to(wrong)
    with pytest.raises(ConfigError, match="no task 'fr'"):
        world.tasks("fr", 1, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"substeps": 0}, "raise substeps"),
        ({"speed": 10.0}, "raise substeps"),
        ({"rim": 4.0}, "too narrow"),
        ({"side": 40.0}, "to move in"),
        ({"near": (9.0, 3.0)}, "near must rise"),
        ({"radius": 0.0}, "radius is 0.0"),
    ],
    ids=str,
)
def test_impossible_settings_are_named(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PushBlock(**options)
