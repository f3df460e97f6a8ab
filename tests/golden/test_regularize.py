"""SIGReg and its statistic equal the released ones, values and gradients."""

from __future__ import annotations

import pytest
import torch

from armillary.functional.regularize import epps_pulley, knots_and_weights, sigreg

from .fixture import close, golden


def test_sigreg_equals_lewm():
    t, meta = golden("lewm/sigreg")
    z = t["z"].requires_grad_()
    directions = t["A_raw"] / t["A_raw"].norm(dim=0)
    value = sigreg(z, directions, int(meta["knots"]))
    value.backward()
    close(value, t["value"])
    close(z.grad, t["grad_z"], atol=1e-7)
    close(sigreg(torch.zeros_like(z), directions, int(meta["knots"])), t["value_collapsed_zeros"])


@pytest.mark.parametrize("name", ["default", "t5_n21"])
def test_statistic_equals_lejepa(name):
    t, _ = golden("image-video/lejepa_sigreg")
    knots, limit = len(t[f"in/{name}/knots"]), float(t[f"in/{name}/knots"][-1])
    _, phi, weight = knots_and_weights(knots, limit)
    close(phi, t[f"in/{name}/phi"])
    close(weight, t[f"in/{name}/weights_times_phi"])
    projections = t["in/projections_step0"]
    projections = projections / projections.norm(dim=0)
    for source, wanted in (("in/x", "stat_per_slice"), ("in/views", "stat_per_view_slice")):
        columns = (t[source] @ projections).unbind(-1)
        found = torch.stack([epps_pulley(x.unsqueeze(-1), knots, limit) for x in columns]) if source == "in/x" else None
        if found is not None:
            close(found, t[f"out/{name}/{wanted}"])
    for step in (0, 1):
        projections = t[f"in/projections_step{step}"]
        projections = projections / projections.norm(dim=0)
        x = t["in/x"].clone().requires_grad_()
        value = sigreg(x, projections, knots, limit)
        close(value, t[f"out/{name}/sigreg_mean_step{step}"])
        if name == "default" and step == 0:
            value.backward()
            close(x.grad, t["grad/default/sigreg_mean_step0_wrt_x"], atol=1e-6)


def test_views_are_tested_one_by_one():
    t, _ = golden("image-video/lejepa_sigreg")
    projections = t["in/projections_step0"]
    value = sigreg(t["in/views"], projections / projections.norm(dim=0))
    close(value, t["out/default/sigreg_views_mean_step0"])
