"""Offline validation: a model that is right passes, one that ignores actions or guesses does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.errors import ShapeError
from armillary.planning import readout, validation
from armillary.planning.cem import CEM
from armillary.planning.energies import goal_energy
from armillary.planning.rollout import rollout
from armillary.planning.windows import alone, context, observed
from armillary.randomness import numbered


@dataclass(frozen=True)
class Walk:
    """The state is its latent; it moves by `gain` times the action."""

    gain: float = 1.0

    def start(self, batch: dict[str, Tensor]) -> tuple[Tensor]:
        return (batch["image"][:, -1].flatten(1),)

    def step(self, state: tuple[Tensor], action: Tensor) -> tuple[Tensor]:
        return (state[0] + self.gain * action,)

    def latent(self, state: tuple[Tensor]) -> Tensor:
        return state[0]


ACTION = numbered(60).normal("action", 6, 2)
FIRST = numbered(60).normal("first", 2)
TRUTH = FIRST[:, None] + ACTION.cumsum(1)
BATCH = {"image": torch.cat([FIRST[:, None], TRUTH], 1)[:, :, None, None], "action": ACTION}


def ranked(gain: float, others: Tensor) -> Tensor:
    return validation.ranks(Walk(gain), (FIRST,), TRUTH, ACTION, others)


@pytest.mark.parametrize("make", [validation.shuffled, validation.redrawn])
def test_the_true_model_ranks_the_recorded_actions_first(make) -> None:
    others = make(ACTION, 15)
    assert others.shape == (60, 15, 6, 2)
    places = ranked(1.0, others)
    assert float(places[:, 1:].max()) == 1.0 and float(places.max()) < 2  # a redrawn action may be the recorded one
    rows = validation.ranking(places, 15)
    assert [row["horizon"] for row in rows] == [1, 2, 3, 4, 5, 6] and rows[1]["top1"] == 1.0


def test_a_model_that_ignores_actions_has_the_middle_place_and_a_mirrored_one_a_worse_one() -> None:
    others = validation.shuffled(ACTION, 15)
    assert bool((ranked(0.0, others) == 1 + 15 / 2).all())
    assert float(ranked(-1.0, others).mean()) > 9


def test_ranks_are_counts_of_better_candidates() -> None:
    others = validation.redrawn(ACTION, 4)
    places = ranked(0.4, others).numpy()
    for i in (0, 17, 59):
        for h in (0, 3):
            truth, start = TRUTH[i, h].double().numpy(), FIRST[i].double().numpy()
            ends = [start + 0.4 * a[: h + 1].double().numpy().sum(0) for a in (ACTION[i], *others[i])]
            far = [((end - truth) ** 2).sum() for end in ends]
            assert places[i, h] == 1 + sum(other < far[0] for other in far[1:])


def test_other_sequences_are_of_other_windows_and_deterministic() -> None:
    others = validation.shuffled(ACTION, 15, seed=3)
    assert torch.equal(others, validation.shuffled(ACTION, 15, seed=3))
    for i in range(60):
        same = (others[i][:, None] == ACTION).flatten(2).all(2)  # [15, 60]
        assert bool((same.sum(1) == 1).all()) and not bool(same[:, i].any()) and int(same.any(0).sum()) == 15
    with pytest.raises(ShapeError, match="60 windows cannot lend 60"):
        validation.shuffled(ACTION, 60)


def test_the_probe_along_rollouts_is_r2_of_what_it_reads() -> None:
    weight = torch.tensor([[2.0, 0.5], [-1.0, 3.0]])
    state = torch.cat([TRUTH @ weight + 4, torch.ones(60, 6, 1)], 2)  # one quantity never varies
    frames = torch.cat([TRUTH.flatten(0, 1)])
    read = readout.fitted(frames, state.flatten(0, 1), 1e-9)
    predicted = rollout(Walk(0.8), (FIRST,), ACTION)
    along = validation.along(read, FIRST, predicted, TRUTH, state)
    rows = along.by_horizon()
    assert [row["encoded_r2"] for row in rows] == pytest.approx([1.0] * 6, abs=1e-4)
    truth, told = state[:, 3, :2].double().numpy(), (predicted[:, 3] @ weight + 4).double().numpy()
    wanted = 1 - (((truth - told) ** 2).mean(0) / truth.var(0)).mean()
    assert rows[3]["r2"] == pytest.approx(wanted, abs=1e-3)
    assert rows[3]["rmse"][:2] == pytest.approx(np.sqrt(((truth - told) ** 2).mean(0)), rel=1e-2)  # type: ignore[index]
    low, high = along.interval(4)
    assert low < rows[3]["r2"] < high
    assert rows[5]["copy_r2"] < rows[0]["copy_r2"] < 1


def test_energies_fall_on_straight_ways_and_not_on_detours() -> None:
    straight = torch.arange(1.0, 6)[None, :, None].expand(2, 5, 1)
    detour = torch.tensor([-1.0, 1.0, 2.0, 3.0, 4.0])[None, :, None]
    falls = validation.falling(torch.zeros(3, 1), torch.cat([straight, detour]))
    assert falls[:2].all() and falls[2].tolist() == [True, False, False, False, False]


def test_plans_arrive_where_the_model_can_go() -> None:
    near, far = TRUTH[:4, 3], TRUTH[:4, 3] + 100
    within = validation.tolerance(torch.cat([FIRST[:, None], TRUTH], 1))
    assert within == pytest.approx(np.sort((ACTION.double().numpy() ** 2).sum(2), None)[179], rel=1e-4)
    low, high = torch.full((2,), -3.0), torch.full((2,), 3.0)
    planner = CEM(horizon=4, samples=100, elites=10, iterations=5)
    for goal, wanted in ((near, True), (far, False)):
        energy = goal_energy(Walk(), (FIRST[:4],), goal)
        assert bool((validation.arrived(planner, energy, low, high, numbered(4), within) == wanted).all())


def judged(ratio=0.1, shuffled=0.5, top=(0.9, 0.8), r2: float | None = 0.9, reach: float | None = 0.9) -> str:
    return validation.verdict(4, validation.checks(4, ratio, shuffled, list(top), 1 / 16, r2, reach))


def test_the_verdict_follows_its_rules() -> None:
    assert judged().startswith("planning is worth trying: after 4 macro-steps the error is up to 0.10")
    assert judged(r2=None, reach=None).startswith("planning is worth trying")
    for told, why in (
        (judged(ratio=1.2), "up to 1.20"), (judged(shuffled=-0.1), "do not predict worse"),
        (judged(top=(0.6, 0.1)), "surely in 10%"),
    ):  # fmt: skip
        assert told.startswith("planning is not worth trying") and why in told
    for told, why in (
        (judged(top=(0.3, 0.2)), "in 30%"), (judged(r2=0.2), "R² 0.20"), (judged(reach=0.1), "arrive in 10%"),
    ):  # fmt: skip
        assert told.startswith("planning is doubtful") and why in told and "up to 0.10" not in told


def test_windows_start_from_what_is_there() -> None:
    batch = {**BATCH, "proprio": torch.arange(60.0 * 7).view(60, 7, 1), "state": FIRST}
    first = context(batch, 2)
    assert {k: tuple(v.shape) for k, v in first.items()} == {
        "image": (60, 2, 1, 1, 2), "proprio": (60, 2, 1), "action": (60, 1, 2),
    }  # fmt: skip
    single = alone(batch, 3)
    assert torch.equal(single["proprio"], batch["proprio"][:, 3:4]) and single["action"].shape == (60, 0, 2)
    assert torch.equal(observed(Walk(), batch, rows=50), BATCH["image"].flatten(2))
