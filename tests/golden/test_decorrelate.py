"""Terms of VICReg and Barlow Twins equal the released ones; where two codebases differ, by the stated factor."""

from __future__ import annotations

from armillary.functional.decorrelate import barlow_twins, covariance, cross_correlation, off_diagonal, variance_hinge
from armillary.functional.distance import squared

from .fixture import close, golden


def test_vicreg_equals_the_released_sum():
    t, _ = golden("image-video/baseline_losses")
    views = [t["in/z1"], t["in/z2"]]
    spread = [covariance(z) for z in views]
    hinge = sum(variance_hinge(c) for c in spread) / 2
    decorrelation = sum(off_diagonal(c) for c in spread) / views[0].shape[1]
    close(25 * squared(*views) + 25 * hinge + decorrelation, t["out/vicreg/loss"])


def test_eb_jepa_adds_hinges_and_averages_covariances():
    t, _ = golden("image-video/eb_jepa_losses")
    views = [t["in/z1"], t["in/z2"]]
    spread, width = [covariance(z) for z in views], views[0].shape[1]
    close(squared(*views), t["out/vicreg/invariance_loss"])
    close(sum(variance_hinge(c) for c in spread), t["out/vicreg/var_loss"])
    close(sum(off_diagonal(c) for c in spread) / (width * (width - 1)), t["out/vicreg/cov_loss"])


def test_barlow_twins_equals_the_released_loss():
    t, _ = golden("image-video/baseline_losses")
    close(barlow_twins(cross_correlation(t["in/z1"], t["in/z2"])), t["out/barlow_twins/loss"])
