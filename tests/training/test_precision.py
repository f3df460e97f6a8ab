"""Precision follows the machine, or the user, and says when it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from armillary.errors import ConfigError
from armillary.training.loop import Loop, train
from armillary.training.precision import autocast, has_bfloat16, resolve

from .rows import tiny

CPU = torch.device("cpu")


def test_auto_is_bfloat16_exactly_where_the_processor_has_it():
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    assert has_bfloat16(CPU) == ("avx512_bf16" in flags or "amx_bf16" in flags)
    assert resolve("auto", CPU) == ("bf16" if has_bfloat16(CPU) else "fp32")
    assert resolve("fp32", CPU) == "fp32"
    assert resolve("bf16", CPU) == "bf16"


def test_a_device_that_cannot_is_named():
    with pytest.raises(ConfigError, match=r"meta cannot compute.*fp32"):
        resolve("bf16", torch.device("meta"))


def test_autocast_is_of_the_forward_pass_and_weights_stay_float32():
    with autocast("bf16", CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    energies = {}
    for precision in ("fp32", "bf16"):
        rows: list[dict] = []
        method, data = tiny("image.ijepa")
        loop = replace(Loop(), precision=precision, log_every=1, monitor=8)
        assert train(method, data, 3, 8, loop=loop, on_log=rows.append).precision == precision
        assert {p.dtype for p in method.parameters()} == {torch.float32}
        energies[precision] = [row["energy"] for row in rows]
    assert energies["bf16"] != energies["fp32"]
    assert energies["bf16"] == pytest.approx(energies["fp32"], rel=0.05)
