"""A distilled policy does what its planner does; labels are the planner's, at contexts that the policy visited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from armillary.envs.tasks import Tasks
from armillary.envs.two_rooms import TwoRooms, TwoRoomsDynamics
from armillary.errors import CheckpointError, DataError, ShapeError
from armillary.planning.cem import CEM
from armillary.planning.cloning import Cloned, Cloning, Network, begun
from armillary.planning.control import Outcome, control
from armillary.planning.distilling import Imagined, Labels, Lesson, Proposed, Scale, distilled, load, save
from armillary.planning.energies import goal_energy
from armillary.planning.icem import ICEM
from armillary.planning.mppi import MPPI
from armillary.planning.policies import Policy, Receding, Thought
from armillary.planning.rollout import held, limited
from armillary.randomness import numbered

RULES = TwoRooms()
DYNAMICS = TwoRoomsDynamics(RULES)  # its latent is the position, so a context's latent is its state
LOW, HIGH = torch.full((2,), -RULES.speed), torch.full((2,), RULES.speed)
SCALE = Scale(LOW, HIGH, 3, RULES.speed)
TRUE = Imagined(DYNAMICS, lambda c: c["state"], lambda c: c, lambda a: a.flatten(1))
SMALL = Cloning(hidden=64, steps=600, batch=128)


def planner(tasks: Tasks, **options: object) -> Receding:
    def energy(context: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        goal = tasks.goal[context["index"]]
        return limited(held(goal_energy(DYNAMICS, DYNAMICS.start(context), goal, 0.1), 3), RULES.speed)

    return replace(Receding(CEM(5, 48, 6, 3, correlation=0.7), energy, LOW, HIGH, 2, 3), **options)  # type: ignore[arg-type]


def see(context: dict[str, Tensor]) -> Tensor:
    return context["state"]


def student(network: Callable[[Tensor, Tensor], Tensor], tasks: Tasks) -> Cloned:
    return Cloned(network, see, tasks.goal, SCALE.raw, LOW, HIGH)


def untaught(seed: int = 0) -> Network:
    return begun(torch.eye(2) * 64, torch.eye(2) * 64, 2, 8, seed)


def acted(tasks: Tasks, policy: Policy, budget: int = 36) -> Outcome:
    env = RULES.open(len(tasks))
    return control(env, env.begin(tasks), policy, lambda state: RULES.reached(state, tasks.goal), budget, 3)


def lesson(tasks: Tasks, learner: Policy | None = None, share: float = 0.0, **options: object) -> Lesson:
    return Lesson(planner(tasks, **options), see, tasks.goal, SCALE, learner, share)


def test_the_distilled_policy_reaches_what_its_planner_reaches() -> None:
    labels, network = list[Labels](), untaught()
    for i in range(2):
        tasks = RULES.tasks("same_room", 60, 100 + i)
        taught = lesson(tasks, student(network, tasks) if i else None)
        acted(tasks, taught)
        labels += taught.labels
        network = distilled(Labels.joined(labels), SMALL)
    fresh = RULES.tasks("same_room", 60, 5)
    planned, own = acted(fresh, planner(fresh)), acted(fresh, student(network, fresh))
    other = acted(fresh, student(untaught(), fresh))
    assert float(planned.reached.double().mean()) > 0.95
    assert float(own.reached.double().mean()) >= 0.9 > float(other.reached.double().mean()) + 0.3
    assert own.evaluations == 0 < planned.evaluations and own.seconds < planned.seconds


def test_labels_are_the_planners_at_what_the_policy_visited() -> None:
    tasks = RULES.tasks("same_room", 5, 3)
    learner = student(untaught(), tasks)
    taught = lesson(tasks, learner)
    outcome = acted(tasks, taught, 18)
    assert torch.equal(outcome.states, acted(tasks, learner, 18).states)  # the policy alone acted
    seen, thought = torch.cat([part.seen for part in taught.labels]), None
    assert torch.equal(seen, torch.cat([outcome.states[:, t] for t in (0, 6, 12)]))
    assert torch.equal(torch.cat([part.goal for part in taught.labels]), tasks.goal.repeat(3, 1))
    said = torch.cat([part.action for part in taught.labels]).split(5)
    wall, index = RULES.walls(numbered(5)), torch.arange(5)
    for step, action in zip((0, 6, 12), said, strict=True):
        context = {"state": outcome.states[:, step], "wall": wall, "index": index}
        _, thought = planner(tasks)(context, step, thought)
        first = thought.plan.actions[:, 0]
        short = first * (RULES.speed / first.norm(dim=1, keepdim=True)).clamp_max(1.0)
        assert torch.allclose(action * RULES.speed, short, atol=1e-5)
    assert thought is not None and outcome.evaluations == thought.evaluations


def test_where_the_planner_acts_each_step_of_its_plan_is_a_label() -> None:
    tasks = RULES.tasks("same_room", 4, 3)
    alone = acted(tasks, planner(tasks), 18)
    for taught in (lesson(tasks), lesson(tasks, student(untaught(), tasks), 1.0)):
        outcome = acted(tasks, taught, 18)
        assert torch.equal(outcome.states, alone.states) and outcome.evaluations == alone.evaluations
        seen = torch.cat([part.seen for part in taught.labels])
        assert torch.equal(seen, torch.cat([outcome.states[:, t] for t in range(0, 18, 3)]))
        made = torch.cat([part.action for part in taught.labels[:-1]]) * RULES.speed
        for at, action in zip(seen, made, strict=False):  # what was said is what was done
            there = next(i for i in range(4) if bool((outcome.states[i] == at).all(1).any()))
            t = int((outcome.states[there] == at).all(1).int().argmax())
            moved = outcome.states[there, t + 1] - outcome.states[there, t]
            free = moved.abs() > 0  # not along a wall that stopped the dot
            assert torch.allclose(moved[free], action[free], atol=1e-4)


@pytest.mark.parametrize("learner", [None, untaught()])
def test_the_rest_of_a_plan_is_labels_at_what_the_model_predicts(learner: Network | None) -> None:
    tasks = RULES.tasks("other_room", 4, 3)
    acts = None if learner is None else student(learner, tasks)
    taught = replace(lesson(tasks, acts, execute=5), imagined=TRUE, labels=[])
    acted(tasks, taught, 15)
    first = taught.labels[0]
    env = RULES.open(4)
    env.begin(tasks)
    said = first.action.unflatten(0, (4, 5))
    for t in range(5):  # with true dynamics, what is predicted is where the plan's actions lead
        assert torch.allclose(first.seen.unflatten(0, (4, 5))[:, t], env.position, atol=1e-4)
        for _ in range(3):
            env.step(said[:, t] * RULES.speed)
    assert torch.equal(first.goal, tasks.goal.repeat_interleave(5, 0))
    assert [len(part.seen) for part in taught.labels] == [20, *([4] * 4 if learner is None else [0] * 4)]


def test_a_mixture_is_drawn_for_each_stretch_and_depends_on_no_other_episode() -> None:
    tasks = RULES.tasks("same_room", 12, 3)
    learner = student(untaught(), tasks)
    taught = lesson(tasks, learner, 0.5)
    outcome, again = acted(tasks, taught, 18), acted(tasks, lesson(tasks, learner, 0.5, chunk=5), 18)
    assert torch.allclose(outcome.states, again.states, atol=1e-3)
    planned, own = acted(tasks, planner(tasks), 18), acted(tasks, learner, 18)
    as_planned = [(outcome.states[:, :7] == x.states[:, :7]).flatten(1).all(1) for x in (planned, own)]
    assert bool((as_planned[0] ^ as_planned[1]).all()) and 0 < int(as_planned[0].sum()) < 12
    kept = [len(part.seen) for part in taught.labels]
    assert kept[::2] == [12, 12, 12] and kept[1] == int(as_planned[0].sum())


def test_a_plan_that_found_nothing_is_no_label() -> None:
    tasks = RULES.tasks("same_room", 3, 3)
    nowhere = replace(planner(tasks), energy=lambda _: lambda plans: torch.full(plans.shape[:2], torch.nan))
    taught = Lesson(nowhere, see, tasks.goal, SCALE, imagined=TRUE)
    acted(tasks, taught, 6)
    assert [len(part.seen) for part in taught.labels] == [0, 0]
    with pytest.raises(DataError, match="0 labels"):
        distilled(Labels.joined(taught.labels))


def test_a_fit_is_a_function_of_labels_and_seed() -> None:
    random = numbered(40)
    labels = Labels(random.normal("seen", 3), random.normal("goal", 2), random.uniform("action", 2))
    few, state = Cloning(hidden=8, steps=5, batch=16), torch.random.get_rng_state()
    first, again, other = (distilled(labels, few, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    x = labels.seen, labels.goal
    assert torch.equal(first(*x), again(*x)) and not torch.equal(first(*x), other(*x))
    assert not any(p.requires_grad for p in first.parameters())


def test_it_learns_a_map_of_both_what_is_seen_and_the_goal() -> None:
    random = numbered(2000)
    seen, goal = random.normal("seen", 2), 5 + 3 * random.normal("goal", 2)
    network = distilled(Labels(seen, goal, (goal - 5) / 3 - seen), SMALL)
    new = numbered(200, 1)
    seen, goal = new.normal("seen", 2), 5 + 3 * new.normal("goal", 2)
    error = (network(seen, goal) - ((goal - 5) / 3 - seen)).square().mean()
    assert float(error) < 0.05 * float(((goal - 5) / 3 - seen).square().mean())


def test_actions_stay_inside_bounds_and_length_whatever_the_network_says() -> None:
    scale = Scale(torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 4.0]), 2, 3.0)
    given = 1e6 * numbered(50).normal("given", 2)
    raw = scale.raw(given)
    assert raw.shape == (50, 2, 2) and bool((raw >= scale.low).all() & (raw <= scale.high).all())
    assert float(raw.norm(dim=2).max()) <= 3.0 + 1e-5
    short = torch.tensor([[0.5, 1.0], [-0.25, 2.5]])
    assert torch.allclose(scale.raw(scale.label(short))[:, 1], short)
    assert torch.allclose(scale.label(torch.tensor([[0.0, 4.0]])), scale.label(torch.tensor([[0.0, 3.0]])))
    free = replace(scale, longest=float("inf"))
    assert free.label(torch.tensor([[-1.0, 4.0]])).tolist() == [[-1.0, 1.0]]


def proposal(tasks: Tasks, network: Callable[[Tensor, Tensor], Tensor], horizon: int = 5) -> Proposed:
    return Proposed(student(network, tasks), TRUE, horizon)


def at_start(tasks: Tasks) -> dict[str, Tensor]:
    return {**RULES.open(len(tasks)).begin(tasks), "index": torch.arange(len(tasks))}


def test_with_true_dynamics_the_proposed_plan_is_what_the_policy_then_does() -> None:
    tasks = RULES.tasks("other_room", 6, 3)
    learner = untaught(2)
    plan = proposal(tasks, learner)(at_start(tasks), 0)
    assert plan.shape == (6, 1, 5, 2)
    states = acted(tasks, student(learner, tasks), 15).states
    assert torch.allclose(learned_actions(learner, states[:, 0:15:3], tasks), plan[:, 0], atol=1e-5)
    part = {name: value[3:5] for name, value in at_start(tasks).items()}  # a chunk of the episodes
    assert torch.allclose(proposal(tasks, learner)(part, 0), plan[3:5], atol=1e-5)


def learned_actions(network: Network, states: Tensor, tasks: Tasks) -> Tensor:
    """What the network says at each of the states that were really visited."""
    said = network(states.flatten(0, 1), tasks.goal.repeat_interleave(states.shape[1], 0))
    return SCALE.raw(said)[:, 0].clamp(LOW, HIGH).unflatten(0, states.shape[:2])


def test_the_policy_sees_as_much_history_on_predictions_as_on_frames() -> None:
    tasks = RULES.tasks("same_room", 3, 3)
    looked: list[Tensor] = []

    def network(seen: Tensor, goal: Tensor) -> Tensor:
        looked.append(seen)
        return torch.ones(len(seen), 2)

    twice = replace(TRUE, read=lambda c: torch.cat([c["state"] - 1, c["state"]], 1))
    Proposed(student(network, tasks), twice, 3)(at_start(tasks), 0)
    assert [x.shape for x in looked] == [(3, 4)] * 3
    assert torch.equal(looked[1][:, :2], looked[0][:, 2:]) and torch.equal(looked[2][:, :2], looked[1][:, 2:])


@pytest.mark.parametrize("search", [CEM(5, 4, 2, 1), MPPI(5, 4, 1), ICEM(5, 4, 2, 1, keep_elites=1)])
def test_a_seeded_plan_is_never_worse_than_the_policys(search: CEM | MPPI | ICEM) -> None:
    tasks = RULES.tasks("same_room", 8, 3)
    toward = lambda seen, goal: (goal - seen) / 10  # noqa: E731 (a policy that is good here)
    offered = proposal(tasks, toward)
    plain = planner(tasks, planner=search)
    _, thought = replace(plain, proposals=offered)(at_start(tasks), 0, None)
    _, without = plain(at_start(tasks), 0, None)
    own = plain.energy(at_start(tasks))(offered(at_start(tasks), 0))[:, 0]
    assert isinstance(thought, Thought) and bool((thought.plan.energy <= own + 1e-4).all())
    assert float(thought.plan.energy.mean()) < float(without.plan.energy.mean())


def test_the_file_gives_back_the_same_policy_and_what_was_told(tmp_path: Path) -> None:
    network, path = untaught(), tmp_path / "policy.safetensors"
    save(path, network, {"step": 7, "rounds": [{"acts": "planner"}]})
    found, told = load(path)
    x = numbered(9).normal("x", 2)
    assert torch.equal(found(x, x), network(x, x)) and told == {"step": 7, "rounds": [{"acts": "planner"}]}
    before = path.read_bytes()
    save(path, network, {"step": 7, "rounds": [{"acts": "planner"}]})
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_damaged_file_is_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    with pytest.raises(CheckpointError, match=r"no policy was distilled.*armillary distill"):
        load(path)
    save(path, untaught(), {"step": 1})
    whole = path.read_bytes()
    one_bit = whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]
    other_step = whole.replace(b'\\"step\\": 1', b'\\"step\\": 2')
    assert other_step != whole
    for bad in (whole[:-40], whole[:5], b"", one_bit, other_step, b"{}" * 40):
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"damaged or holds no policy.*armillary distill"):
            load(path)


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    save(path, untaught(), {"step": 1})
    with pytest.raises(ValueError, match="JSON"):
        save(path, untaught(1), {"step": float("nan")})
    assert load(path)[1] == {"step": 1} and len(list(tmp_path.iterdir())) == 1


def test_wrong_labels_are_named() -> None:
    x = torch.zeros(4, 2)
    with pytest.raises(ShapeError, match=r"\[4, 3, 4\] rows"):
        distilled(Labels(x, x[:3], x))
    with pytest.raises(DataError, match="all of them finite"):
        distilled(Labels(x, x, x / 0))
    with pytest.raises(DataError, match="no labels"):
        Labels.joined([])
