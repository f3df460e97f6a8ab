from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from armillary.envs.two_rooms import TwoRooms, TwoRoomsDynamics, TwoRoomsWorld
from armillary.errors import ConfigError, ShapeError
from armillary.planning.cem import CEM
from armillary.planning.control import Outcome, Receding, Scripted, control
from armillary.planning.energies import goal_energy
from armillary.planning.policies import Thought
from armillary.planning.rollout import held, limited
from armillary.planning.shooting import RandomShooting
from armillary.randomness import numbered

RULES = TwoRooms()
DYNAMICS = TwoRoomsDynamics(RULES)
TASKS = RULES.tasks("same_room", 6, 3)


def energy(context: dict[str, Tensor]):
    goal = TASKS.goal[context["index"]]
    return limited(held(goal_energy(DYNAMICS, DYNAMICS.start(context), goal, 1.0), 3), RULES.speed)


def planner_policy(**options: object) -> Receding:
    low, high = torch.full((2,), -RULES.speed), torch.full((2,), RULES.speed)
    return replace(Receding(CEM(6, 60, 8, 3, correlation=0.9), energy, low, high, frame_skip=3), **options)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("execute", [1, 2])
def test_history_holds_executed_actions_and_never_planned_ones(execute: int) -> None:
    """What was planned beyond them differs from what came; some released planners feed it as history."""
    seen: list[dict[str, Tensor]] = []
    planned: list[Tensor] = []
    policy = planner_policy(execute=execute)

    def watched(context: dict[str, Tensor], step: int, memory: object):
        seen.append(context)
        actions, memory = policy(context, step, memory)
        assert isinstance(memory, Thought)
        planned.append(memory.plan.actions)
        return actions, memory

    outcome = run(watched, 18, history=3, film=range(6))
    done = torch.cat([plan[:, :execute] for plan in planned], 1).repeat(1, 1, 3)  # held over three raw steps
    for i, context in enumerate(seen):
        at = i * execute
        first = max(0, at - 2)
        assert torch.equal(context["action"], done[:, first:at])
        assert torch.equal(context["image"].movedim(2, -1), outcome.frames[:, [3 * t for t in range(first, at + 1)]])
    beyond = torch.stack([plan[:, execute] for plan in planned[:-1]], 1)
    assert not torch.allclose(beyond, torch.stack([plan[:, 0] for plan in planned[1:]], 1), atol=1e-3)


def test_actions_are_in_the_bounds_of_the_world_in_its_units() -> None:
    low, high = torch.tensor([-0.5, -1.0]), torch.tensor([0.25, 2.0])
    taken: list[Tensor] = []
    policy = planner_policy(low=low, high=high)

    def watched(context: dict[str, Tensor], step: int, memory: object):
        actions, memory = policy(context, step, memory)
        taken.append(actions)
        return actions, memory

    run(watched)
    every = torch.cat(taken, 1)
    assert bool(((every >= low) & (every <= high)).all()) and float(every[..., 1].max()) > 1.5


def test_evaluations_count_the_steps_of_all_candidates() -> None:
    outcome = run(planner_policy(chunk=4))
    assert outcome.evaluations == 6 * 8 * (3 * 60 + 2) * 6  # episodes, plans, candidates, steps
    row = outcome.row()
    assert row["evaluations_per_action"] == outcome.evaluations / (6 * 45)
    assert row["seconds_per_action"] == pytest.approx(outcome.seconds / (6 * 45))
    assert run(Scripted(torch.zeros(6, 45, 2))).row()["evaluations_per_action"] == 0


def test_steps_to_success_are_those_of_goals_that_were_met() -> None:
    row = run(planner_policy()).row()
    first = run(planner_policy()).first
    assert row["steps_to_success"] == float(first.double().median())
    low, high = row["steps_to_success_half"]  # type: ignore[misc]
    assert 1 <= low <= row["steps_to_success"] <= high <= 45
    assert "steps_to_success" not in run(Scripted(torch.zeros(6, 3, 2)), 3, frame_skip=1).row() or first.min() == 1


def test_proposals_of_a_policy_compete_and_projections_hold() -> None:
    way = TASKS.goal - TASKS.start
    straight = (way / way.norm(dim=1, keepdim=True) * RULES.speed)[:, None, None].expand(-1, 1, 6, -1)
    asked: list[int] = []

    def proposals(context: dict[str, Tensor], step: int) -> Tensor:
        asked.append(step)
        return straight[context["index"]]

    blind = replace(planner_policy(), planner=CEM(6, 2, 1, 1, std=1e-6))  # searches nothing beside the proposals
    assert int(run(blind).reached.sum()) <= 2
    assert int(run(replace(blind, proposals=proposals)).reached.sum()) >= 5
    assert asked == list(range(0, 45, 6))
    still = run(planner_policy(project=lambda plans: 0 * plans))
    assert torch.equal(still.states, TASKS.start[:, None].expand(-1, 46, -1))
    with pytest.raises(ConfigError, match="RandomShooting takes no proposals; CEM takes both"):
        replace(planner_policy(), planner=RandomShooting(), proposals=proposals)


class Tensors(TwoRoomsWorld):
    """All worlds in one tensor: world 2 becomes NaN at its third step, all of them throw at their sixth."""

    steps = 0

    def step(self, action: Tensor):  # type: ignore[override]
        self.steps += 1
        if self.steps == 6:
            raise RuntimeError("out of memory")
        seen, *rest = super().step(action)
        if self.steps >= 3:
            seen["state"] = seen["state"].clone()
            seen["state"][2] = torch.nan
        return seen, *rest


def test_a_state_that_is_not_finite_fails_one_episode_and_an_exception_all_that_share_the_tensor() -> None:
    always = lambda state: torch.ones(len(state), dtype=torch.bool)  # noqa: E731
    script, sound = Scripted(torch.full((6, 5, 2), 0.3)), RULES.open(6)
    env = Tensors(RULES, 6)
    outcome = control(env, env.begin(TASKS), script, always, 5, film=(2,))
    other = control(sound, sound.begin(TASKS), script, always, 5, film=(2,))
    assert outcome.failures == {2: "its state is NaN or infinite"}
    assert outcome.reached.tolist() == [i != 2 for i in range(6)]
    alive = [0, 1, 3, 4, 5]
    assert torch.equal(outcome.states[alive], other.states[alive]) and bool(outcome.states.isfinite().all())
    assert torch.equal(outcome.frames[0, 3:], outcome.frames[0, 2].expand(3, -1, -1, -1))
    env = Tensors(RULES, 6)
    outcome = control(env, env.begin(TASKS), Scripted(torch.full((6, 9, 2), 0.3)), always, 9)
    assert len(outcome.failures) == 6 and outcome.failures[0] == "RuntimeError: out of memory"
    assert outcome.states.shape[1] == 10 and not bool(outcome.reached.any())


class Felt(TwoRoomsWorld):
    """Worlds that also tell their proprioception."""

    def _observe(self) -> dict[str, Tensor]:
        return {**super()._observe(), "proprio": 2 * self.position}


def test_proprioception_is_stacked_like_images() -> None:
    seen = []

    def policy(context: dict[str, Tensor], step: int, memory: object):
        seen.append(context["proprio"])
        return torch.ones(6, 1, 2), None

    env = Felt(RULES, 6)
    outcome = control(env, env.begin(TASKS), policy, reached, 3, history=2)
    assert [x.shape[1] for x in seen] == [1, 2, 2]
    assert torch.equal(seen[2], 2 * outcome.states[:, 1:3])


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
    with pytest.raises(ConfigError, match=r"NaN or infinite actions for episodes \[4\]"):
        bad = still.clone()
        bad[4, 1] = torch.nan
        run(Scripted(bad), 9)
    env = RULES.open(6)
    blind = {name: value for name, value in env.begin(TASKS).items() if name != "state"}
    with pytest.raises(ConfigError, match="judged on `state`"):
        control(env, blind, Scripted(still), reached, 9)
