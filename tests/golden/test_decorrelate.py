"""Terms of VICReg and Barlow Twins equal the released ones; where two codebases differ, by the stated factor."""

from __future__ import annotations

import pytest
from torch import Tensor

from armillary.functional.decorrelate import (
    barlow_twins,
    covariance,
    cross_correlation,
    off_diagonal,
    variance_covariance,
    variance_hinge,
)
from armillary.functional.distance import squared
from armillary.functional.regularize import epps_pulley

from .fixture import close, golden


def test_vicreg_equals_the_released_sum():
    t, _ = golden("image-video/baseline_losses")
    views = [t["in/z1"], t["in/z2"]]
    (variance, decorrelation), (other_variance, other_decorrelation) = (variance_covariance(z) for z in views)
    hinge = (variance + other_variance) / 2
    close(25 * squared(*views) + 25 * hinge + decorrelation + other_decorrelation, t["out/vicreg/loss"])


def test_eb_jepa_adds_hinges_and_averages_covariances():
    t, _ = golden("image-video/eb_jepa_losses")
    views = [t["in/z1"], t["in/z2"]]
    spread, width = [covariance(z) for z in views], views[0].shape[1]
    close(squared(*views), t["out/vicreg/invariance_loss"])
    close(sum(variance_hinge(c) for c in spread), t["out/vicreg/var_loss"])
    close(sum(off_diagonal(c) for c in spread) / (width * (width - 1)), t["out/vicreg/cov_loss"])


def eb_jepa_terms(z: Tensor) -> tuple[Tensor, Tensor]:
    """eb_jepa's hinge and covariance term: ours, the latter over D (D - 1)."""
    spread, width = covariance(z), z.shape[1]
    return variance_hinge(spread), off_diagonal(spread) / (width * (width - 1))


def test_eb_jepa_single_terms():
    t, _ = golden("image-video/eb_jepa_losses")
    hinge, decorrelation = eb_jepa_terms(t["in/z1"])
    close(hinge, t["out/hinge_std"])
    close(decorrelation, t["out/covariance"])


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("spatial", [0, 1])
def test_eb_jepa_regularizes_videos_with_time_and_maybe_places_as_samples(first, spatial):
    t, _ = golden("image-video/eb_jepa_losses")
    x, name = t["in/x"], f"out/vcsim_first{first}_spatial{spatial}"
    frames = (x[:, :, :1] if first else x).permute(0, 2, 3, 4, 1)  # [B, T, H, W, C]
    hinge, decorrelation = eb_jepa_terms(frames.flatten(0, 3) if spatial else frames.flatten(0, 1).flatten(1))
    smoothness = squared(x[:, :, 1:], x[:, :, :-1])
    close(hinge, t[f"{name}/std_loss"])
    close(decorrelation, t[f"{name}/cov_loss"])
    close(smoothness, t[f"{name}/sim_loss_t"])
    close(2 * hinge + decorrelation + smoothness / 2, t[f"{name}/weighted"])
    if (first, spatial) == (0, 1):
        close(10 * hinge + decorrelation, t["out/vcloss/weighted"])


def test_eb_jepa_bcs_is_the_epps_pulley_integral_without_the_number_of_samples():
    t, _ = golden("image-video/eb_jepa_losses")
    views = [t["in/z1"], t["in/z2"]]

    def bcs(z: Tensor) -> Tensor:
        """Its knots are the odd multiples of 1/3 up to 3: twice all multiples less the even ones."""
        x = z @ t["in/bcs_projections_step0"]
        odd = 2 * epps_pulley(x, 10, 3.0) - epps_pulley(x, 5, 8 / 3) - epps_pulley(x, 2, 8 / 3) / 4
        return odd / len(z)

    found = (bcs(views[0]) + bcs(views[1])) / 2
    close(found, t["out/bcs_step0/bcs_loss"])
    close(squared(*views), t["out/bcs_step0/invariance_loss"])
    close(squared(*views) + 10 * found, t["out/bcs_step0/loss"])


def test_barlow_twins_equals_the_released_loss():
    t, _ = golden("image-video/baseline_losses")
    close(barlow_twins(cross_correlation(t["in/z1"], t["in/z2"])), t["out/barlow_twins/loss"])
