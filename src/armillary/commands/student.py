"""The distilled policy in a run folder: written by `distill`, read by `plan --seeded`, tied to the weights it is of."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import CheckpointError
from ..planning import distilling
from ..planning.cloning import Network
from ..recipes.run import Json
from ..training.checkpoint import MANIFEST, MODEL, place

FILE = "policy.safetensors"


def keep(folder: Path, step: int, network: Network, told: Json) -> None:
    """Write the policy that was distilled from the run's weights of that step, in place of the one before."""
    distilling.save(folder / FILE, network, {"weights": _fingerprint(folder, step), "step": step, **told})


def learned(folder: Path, step: int) -> Network:
    """The policy that was distilled in a run folder from its weights of that step.

    Raises:
        CheckpointError: there is none, it is damaged, or it was distilled from other weights.
    """
    network, told = distilling.load(folder / FILE)
    if told.get("weights") != _fingerprint(folder, step):
        raise CheckpointError(
            f"{folder / FILE} was distilled from the weights of step {told.get('step')}, these are others, of step "
            f"{step}; distill again: armillary distill {folder} --at {step}"
        )
    return network


def _fingerprint(folder: Path, step: int) -> str:
    """What tells the weights of one checkpoint from all others."""
    return str(json.loads((place(folder, step) / MANIFEST).read_bytes())["files"][MODEL]["sha256"])
