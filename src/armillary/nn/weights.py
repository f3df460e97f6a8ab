"""Weights of a part of another run."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..errors import CheckpointError


def fill(module: nn.Module, file: str, part: str) -> None:
    """Fill `module` with the tensors of a safetensors file whose names begin with `part` and a dot.

    Raises:
        CheckpointError: the file cannot be read, or what it holds under `part` does not fit the module.
    """
    if not Path(file).is_file():
        raise CheckpointError(f"there is no file {file!r}: give the model.safetensors of a run's checkpoint")
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}): give the model.safetensors of a checkpoint") from None
    held = {name.removeprefix(f"{part}."): x for name, x in tensors.items() if name.startswith(f"{part}.")}
    wanted = {name: x.shape for name, x in module.state_dict().items()}
    if {name: x.shape for name, x in held.items()} != wanted:
        parts = sorted({name.partition(".")[0] for name in tensors})
        raise CheckpointError(
            f"{part!r} of {file} holds {len(held)} tensors that do not fit the {len(wanted)} of the network; the file "
            f"has the parts {parts}: name the right one, and set the sizes to those of the run that wrote it"
        )
    module.load_state_dict(held)
