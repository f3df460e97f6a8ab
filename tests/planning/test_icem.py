from __future__ import annotations

import re
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from armillary.errors import ConfigError
from armillary.planning.cem import CEM
from armillary.planning.icem import ICEM
from armillary.planning.search import Round
from armillary.randomness import numbered

LOW, HIGH = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 2.0])
GOAL = torch.tensor([0.4, 1.3])


def bowl(actions: Tensor) -> Tensor:
    return (actions - GOAL).square().sum((-1, -2))


def watched(planner: ICEM, **options: object) -> list[Round]:
    rounds: list[Round] = []
    planner(bowl, LOW, HIGH, numbered(2), watch=rounds.append, **options)
    return rounds


def test_rounds_shrink_to_twice_the_elites() -> None:
    rounds = watched(ICEM(3, 40, 8, 6, decay=1.5))
    assert [r.plans.shape[1] for r in rounds] == [40, 26, 17, 16, 16, 16]
    assert [ICEM(3, 40, 30).size(i) for i in range(3)] == [40, 40, 40], "never more than the first"


def test_kept_elites_compete_again_and_momentum_mixes() -> None:
    planner = ICEM(3, 40, 8, 4, std_min=0.0, keep_elites=5, momentum=0.2)
    rounds = watched(planner)
    mean, std = ((LOW + HIGH) / 2).expand(2, 3, 2), (0.25 * (HIGH - LOW)).expand(2, 3, 2)
    kept = rounds[0].elite[:, :0]
    for one in rounds:
        pool = torch.cat([one.plans, kept], 1)
        for problem in range(2):
            best = bowl(pool[problem]).argsort()[:8]
            assert torch.allclose(one.elite[problem], pool[problem, best])
        mean, std = 0.2 * mean + 0.8 * one.elite.mean(1), 0.2 * std + 0.8 * one.elite.std(1, correction=0)
        assert torch.allclose(one.mean, mean, atol=1e-6) and torch.allclose(one.std, std, atol=1e-6)
        kept = one.elite[:, :5]


def test_only_the_last_round_holds_the_mean() -> None:
    rounds = watched(ICEM(3, 40, 8, 4))
    held = [bool((now.plans[:, 0] == before.mean).all()) for before, now in pairwise(rounds)]
    assert held == [False, False, True]


def test_elites_of_the_last_plan_compete_in_the_first_round_only() -> None:
    shifted = watched(ICEM(3, 40, 8, 4))[-1].shifted(3)
    rounds = watched(ICEM(3, 40, 8, 4, decay=1.0), proposals=shifted)
    assert [r.plans.shape[1] for r in rounds] == [43, 40, 40, 40]
    assert torch.equal(rounds[0].plans[:, :3], shifted)


def test_colored_noise_needs_fewer_evaluations_where_a_slow_push_is_the_answer() -> None:
    """iCEM's claim, on a system that integrates its actions over 20 steps."""

    def far(actions: Tensor) -> Tensor:
        return (actions.cumsum(-2).cumsum(-2)[..., -1, :] - torch.tensor([300.0, -100.0])).norm(dim=-1)

    low, high = torch.full((2,), -1.0), torch.full((2,), 2.0)
    drift = ICEM(20, 100, 10, 3, exponent=3.0)
    white = ICEM(20, 100, 10, 3, exponent=0.0)
    means = [p(far, low, high, numbered(30)).energy.mean() for p in (drift, white, CEM(20, 100, 10, 3))]
    assert means[0] < 0.25 * means[1] and means[0] < 0.25 * means[2]


@pytest.mark.parametrize(
    "options", [{"horizon": 0}, {"elites": 301}, {"decay": 0.9}, {"exponent": -1.0}, {"keep_elites": 11}, {"std": 0.0},
                {"momentum": 2.0}], ids=str,
)  # fmt: skip
def test_impossible_settings_are_named(options: dict) -> None:
    name, value = next(iter(options.items()))
    with pytest.raises(ConfigError, match=f"{name}.* {re.escape(str(value))}.*allowed"):
        ICEM(**options)
