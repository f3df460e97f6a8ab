"""Which arithmetic a run uses: bfloat16 autocast where the machine computes in it, else float32."""

from __future__ import annotations

import contextlib
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from ..errors import ConfigError

Precision = Literal["auto", "bf16", "fp32"]


@lru_cache(maxsize=1)
def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 (AVX512-BF16, AMX); others emulate it, slower than float32."""
    path = Path("/proc/cpuinfo")
    flags = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` computes in bfloat16 itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _cpu_has_bfloat16()


def resolve(precision: Precision, device: torch.device) -> Literal["bf16", "fp32"]:
    """The precision that "auto" means on `device`; a forced one is checked.

    On a CPU bf16 can always be forced: without the instructions it is emulated, slowly, with the same results.
    Raises:
        ConfigError: bf16 is forced on a device that cannot do it.
    """
    if precision == "auto":
        return "bf16" if has_bfloat16(device) else "fp32"
    if precision == "bf16" and device.type != "cpu" and not has_bfloat16(device):
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        raise ConfigError(f"precision is bf16, which {name} cannot compute; use --loop.precision fp32 or auto")
    return precision


def autocast(precision: Literal["bf16", "fp32"], device: torch.device) -> contextlib.AbstractContextManager:
    """The context in which energies are computed."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
