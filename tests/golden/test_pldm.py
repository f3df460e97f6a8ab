"""Terms of PLDM equal those of the authors' code and of stable-worldmodel, which differ; the latter's gradient too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armillary.functional.decorrelate import covariance, off_diagonal
from armillary.functional.distance import squared
from armillary.functional.trajectory import moments, time_similarity, time_variance

from .fixture import close, golden

EXACT = {"rtol": 1e-5, "atol": 1e-6}  # as the fixtures' notes recommend for losses


def time_covariance(z: Tensor) -> Tensor:
    """The covariance term over the steps of each trajectory alone, which both codebases have and weigh 0."""
    pairs = z.shape[2] * (z.shape[2] - 1)
    return torch.stack([off_diagonal(covariance(one)) / pairs for one in z]).mean()


def test_terms_equal_those_of_the_authors_code():
    t, _ = golden("pldm/original_vicreg")
    z, predicted = t["encodings_TBD"].transpose(0, 1), t["predictions_TBD"].transpose(0, 1)
    variance, decorrelation = moments(z)
    close(squared(predicted[:, 1:], z[:, 1:]), t["sim"], **EXACT)
    close(variance, t["std_first_step"], **EXACT)
    close(decorrelation, t["cov_first_step"], **EXACT)
    close(time_variance(z[:, 1:]), t["std_time"], **EXACT)
    close(time_similarity(z), t["sim_t"], **EXACT)
    close(time_covariance(z[:, 1:]), t["cov_time"], **EXACT)


def world_model_terms(t: dict[str, Tensor], z: Tensor) -> dict[str, Tensor]:
    """stable-worldmodel's: moments of each step, and over time those of latents less the batch's mean at their step."""
    variance, decorrelation = moments(z, "each")
    centered, velocity = z - z.mean(0), z[:, 1:] - z[:, :-1]
    return {
        "std_loss": variance, "cov_loss": decorrelation, "std_t_loss": time_variance(centered),
        "cov_t_loss": time_covariance_uncentered(centered), "temp_align_loss": time_similarity(z),
        "idm_loss": squared(t["a_pred"], t["a_target"]),
        "temp_straight_loss": -torch.cosine_similarity(velocity[:, 1:], velocity[:, :-1], dim=-1).mean(),
    }  # fmt: skip


def time_covariance_uncentered(z: Tensor) -> Tensor:
    """Its matrices over time are of second moments over T - 1: the means over time are not subtracted."""
    steps, width = z.shape[1:]
    second = torch.einsum("bti,btj->bij", z, z) / (steps - 1)
    return torch.stack([off_diagonal(one) for one in second]).mean() / (width * (width - 1))


def test_terms_equal_those_of_stable_worldmodel():
    t, _ = golden("pldm/swm_pldm_losses")
    for name, value in world_model_terms(t, t["z"]).items():
        close(value, t[name], **EXACT)


def test_the_sum_and_its_gradient_equal_those_of_stable_worldmodel():
    t, _ = golden("pldm/swm_pldm_losses")
    z = t["z"].clone().requires_grad_()
    weights = {
        "std_loss": 18, "std_t_loss": 0.7, "cov_loss": 12, "temp_align_loss": 0.2, "cov_t_loss": 1, "idm_loss": 1,
        "temp_straight_loss": 0.1,
    }  # fmt: skip
    found = world_model_terms(t, z)
    total = torch.stack([weights[name] * found[name] for name in weights]).sum()
    total.backward()
    close(total, t["total"], **EXACT)
    assert z.grad is not None
    close(z.grad, t["grad_z"], rtol=1e-4, atol=1e-4 * float(t["grad_z"].abs().max()))


@pytest.mark.parametrize("samples", ["first", "all"])
def test_the_codebases_differ_where_the_card_says_so(samples):
    t, _ = golden("pldm/swm_pldm_losses")
    assert abs(float(moments(t["z"], samples)[1]) - float(t["cov_loss"])) > 1e-3
