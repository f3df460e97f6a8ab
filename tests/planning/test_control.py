from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from armillary.envs.two_rooms import TwoRooms, TwoRoomsDynamics
from armillary.errors import ConfigError, ShapeError
from armillary.planning.cem import CEM
from armillary.planning.control import Outcome, Receding, Scripted, control
from armillary.planning.energies import goal_energy
from armillary.planning.rollout import held, limited
from armillary.randomness import numbered

RULES = TwoRooms()
DYNAMICS = TwoRoomsDynamics(RULES)
TASKS = RULES.tasks("same_room", 6, 3)


def energy(context: dict[str, Tensor]):
    goal = TASKS.goal[context["index"]]
    return limited(held(goal_energy(DYNAMICS, DYNAMICS.start(context), goal, 1.0), 3), RULES.speed)


def planner_policy(**options: int) -> Receding:
    low, high = torch.full((2,), -RULES.speed), torch.full((2,), RULES.speed)
    return replace(Receding(CEM(6, 60, 8, 3, correlation=0.9), energy, low, high, frame_skip=3), **options)


def reached(state: Tensor) -> Tensor:
    return RULES.reached(state, TASKS.goal)


def run(policy, budget: int = 45, **options) -> Outcome:
    env = RULES.open(6)
    return control(env, env.begin(TASKS), policy, reached, budget, **{"frame_skip": 3, **options})


def test_planning_with_true_dynamics_reaches_goals_and_stays() -> None:
    outcome = run(planner_policy())
    assert bool(outcome.reached.all()) and bool(outcome.at_end.all())
    assert outcome.plans == 6 * 8  # 15 macro-steps, two of them for each plan
    row = outcome.row()
    assert row["success"] == row["at_end"] == 1.0 and row["goals"] == 6 and row["seconds_per_plan"] > 0
    assert row["interval"][0] < 1 and row["interval"][1] == 1.0


def test_the_same_seed_gives_the_same_episodes_and_chunks_do_not_matter() -> None:
    first, again, other = run(planner_policy()), run(planner_policy(chunk=2)), run(planner_policy(seed=1))
    assert torch.allclose(first.states, again.states, atol=1e-3)
    assert not torch.allclose(first.states, other.states, atol=1e-3)


def test_passing_the_goal_is_success_at_some_step_but_not_at_the_end() -> None:
    way = TASKS.goal - TASKS.start
    far = way.norm(dim=1, keepdim=True)
    steps = (far / 2).ceil().long()[:, 0]
    there = way / steps[:, None]
    script = torch.zeros(6, 60, 2)
    for i in range(6):
        script[i, : steps[i]] = there[i]
        script[i, steps[i] : 2 * steps[i]] = -there[i]  # and back
    outcome = run(Scripted(script), 60)
    assert bool(outcome.reached.all())
    assert torch.equal(outcome.at_end, far[:, 0] <= RULES.tolerance)
    for i in range(6):
        passed = (outcome.states[i] - TASKS.goal[i]).norm(dim=1) <= RULES.tolerance
        assert outcome.first[i] == passed[1:].int().argmax() + 1


def test_the_start_does_not_count_as_a_step() -> None:
    env = RULES.open(6)
    away = torch.where(TASKS.goal < 32, RULES.speed, -RULES.speed)[:, None].repeat(1, 9, 1)
    outcome = control(env, env.reset_to(TASKS.goal), Scripted(10 * away), reached, 9, frame_skip=3)
    assert bool(outcome.at_start.all()) and not bool(outcome.at_end.any())
    outcome = control(env, env.reset_to(TASKS.goal), Scripted(0 * away), lambda s: s[:, 0] > 1e3, 9)
    assert not bool(outcome.reached.any()) and bool((outcome.first == -1).all())


def test_film_holds_what_the_chosen_worlds_looked_like() -> None:
    outcome = run(Scripted(torch.ones(6, 10, 2)), 10, film=(4, 1))
    assert outcome.states.shape == (6, 11, 2) and outcome.frames.shape == (2, 11, 64, 64, 3)
    for row, world in enumerate((4, 1)):
        drawn = RULES.render(outcome.states[world], TASKS.layout[:1])
        assert torch.equal(outcome.frames[row], drawn.movedim(1, -1))
    arrays = outcome.film(TASKS.image, TASKS.goal)
    shapes = {name: value.shape for name, value in arrays.items()}
    assert shapes == {
        "frames": (2, 11, 64, 64, 3),
        "goal": (2, 64, 64, 3),
        "first": (2,),
        "positions": (2, 11, 2),
        "goals": (2, 2),
        "success": (2,),
    }
    assert arrays["frames"].dtype == "uint8" and (arrays["goals"] == TASKS.goal[[4, 1]].numpy()).all()


def test_a_context_has_one_frame_per_macro_step_and_the_actions_between() -> None:
    script = numbered(6).uniform("script", 18, 2)
    seen: list[dict[str, Tensor]] = []

    def policy(context: dict[str, Tensor], step: int, memory: object):
        seen.append(context)
        return script[:, step : step + 6], None  # two macro-steps at a time

    outcome = run(policy, 18, history=3, film=range(6))
    assert [c["image"].shape[1] for c in seen] == [1, 3, 3]
    assert [tuple(c["action"].shape) for c in seen] == [(6, 0, 6), (6, 2, 6), (6, 2, 6)]
    last = seen[-1]  # before raw step 12: frames 6, 9 and 12
    assert torch.equal(last["image"].movedim(2, -1), outcome.frames[:, [6, 9, 12]])
    assert torch.equal(last["action"], torch.stack([script[:, 6:9].flatten(1), script[:, 9:12].flatten(1)], 1))
    assert torch.equal(last["state"], outcome.states[:, 12]) and torch.equal(last["index"], torch.arange(6))


def test_a_budget_ends_inside_a_macro_step() -> None:
    outcome = run(planner_policy(), 7)
    assert outcome.states.shape[1] == 8


def test_wrong_input_is_named() -> None:
    still = torch.zeros(6, 9, 2)
    with pytest.raises(ConfigError, match="budget 0"):
        run(Scripted(still), 0)
    with pytest.raises(ConfigError, match=r"\[7\] cannot be filmed; there are 0 to 5"):
        run(Scripted(still), 9, film=(7,))
    with pytest.raises(ConfigError, match="script has 9 actions, step 9"):
        run(Scripted(still), 12)
    with pytest.raises(ShapeError, match=r"\(6, 4, 2\).*multiple of the frame skip 3"):
        run(lambda context, step, memory: (still[:, :4], None), 9)
    with pytest.raises(ShapeError, match=r"\(5, 9, 2\)"):
        run(Scripted(still[:5]), 9)
    with pytest.raises(ConfigError, match="execute asks for 7"):
        run(planner_policy(execute=7))
    with pytest.raises(ConfigError, match="chunk 0"):
        planner_policy(chunk=0)
    env = RULES.open(6)
    blind = {name: value for name, value in env.begin(TASKS).items() if name != "state"}
    with pytest.raises(ConfigError, match="judged on `state`"):
        control(env, blind, Scripted(still), reached, 9)
