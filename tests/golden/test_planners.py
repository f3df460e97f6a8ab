"""Presets against the released planners, fed the noise that was recorded from them."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from armillary.contracts import Energy, Plan
from armillary.planning import presets
from armillary.planning.cem import CEM
from armillary.planning.mppi import MPPI
from armillary.planning.search import Round, softmin
from armillary.randomness import numbered

from .fixture import golden

WIDE = torch.full((2,), 100.0)  # most originals have no bounds; no candidate of the files comes near
ACTION = {"rtol": 1e-5, "atol": 1e-5}


def integrated(actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of the double integrator of the files' metadata, its last position, and the sum of bumps."""
    v = p = torch.zeros_like(actions[..., 0, :])
    places = []
    for a in actions.unbind(-2):
        v = 0.8 * v + 0.5 * a
        p = p + 0.5 * v
        places.append(p)
    path = torch.stack(places, -2)
    bump = 0.5 * (-4 * (path - torch.tensor([0.7, -0.3])).square().sum(-1)).exp().sum(-1)
    return path, p, bump


def cost(actions: Tensor) -> Tensor:
    _, last, bump = integrated(actions)
    goal = (last - torch.tensor([1.5, -0.75])).square().sum(-1)
    return goal + bump + 0.01 * actions.square().sum((-1, -2))


def replay(
    planner: CEM | MPPI,
    noise: Tensor,
    low: Tensor = -WIDE,
    high: Tensor = WIDE,
    energy: Energy = cost,
    **options: Tensor,
) -> tuple[Plan, list[Round]]:
    """The planner on recorded noise [iterations, samples, H, A]: its plan and its rounds."""
    rounds: list[Round] = []
    plan = planner(energy, low, high, numbered(1), noise=lambda i: noise[i][None], watch=rounds.append, **options)
    assert len(rounds) == len(noise)
    assert bool((plan.energy <= torch.cat([r.energy for r in rounds], 1).min()).all()), "ours returns the best seen"
    return plan, rounds


def check_rounds(rounds: list[Round], file: dict[str, Tensor]) -> None:
    plans = torch.stack([r.plans[0] for r in rounds])
    torch.testing.assert_close(plans, file["candidates"].view_as(plans), **ACTION)
    energies = torch.stack([r.energy[0] for r in rounds])
    torch.testing.assert_close(energies, file["costs"].view_as(energies), **ACTION)
    if "mean_after" in file:
        means = torch.stack([r.mean[0] for r in rounds])
        torch.testing.assert_close(means, file["mean_after"].view_as(means), **ACTION)


def is_an_elite(plan: Tensor, last: Round) -> bool:
    """Whether a released planner's result, one elite drawn by a generator that was not recorded, is one of ours."""
    return bool((last.elite[0] - plan).abs().amax((1, 2)).min() < 1e-5)


def test_cem_of_stable_worldmodel() -> None:
    file, about = golden("planners/swm_cem")
    planner = replace(
        presets.stable_worldmodel_cem(-WIDE, WIDE),
        horizon=about["horizon"], samples=about["samples"], elites=about["elites"], iterations=about["iterations"],
    )  # fmt: skip
    plan, rounds = replay(planner, file["noise"][:, 0])
    check_rounds(rounds, file)
    torch.testing.assert_close(rounds[-1].mean, file["final_mean"], **ACTION)
    torch.testing.assert_close(torch.stack([r.std for r in rounds]), file["std_after"], **ACTION)
    torch.testing.assert_close(plan.std, file["final_std"], **ACTION)


def test_mppi_of_stable_worldmodel() -> None:
    file, about = golden("planners/swm_mppi")
    planner = replace(
        presets.stable_worldmodel_mppi(-WIDE, WIDE, temperature=about["temperature"]),
        horizon=about["horizon"], samples=about["samples"], elites=about["elites"], iterations=about["iterations"],
    )  # fmt: skip
    plan, rounds = replay(planner, file["noise"][:, 0])
    check_rounds(rounds, file)
    torch.testing.assert_close(rounds[-1].mean, file["final_mean"], **ACTION)
    torch.testing.assert_close(plan.std, file["final_std"], **ACTION)


def test_cem_of_eb_jepa() -> None:
    file, about = golden("planners/ebjepa_cem")
    planner = replace(
        presets.eb_jepa_cem(-WIDE, WIDE, about["var_scale"], about["max_norms"][0]),
        horizon=about["plan_length"], samples=about["num_samples"], elites=about["num_elites"],
        iterations=about["n_iters"],
    )  # fmt: skip
    _, rounds = replay(planner, file["noise"].movedim(1, 2))
    check_rounds(rounds, file)
    torch.testing.assert_close(rounds[-1].mean[0], file["final_mean"], **ACTION)


def test_mppi_of_eb_jepa() -> None:
    file, about = golden("planners/ebjepa_mppi")
    planner = replace(
        presets.eb_jepa_mppi(-WIDE, WIDE, inverse_temperature=about["temperature"], elites=about["num_elites"]),
        horizon=about["plan_length"], samples=about["num_samples"], iterations=about["n_iters"],
    )  # fmt: skip
    _, rounds = replay(planner, file["noise"].movedim(1, 2))
    check_rounds(rounds, file)
    torch.testing.assert_close(rounds[-1].mean[0], file["final_mean"], **ACTION)
    assert is_an_elite(file["sampled_plan"], rounds[-1])


def test_cem_of_jepa_wms() -> None:
    file, about = golden("planners/jepawms_cem")
    high = torch.full((2,), about["max_norms"][0])
    planner = replace(
        presets.jepa_wms_cem(-high, high, about["var_scale"], about["momentum_mean"], about["momentum_std"]),
        horizon=about["horizon"], samples=about["num_samples"], elites=about["num_elites"],
        iterations=about["iterations"],
    )  # fmt: skip
    _, rounds = replay(planner, file["noise"].movedim(1, 2), -high, high)
    check_rounds(rounds, file)
    torch.testing.assert_close(rounds[-1].mean[0], file["planned_actions"], **ACTION)


def test_mppi_of_jepa_wms() -> None:
    file, about = golden("planners/jepawms_mppi")
    planner = replace(
        presets.jepa_wms_mppi(-WIDE, WIDE, about["max_std"], about["temperature"]),
        horizon=about["horizon"], samples=about["num_samples"], elites=about["num_elites"],
        iterations=about["iterations"],
    )  # fmt: skip
    _, rounds = replay(planner, file["noise"].movedim(1, 2))
    check_rounds(rounds, file)
    assert is_an_elite(file["planned_actions"], rounds[-1])


def test_cem_of_vjepa2_ac() -> None:
    file, about = golden("planners/vjepa2ac_cem")

    def distance(actions: Tensor) -> Tensor:
        z = file["z0"][0] + 0.3 * torch.einsum("bsha,ad->bsd", actions, file["W"])[..., None, None, :]
        return (z - file["zg"][0]).abs().flatten(2).mean(-1)

    planner = replace(
        presets.vjepa2_ac(about["momentum"], about["momentum"]),
        horizon=about["rollout"], samples=about["samples"], elites=about["topk"], iterations=about["cem_steps"],
    )  # fmt: skip
    low, high = presets.VJEPA2_AC_LOW, presets.VJEPA2_AC_HIGH
    assert high[0] == about["maxnorm"]
    energy = presets.with_rotation(distance)
    _, rounds = replay(planner, file["noise"].movedim(1, 2), low, high, energy)
    torch.testing.assert_close(presets.vjepa2_ac_action(rounds[-1].mean), file["action"], **ACTION)


def test_mppi_of_pldm() -> None:
    file, about = golden("planners/pldm_pytorch_mppi")

    def running(actions: Tensor) -> Tensor:
        path, _, bump = integrated(actions)
        return bump + 0.3 * (path - torch.tensor([1.5, -0.75])).square().sum((-1, -2))

    variance = 0.5
    iterations, samples, horizon, _ = file["noise"].shape
    planner = replace(
        presets.pldm(-WIDE, WIDE, variance**0.5, about["lambda_"], samples), horizon=horizon, iterations=iterations
    )
    assert (horizon, samples) == (about["T"], about["K"])
    _, rounds = replay(planner, file["noise"] / variance**0.5, energy=running)
    torch.testing.assert_close(torch.stack([r.mean[0] for r in rounds]), file["U_after"], **ACTION)
    scores = torch.stack([r.score[0] for r in rounds])  # sorted, and so must theirs be
    torch.testing.assert_close(scores, file["cost_total"].sort(1).values, rtol=1e-5, atol=1e-5)
    weights = torch.stack([softmin(r.score, about["lambda_"])[0] for r in rounds])
    weights = weights / weights.sum(1, keepdim=True)
    torch.testing.assert_close(weights, file["omega"].sort(1, descending=True).values, **ACTION)


def test_mppi_of_td_mpc2() -> None:
    """The values are those that the original's networks gave; its candidates must be ours before they are used."""
    file, about = golden("tdmpc2/tiny_world_model_update_and_plan")
    wanted, values = file["plan.actions_per_iter"].movedim(1, 2), file["plan.value_per_iter"][..., 0]
    config = ast.literal_eval(about["config"])
    noise = torch.stack([file[f"plan.rng.{n}.randn"] for n in ("03", "06", "09", "12")]).movedim(1, 2)
    calls = iter(range(len(wanted)))

    def energy(plans: Tensor) -> Tensor:
        if plans.shape[1] == 1:  # the start and the last mean, which the original does not evaluate
            return torch.zeros(1, 1)
        i = next(calls)
        torch.testing.assert_close(plans[0], wanted[i], **ACTION)
        return -values[i][None]

    rounds: list[Round] = []
    planner = replace(
        presets.td_mpc2(config["temperature"]),
        horizon=config["horizon"], samples=noise.shape[1], elites=config["num_elites"],
        iterations=config["iterations"],
    )  # fmt: skip
    one = torch.ones(config["action_dim"])
    planner(
        energy, -one, one, numbered(1), noise=lambda i: noise[i][None], watch=rounds.append,
        proposals=wanted[:1, : config["num_pi_trajs"]],
    )  # fmt: skip
    last = rounds[-1]
    torch.testing.assert_close(last.mean[0], file["plan.final_mean"], **ACTION)
    weight = softmin(last.score, planner.temperature)
    torch.testing.assert_close((weight / weight.sum())[0], file["plan.final_score"], **ACTION)
    torch.testing.assert_close(last.elite[0, 0, 0], file["plan.action_eval_argmax_elite"], **ACTION)


@pytest.mark.parametrize("inverse", [0.005, 0.5])
def test_the_two_meanings_of_temperature_are_inverse(inverse: float) -> None:
    wide = torch.ones(1)
    assert presets.td_mpc2(inverse).temperature == pytest.approx(1 / inverse)
    assert presets.eb_jepa_mppi(-wide, wide, inverse_temperature=inverse).temperature == pytest.approx(1 / inverse)
    assert presets.stable_worldmodel_mppi(-wide, wide, temperature=inverse).temperature == inverse
