"""Straightening equals stable-worldmodel's term, which is minus the cosine."""

from __future__ import annotations

from armillary.functional.trajectory import straightening

from .fixture import close, golden


def test_straightening_equals_the_released_term():
    t, _ = golden("pldm/swm_pldm_losses")
    close(straightening(t["z"]) - 1, t["temp_straight_loss"], rtol=1e-5, atol=1e-6)
