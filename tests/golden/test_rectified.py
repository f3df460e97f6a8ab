"""Rectified LpJEPA: loss, gradient and constants equal the released ones."""

from __future__ import annotations

import pytest

from armillary.functional.distance import squared
from armillary.functional.rectified import rdmreg, rectified_moments, rectified_sigma, unit_sigma

from .fixture import close, golden

NAME = "rectified-lpjepa/rdmreg"


@pytest.mark.parametrize("case", ["p1.0_mu0.0", "p2.0_mu-1.0", "p3.0_mu0.0"])
def test_loss_and_gradient_equal_the_released_ones(case):
    t, meta = golden(NAME)
    one, two, directions = t["z1"].requires_grad_(), t["z2"], t["projections"].T
    targets = [t[f"{case}.target_raw_view{view}"].relu() for view in (1, 2)]
    invariance = squared(one, two)
    spread = (rdmreg(one, targets[0], directions) + rdmreg(two, targets[1], directions)) / 2
    loss = meta["weights"][0] * invariance + meta["weights"][1] * spread
    loss.backward()
    close(invariance, t[f"{case}.inv"])
    close(spread, t[f"{case}.reg"])
    close(loss, t[f"{case}.loss"])
    close(one.grad, t[f"{case}.grad_z1"])


def test_constants_equal_the_released_ones_for_every_p_and_mu():
    t, meta = golden(NAME)
    assert len(meta["constants_rows"]) == len(t["constants"]) == 12
    for row, wanted in zip(meta["constants_rows"], t["constants"].tolist(), strict=True):
        p, mu = (float(part.lstrip("pmu")) for part in row.split("_"))
        found = [unit_sigma(p), rectified_sigma(p, mu), *rectified_moments(p, mu, unit_sigma(p))]
        assert found == pytest.approx(wanted, rel=1e-8), row
