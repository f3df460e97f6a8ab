"""Golden fixtures: numbers that the original implementations computed. Names are mapped in the tests that use them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

ROOT = Path(os.environ.get("ARMILLARY_GOLDEN", Path(__file__).parent))


def golden(name: str) -> tuple[dict[str, Tensor], dict]:
    """Tensors and metadata of a fixture; skips when the file is absent. Values that are JSON are parsed."""
    path = ROOT / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"fixture {path} is absent")
    with safe_open(path, "pt") as f:
        tensors = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118 (safe_open is not a dict)
        meta = dict(f.metadata() or {})
    for key, value in meta.items():
        try:
            meta[key] = json.loads(value)
        except ValueError:
            continue
    return tensors, meta


def close(found: Tensor, wanted: Tensor, rtol: float = 1e-4, atol: float = 2e-5) -> None:
    """Assert equality within the tolerance that the fixtures' notes recommend."""
    torch.testing.assert_close(found.double(), wanted.double().reshape(found.shape), rtol=rtol, atol=atol)


def part(
    tensors: dict[str, Tensor], prefix: str, strip: tuple[str, ...] = ("module.", "backbone.")
) -> dict[str, Tensor]:
    """The state dict stored under `prefix`, without the prefixes that wrappers added."""
    out = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            name = key[len(prefix) :]
            for word in strip:
                name = name.removeprefix(word)
            out[name] = value
    return out


def fill(
    module: nn.Module, state: dict[str, Tensor], renames: list[tuple[str, str]], ignore: tuple[str, ...] = ()
) -> None:
    """Load `state` strictly after replacing parts of its names; every key must be used once."""
    new = {}
    for key, value in state.items():
        if any(word in key for word in ignore):
            continue
        for old, to in renames:
            key = key.replace(old, to)
        new[key] = value
    own = module.state_dict()
    assert set(own) == set(new), f"missing {sorted(set(own) - set(new))}, unexpected {sorted(set(new) - set(own))}"
    module.load_state_dict({key: value.reshape(own[key].shape) for key, value in new.items()})


VIT = [("patch_embed.proj", "tokenizer.proj"), ("blocks.", "trunk.blocks.")]
PREDICTOR = [
    ("predictor_embed", "into"),
    ("predictor_proj", "out"),
    ("predictor_blocks", "blocks"),
    ("predictor_norm", "norm"),
]


def fill_vit(module: nn.Module, state: dict[str, Tensor]) -> None:
    """A released vision transformer into ours; its final norm belongs to our trunk."""
    state = {("trunk." + key if key.startswith("norm.") else key): value for key, value in state.items()}
    fill(module, state, VIT, ignore=("pos_embed",))


def fill_predictor(module: nn.Module, state: dict[str, Tensor]) -> None:
    """A released mask predictor into ours."""
    fill(module, state, PREDICTOR, ignore=("predictor_pos_embed",))
