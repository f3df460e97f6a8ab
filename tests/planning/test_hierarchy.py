"""Planning in two levels on known dynamics: Two Rooms, where a short search runs into the wall, and a pushed mass."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from armillary.contracts import Plan, check_dynamics
from armillary.envs.tasks import Tasks
from armillary.envs.two_rooms import TwoRooms, TwoRoomsDynamics
from armillary.errors import ConfigError, ShapeError
from armillary.planning.cem import CEM
from armillary.planning.control import Outcome, control
from armillary.planning.energies import goal_energy
from armillary.planning.gradient import Gradient
from armillary.planning.hierarchy import AIM, HighLevel, Thoughts, TwoLevels
from armillary.planning.icem import ICEM
from armillary.planning.mppi import MPPI
from armillary.planning.policies import Receding, Thought
from armillary.planning.rollout import limited
from armillary.planning.settings import Hierarchy
from armillary.planning.shooting import PredictiveSampling, RandomShooting

RULES = TwoRooms()  # the wall at x = 32, the door at y = 20: all goals below are behind the wall, far from the door
DYNAMICS = TwoRoomsDynamics(RULES)
START = torch.tensor([[20.0, 54.0], [16.0, 46.0], [44.0, 56.0], [24.0, 42.0]])
GOAL = torch.tensor([[44.0, 54.0], [46.0, 52.0], [18.0, 46.0], [42.0, 44.0]])
WALL = torch.tensor([[32.0, 20.0]]).expand(4, -1)
TASKS = Tasks(START, GOAL, RULES.render(GOAL, WALL), WALL)
LOW, HIGH = torch.full((2,), -RULES.speed), torch.full((2,), RULES.speed)
STRIDE = 6


@dataclass(frozen=True)
class Coarse:
    """The true rules at another time scale: a macro-action is an action that is held for STRIDE steps."""

    low: Tensor = LOW
    high: Tensor = HIGH
    stride: int = STRIDE
    reach: Tensor = torch.tensor(100.0)  # px^2

    def start(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return DYNAMICS.start(batch)

    def step(self, state: tuple[Tensor, ...], action: Tensor) -> tuple[Tensor, ...]:
        return DYNAMICS.step(state, action.repeat(1, self.stride))  # type: ignore[arg-type]

    def latent(self, state: tuple[Tensor, ...]) -> Tensor:
        return state[0]


COARSE = Coarse()
SEARCHES = Hierarchy(CEM(6, 200, 10, 5, keep_elites=4), CEM(STRIDE, 60, 8, 4, correlation=0.7), earlier_weight=0.03,
                     near=0.05)  # fmt: skip


def energy(context: dict[str, Tensor]):
    aim = context[AIM] if AIM in context else GOAL[context["index"]]
    return limited(goal_energy(DYNAMICS, DYNAMICS.start(context), aim, 0.1), RULES.speed)  # type: ignore[arg-type]


def below(planner=SEARCHES.low, **options) -> Receding:
    return Receding(planner, energy, LOW, HIGH, execute=3, **options)  # type: ignore[arg-type]


def levels(settings: Hierarchy = SEARCHES, **options) -> TwoLevels:
    return TwoLevels(settings, below(settings.low, **options), COARSE, COARSE.start, GOAL)


def run(policy, budget: int = 60) -> Outcome:
    env = RULES.open(4)
    return control(env, env.begin(TASKS), policy, lambda state: RULES.reached(state, GOAL), budget)


def context(position: Tensor = START) -> dict[str, Tensor]:
    return {"index": torch.arange(len(position)), "state": position, "wall": WALL[: len(position)]}


def thought(policy: TwoLevels, seen: dict[str, Tensor], step: int = 0, memory: object = None) -> Thoughts:
    return policy(seen, step, memory)[1]


@pytest.fixture(scope="module")
def reached() -> Outcome:
    return run(levels())


def test_two_levels_reach_goals_that_a_flat_search_does_not(reached):
    """The flat one sees as far as the low level, and then with the evaluations of both levels: it stops at the wall."""
    flat = run(below())
    assert bool(reached.reached.all()) and not bool(flat.reached.any())
    many = run(below(replace(SEARCHES.low, samples=400)))
    assert many.evaluations > reached.evaluations and not bool(many.reached.any())


def test_the_coarse_rules_are_a_high_level():
    assert isinstance(COARSE, HighLevel)
    check_dynamics(COARSE, context(), START * 0.01)


def test_sub_goal_is_the_first_predicted_latent():
    found = thought(levels(), context())
    at = START
    for _ in range(STRIDE):
        at = RULES.move(at, found.high.actions[:, 0], WALL)
    assert not bool(found.near.any())
    assert torch.allclose(found.aim, at, atol=1e-5)
    assert found.high.actions.shape == (4, 6, 2) and found.low.plan.actions.shape == (4, STRIDE, 2)
    end = context()["state"]  # the low level goes there, as far as it is judged by its own rules
    for action in found.low.plan.actions.unbind(1):
        end = RULES.move(end, action, WALL)
    assert float((end - found.aim).norm(dim=1).max()) < 2.0


def test_near_the_goal_the_low_level_plans_to_the_goal_itself():
    close = GOAL + torch.tensor([[0.0, -3.0], [4.0, 0.0], [0.0, 0.0], [-2.0, 2.0]])
    found = thought(levels(), context(close))
    assert bool(found.near.all()) and torch.equal(found.aim, GOAL)
    mixed = context(torch.cat([close[:2], START[2:]]))
    found = thought(levels(), mixed)
    assert found.near.tolist() == [True, True, False, False]
    assert torch.equal(found.aim[:2], GOAL[:2]) and not torch.equal(found.aim[2:], GOAL[2:])
    never = thought(levels(replace(SEARCHES, near=0.0)), context(close))
    assert not bool(never.near.any()) and not torch.equal(never.aim, GOAL)


def test_a_goal_behind_the_wall_is_not_near():
    """Near in the plane is not near on the way: what counts is where one step of the high level leads."""
    goal = torch.tensor([[36.0, 54.0], [36.0, 52.0], [28.0, 46.0], [36.0, 44.0]])
    policy = TwoLevels(SEARCHES, below(), COARSE, COARSE.start, goal)
    across, open_ = goal * torch.tensor([-1.0, 1.0]) + torch.tensor([64.0, 0.0]), goal + torch.tensor([0.0, -8.0])
    assert ((across - goal).square().sum(1) == 64).all() and ((open_ - goal).square().sum(1) == 64).all()
    assert not bool(thought(policy, context(across)).near.any())
    assert bool(thought(policy, context(open_)).near.all())


def test_evaluations_of_both_levels_are_counted(reached):
    seen = thought(levels(), context())
    ahead, near = (5 * 200 + 2) * 6 + 1, (5 * 200 + 2) * 1 + 1  # candidates, two means, and where the first step leads
    high, low = ahead + near, (4 * 60 + 2) * STRIDE
    assert seen.high_evaluations == 4 * high and seen.low.evaluations == 4 * low
    assert seen.evaluations == 4 * (high + low)
    assert thought(levels(replace(SEARCHES, near=0.0)), context()).high_evaluations == 4 * ahead
    again = thought(levels(), context(), 3, seen)
    assert again.evaluations == 2 * seen.evaluations
    assert reached.evaluations == 20 * seen.evaluations  # 60 steps, 3 a plan


def test_an_episode_does_not_depend_on_its_neighbors_or_on_chunks():
    first = levels()(context(), 0, None)
    pieces = levels(chunk=3)(context(), 0, None)
    assert torch.allclose(first[0], pieces[0], atol=1e-4)
    alone = {name: value[2:3] for name, value in context().items()}
    actions, found = levels()(alone, 0, None)
    assert torch.allclose(actions, first[0][2:3], atol=1e-4) and torch.allclose(found.aim, first[1].aim[2:3], atol=1e-4)  # type: ignore[attr-defined]
    assert not torch.allclose(levels(seed=1)(context(), 0, None)[0], first[0], atol=1e-3)
    later = levels()(context(), 3, None)[0]
    assert not torch.allclose(later, first[0], atol=1e-3)


class Starting(CEM):
    """A planner that remembers where its plans began."""

    def __call__(self, energy, low, high, random, start=None, **options) -> Plan:
        STARTS.append(start)
        return super().__call__(energy, low, high, random, start, **options)


STARTS: list[Tensor | None] = []


def test_the_high_plan_moves_on_when_one_of_its_steps_has_passed():
    STARTS.clear()
    settings = replace(SEARCHES, high=Starting(4, 20, 4, 1), near=0.0)
    policy, memory, plans = levels(settings), None, []
    for step in (0, 3, 6, 9, 12):
        memory = thought(policy, context(), step, memory)
        plans.append(memory.high)
    assert STARTS[0] is None
    for i, passed in enumerate((0, 1, 0, 1)):  # three raw steps a plan, STRIDE of them a high step
        assert torch.equal(STARTS[i + 1], plans[i].shifted(passed))  # type: ignore[arg-type]
    assert isinstance(memory, Thoughts) and isinstance(memory.low, Thought) and memory.step == 12


@pytest.mark.parametrize("planner", [
    MPPI(6, 200, 5, 50.0), ICEM(6, 200, 10, 5), RandomShooting(6, 1000), PredictiveSampling(6, 200, 5, 0.3),
    Gradient(6, steps=15, rate=0.1, restarts=2),
], ids=lambda p: type(p).__name__)  # fmt: skip
def test_any_planner_can_be_the_high_one(planner):
    found = thought(levels(replace(SEARCHES, high=planner)), context())
    assert bool(found.aim.isfinite().all()) and bool((found.high.actions.abs() <= RULES.speed + 1e-5).all())
    stay = goal_energy(COARSE, COARSE.start(context()), GOAL, 0.03)(torch.zeros(4, 1, 6, 2))[:, 0]
    assert bool((found.high.energy < stay).all())


def test_costs_of_macro_actions_shorten_them():
    plain = thought(levels(), context()).high.actions.norm(dim=-1).mean()
    costly = thought(levels(replace(SEARCHES, macro_cost=100.0)), context()).high.actions.norm(dim=-1).mean()
    assert costly < 0.5 * plain


@dataclass(frozen=True)
class Mass:
    """A mass that is pushed for `stride` steps with one force: latents are (position, velocity), [B, 2]."""

    stride: int = 1
    low: Tensor = torch.tensor([-1.0])
    high: Tensor = torch.tensor([1.0])
    reach: Tensor = torch.tensor(25.0)

    def start(self, batch: dict[str, Tensor]) -> tuple[Tensor]:
        return (batch["state"],)

    def step(self, state: tuple[Tensor], action: Tensor) -> tuple[Tensor]:
        x, v = state[0].unbind(1)
        for _ in range(self.stride):
            v = v + action[:, 0]
            x = x + v
        return (torch.stack([x, v], 1),)

    def latent(self, state: tuple[Tensor]) -> Tensor:
        return state[0]


def test_a_mass_is_brought_to_rest_far_beyond_the_low_horizon_and_stays():
    goal, low, coarse = torch.tensor([[60.0, 0.0], [-45.0, 0.0]]), Mass(), Mass(stride=4)

    def near(seen: dict[str, Tensor]):
        return goal_energy(low, low.start(seen), seen[AIM], 0.0)

    settings = Hierarchy(CEM(5, 100, 10, 6), CEM(4, 60, 6, 5), earlier_weight=0.1, near=0.16)
    policy = TwoLevels(settings, Receding(settings.low, near, low.low, low.high, execute=2), coarse, coarse.start, goal)
    seen, memory = {"index": torch.arange(2), "state": torch.zeros(2, 2)}, None
    for step in range(0, 40, 2):
        actions, memory = policy(seen, step, memory)
        if step == 0:  # n steps of one force a from rest: v = n a, x = a n (n + 1) / 2
            force = memory.high.actions[:, 0, 0].double()
            assert torch.allclose(memory.aim.double(), torch.stack([10 * force, 4 * force], 1), atol=1e-5)
        for action in actions.unbind(1):
            seen = {**seen, "state": low.step(low.start(seen), action)[0]}
        if step >= 26:
            assert float((seen["state"] - goal).norm(dim=1).max()) < 1.5


def test_what_does_not_fit_is_named():
    with pytest.raises(ConfigError, match="near is -1"):
        Hierarchy(near=-1.0)
    with pytest.raises(ConfigError, match="bound is 0"):
        Hierarchy(bound=0.0)
    with pytest.raises(ConfigError, match="macro_cost is nan"):
        Hierarchy(macro_cost=float("nan"))
    with pytest.raises(ShapeError, match=r"goals \(4, 3\)"):
        replace(levels(), goal=torch.zeros(4, 3))(context(), 0, None)
    short = replace(SEARCHES, low=CEM(2, 20, 4, 1), high=CEM(2, 20, 4, 1))
    with pytest.raises(ConfigError, match="execute asks for 3"):
        levels(short)(context(), 0, None)
