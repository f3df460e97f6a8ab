"""Energies of two-view methods, computed by the methods themselves on given embeddings, equal the released losses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from armillary.contracts import Method, build
from armillary.methods.rivals import barlow, moco, simsiam, vicreg

from .fixture import close, golden


def plain(method: Method) -> Any:
    """The method with nothing between views and losses: embeddings are the views, which have one pixel."""
    for name in ("online", "teacher", "predictor"):
        if hasattr(method, name):
            setattr(method, name, nn.Flatten())
    setattr(method, "embed", lambda view: view.flatten(1))  # noqa: B010 (a method, for the type checker)
    return method


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (vicreg.tiny()[0].config, "vicreg/loss"),
        (barlow.tiny()[0].config, "barlow_twins/loss"),
        (simsiam.tiny()[0].config, "simsiam/loss"),
        (replace(moco.tiny()[0].config, temperature=0.2), "moco_v3/loss_T0.2"),
        (replace(moco.tiny()[0].config, temperature=1.0), "moco_v3/loss_T1.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_energy_of_the_method_is_the_released_loss(config, wanted):
    t, _ = golden("image-video/baseline_losses")
    method = plain(build(config))
    views = (t[name][:, :, None, None] for name in ("in/z1", "in/z2"))
    close(method.energy(method.between(*views)), t[f"out/{wanted}"])
