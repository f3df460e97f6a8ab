from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from armillary.commands import worlds
from armillary.envs import batched
from armillary.envs.batched import draw, redrawn, shortened
from armillary.envs.bouncing_balls import BouncingBalls
from armillary.envs.point_maze import PointMaze
from armillary.envs.push_block import PushBlock
from armillary.envs.tasks import World
from armillary.errors import ConfigError
from armillary.planning.cem import CEM
from armillary.planning.control import Scripted, control
from armillary.planning.settings import Planning
from armillary.randomness import numbered
from armillary.recipes import run as runs
from armillary.recipes.two_rooms import lewm_two_rooms

ALL = pytest.mark.parametrize(
    "rules", [PointMaze(), PushBlock(), BouncingBalls(force=0.2)], ids=lambda r: type(r).__name__
)
PLANNED = [(PointMaze(), "far", 60), (PointMaze(layouts="generated"), "unseen_far", 60), (PushBlock(), "near", 36)]


@ALL
def test_a_world_depends_on_seed_and_number_alone_and_rows_do_not_mix(rules) -> None:
    few, many = rules.open(2), rules.open(150)
    first = few.reset(4), many.reset(4)
    assert torch.equal(first[0]["image"], first[1]["image"][:2])
    actions = many.wander(numbered(150, 1), 12)
    assert torch.allclose(few.wander(numbered(2, 1), 12), actions[:2], atol=1e-4)
    for action in actions.unbind(1):
        one, all_ = few.step(action[:2])[0], many.step(action)[0]
    assert torch.allclose(one["state"], all_["state"][:2], atol=1e-3)
    assert torch.equal(all_["image"][140:], draw(rules, all_["state"][140:], all_["layout"][140:]))


@ALL
def test_what_was_observed_is_not_changed_by_later_steps(rules) -> None:
    world = rules.open(4)
    first = world.reset(0)
    kept = {name: value.clone() for name, value in first.items()}
    for action in world.wander(numbered(4), 5).unbind(1):
        world.step(action)
    assert all(torch.equal(value, kept[name]) for name, value in first.items())


@ALL
def test_long_actions_are_shortened(rules) -> None:
    one, other = rules.open(3), rules.open(3)
    one.reset(0), other.reset(0)
    action = torch.tensor([[3.0, 4.0], [-30.0, 40.0], [0.0, 5.0]])
    short = action / action.norm(dim=1, keepdim=True) * rules.longest
    assert torch.allclose(one.step(action)[0]["state"], other.step(short)[0]["state"], atol=1e-5)
    assert torch.equal(shortened(short * 0.5, rules.longest), short * 0.5)


@ALL
def test_episodes_are_collected_as_in_two_rooms_and_settings_go_through_run_json(rules, tmp_path) -> None:
    base = lewm_two_rooms()
    run = replace(base, world=rules, data=replace(base.data, path=str(tmp_path / "episodes"), window=3))
    worlds.collect(run, 5, 9, seed=0)
    assert worlds.collected(tmp_path / "episodes") == (5, 9)
    episode = run.data.open("train").episode(3)
    assert episode["image"].shape == (1, 10, 3, 64, 64) and episode["action"].shape == (1, 9, 2)
    world = rules.open(5)
    states = [
        world.reset(0)["state"][3],
        *(world.step(a)[0]["state"][3] for a in world.wander(numbered(5), 9).unbind(1)),
    ]
    assert torch.allclose(episode["state"][0], torch.stack(states), atol=1e-5)
    runs.save(tmp_path, run, "mine")
    assert runs.load(tmp_path, run) == run


@pytest.mark.parametrize(("rules", "kind", "budget"), PLANNED, ids=["named", "generated", "block"])
def test_the_ceiling_reaches_its_goals_and_random_actions_do_not(rules, kind: str, budget: int) -> None:
    planner = CEM(horizon=7, samples=60, elites=8, iterations=3, correlation=0.7, keep_elites=4)
    run = replace(lewm_two_rooms(), world=rules, planning=Planning(planner, earlier_weight=0.05, execute=3))
    world = rules.open(4)
    assert isinstance(world, World)
    tasks = world.tasks(kind, 4, 3)
    policy = worlds.ceiling(run, world, tasks)
    assert policy is not None
    found = control(world, world.begin(tasks), policy, lambda s: world.reached(s, tasks.goal), budget, 3)
    world.begin(tasks)
    script = Scripted(world.wander(numbered(4), budget))
    wandering = control(world, world.begin(tasks), script, lambda s: world.reached(s, tasks.goal), budget)
    assert int(found.reached.sum()) >= 3 and int(wandering.reached.sum()) <= 1


def test_rows_are_drawn_again_until_they_are_wanted(monkeypatch) -> None:
    random = numbered(500)
    rows = redrawn(lambda attempt: random.uniform(f"{attempt}", 2), lambda x: x[:, 0] > 0.9, "high number")
    assert bool((rows[:, 0] > 0.9).all())
    few = numbered(3)
    assert torch.equal(redrawn(lambda n: few.uniform(f"{n}", 2), lambda x: x[:, 0] > 0.9, "high number"), rows[:3])
    monkeypatch.setattr(batched, "ATTEMPTS", 10)
    with pytest.raises(ConfigError, match="10 draws gave no high number"):
        redrawn(lambda n: few.uniform(f"{n}", 2), lambda x: x[:, 0] > 1, "high number")
