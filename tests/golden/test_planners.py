"""CEM against the solver of stable-worldmodel, fed the noise that was recorded from it."""

from __future__ import annotations

import torch
from torch import Tensor

from armillary.planning.cem import CEM
from armillary.randomness import numbered

from .fixture import golden


def cost(actions: Tensor) -> Tensor:
    """The double integrator of the file's metadata: [B, S, H, 2] -> [B, S]."""
    v = p = torch.zeros_like(actions[:, :, 0])
    bump = torch.zeros(actions.shape[:2])
    for a in actions.unbind(2):
        v = 0.8 * v + 0.5 * a
        p = p + 0.5 * v
        bump = bump + 0.5 * (-4 * (p - torch.tensor([0.7, -0.3])).square().sum(-1)).exp()
    goal = (p - torch.tensor([1.5, -0.75])).square().sum(-1)
    return goal + bump + 0.01 * actions.square().sum((-1, -2))


def test_cem_repeats_stable_worldmodel_given_its_noise() -> None:
    file, about = golden("planners/swm_cem")
    actions, problems, horizon = about["action_dim"], file["noise"].shape[1], about["horizon"]
    bound = 100.0  # upstream does not clip; no candidate of the file comes near
    planner = CEM(
        horizon,
        about["samples"],
        about["elites"],
        about["iterations"],
        std=1 / (2 * bound),  # a fraction of the range: 1 in the units of the actions
        std_min=0.0,
        include_mean=True,
        unbiased=True,
    )
    seen: list[Tensor] = []
    values: list[Tensor] = []

    def energy(plans: Tensor) -> Tensor:
        seen.append(plans)
        values.append(cost(plans))
        return values[-1]

    low, high = torch.full((actions,), -bound), torch.full((actions,), bound)
    plan = planner(energy, low, high, numbered(problems), noise=lambda i: file["noise"][i])

    assert torch.equal(seen[0][:, 0], torch.zeros(problems, horizon, actions)), "upstream starts from zero actions"
    torch.testing.assert_close(torch.stack(seen[1:-1]), file["candidates"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.stack(values[1:-1]), file["costs"], rtol=1e-5, atol=1e-5)
    means = torch.stack([*(plans[:, 0] for plans in seen[2:-1]), seen[-1][:, 0]])  # candidate 0 is the mean
    torch.testing.assert_close(means, file["mean_after"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen[-1][:, 0], file["final_mean"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(plan.std, file["final_std"], rtol=1e-5, atol=1e-5)
    assert bool((plan.energy <= values[-1][:, 0]).all()), "the best plan seen is at least as good as the final mean"
