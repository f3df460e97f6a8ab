"""Checkpoints that survive: complete or absent, verified to the last bit, never a pickle.

    RUN/checkpoints/step-00000123/   model.safetensors  optimizer.safetensors  state.json  manifest.json

A checkpoint is written into a temporary folder, every file flushed to the disk, the manifest (size and SHA-256 of each
file, and of itself) last; then one rename makes it real. A process that dies at any instant leaves the old checkpoints
as they were and at most a temporary folder, which the next save or start removes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialized
from torch import Tensor, nn

from ..errors import CheckpointError

log = logging.getLogger("armillary.training")

Json = dict[str, object]

FORMAT = 1
TEMPORARY, DAMAGED, UNHEALTHY = ".tmp-", "damaged-", "unhealthy-"
NEWEST, BEST = "newest", "best-by-radar"
MODEL, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """What is needed to go on: tensors by name, and everything else as JSON."""

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: Json


def place(run: Path, step: int) -> Path:
    """Where the checkpoint of `step` is kept."""
    return run / "checkpoints" / f"step-{step:08d}"


def step_of(path: Path) -> int:
    """The step of a checkpoint, from its name."""
    return int(path.name.removeprefix("step-"))


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints in a run folder, oldest first; they may be damaged."""
    found = [path for path in (run / "checkpoints").glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=step_of)


def write(run: Path, checkpoint: Checkpoint, keep: int = 2, spared: int = -1) -> Path:
    """Save a checkpoint and delete all but the newest `keep` and that of step `spared`; returns its folder.

    Raises:
        CheckpointError: the disk is full, or the folder cannot be written. Older checkpoints are intact.
    """
    final = place(run, checkpoint.step)
    folder, temporary = final.parent, final.with_name(TEMPORARY + final.name)
    try:
        sweep(run)
        temporary.mkdir(parents=True)
        manifest: dict[str, dict[str, object]] = {}
        for file in (MODEL, OPTIMIZER, STATE):  # one at a time, so that one copy at most is in memory
            data = _bytes(checkpoint, file)
            manifest[file] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            _write_through(temporary / file, data)
        _write_through(temporary / MANIFEST, _sealed(manifest))
        _sync_folder(temporary)
        if final.exists():
            _discard(final)
        temporary.rename(final)
        _sync_folder(folder)
        for old in checkpoints(run)[: -max(1, keep)]:
            if step_of(old) != spared:
                _discard(old)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        left = [path.name for path in checkpoints(run)]
        raise CheckpointError(
            f"checkpoint {final} could not be written: {error.strerror or error}. Intact in {folder}: "
            f"{', '.join(left) or 'none'}. Free space or permit writing, then continue with --resume"
        ) from error
    return final


def damage(path: Path) -> str:
    """What is wrong with a checkpoint, "" if every byte is as it was written.

    Raises:
        CheckpointError: it may not be read.
    """
    try:
        raw = (path / MANIFEST).read_bytes()
        try:
            manifest = json.loads(raw)["files"]
            told = {file: (manifest[file]["bytes"], manifest[file]["sha256"]) for file in manifest}
        except (ValueError, TypeError, KeyError, RecursionError):
            return f"{MANIFEST} is unreadable"
        if set(told) != {MODEL, OPTIMIZER, STATE} or raw != _sealed(manifest):
            return f"{MANIFEST} does not match its own checksum"
        for file, (size, sha256) in told.items():
            if (path / file).stat().st_size != size:
                return f"{file} has {(path / file).stat().st_size} bytes, not {size}"
            with (path / file).open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                    return f"{file} does not match its SHA-256"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except PermissionError as error:
        raise CheckpointError(f"{error.filename} may not be read; permit reading it and try again") from error
    except OSError as error:  # the disk itself fails
        return f"{error.filename}: {error.strerror}"
    return ""


def read(path: Path) -> Checkpoint:
    """A checkpoint, verified.

    Raises:
        CheckpointError: damaged, unreadable, or written by a newer version.
    """
    wrong = damage(path)
    if wrong:
        raise CheckpointError(f"{path} is damaged: {wrong}; use an older checkpoint")
    state = json.loads((path / STATE).read_bytes())
    if state["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {state['format']}, this version reads up to {FORMAT}; use a newer armillary"
        )
    return Checkpoint(state["step"], load_file(path / MODEL), load_file(path / OPTIMIZER), state)


def newest(run: Path) -> tuple[Path, list[str]]:
    """The newest undamaged checkpoint, and a sentence about each newer one that is damaged. Changes nothing.

    Raises:
        CheckpointError: there is none.
    """
    found, reports = checkpoints(run), []
    for path in reversed(found):
        wrong = damage(path)
        if not wrong:
            return path, reports
        reports.append(f"{path} is damaged: {wrong}")
    raise CheckpointError(
        f"{run} has no checkpoint to go on from{''.join(f'; {r}' for r in reports)}. Restore one from a backup, "
        "or start again with --fresh"
    )


def recover(run: Path) -> tuple[Path, list[str]]:
    """`newest`, with the damaged ones reported and set aside as damaged-step-..., where they count for nothing.

    Raises:
        CheckpointError: there is none, or the folder cannot be written.
    """
    path, reports = newest(run)
    try:
        for bad in checkpoints(run):
            if step_of(bad) > step_of(path):
                aside = bad.with_name(DAMAGED + bad.name)
                if aside.exists():
                    _discard(aside)
                bad.rename(aside)
    except OSError as error:
        raise CheckpointError(f"a damaged checkpoint cannot be set aside: {error}; permit writing in {run}") from error
    for report in reports:
        log.warning("%s; going on from %s instead", report, path.name)
    return path, reports


def withdraw(run: Path, since: int) -> int:
    """Set checkpoints of step `since` and later aside as unhealthy-step-..., and return the step of the newest before.

    Raises:
        CheckpointError: none is left, or the folder cannot be written.
    """
    found = checkpoints(run)
    before = [path for path in found if step_of(path) < since and not damage(path)]
    if not before:
        kept = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(
            f"{run} has no checkpoint from before step {since:,} to go back to (there are: {kept}): save more often "
            "(loop.save_every) or keep more (loop.keep)"
        )
    try:
        for path in found:
            if step_of(path) > step_of(before[-1]):
                aside = path.with_name(UNHEALTHY + path.name)
                if aside.exists():
                    _discard(aside)
                path.rename(aside)
    except OSError as error:
        raise CheckpointError(f"a checkpoint cannot be set aside: {error}; permit writing in {run}") from error
    return step_of(before[-1])


def sweep(run: Path) -> None:
    """Remove what an interrupted save left.

    Raises:
        CheckpointError: it cannot be removed.
    """
    for path in (run / "checkpoints").glob(f"{TEMPORARY}*"):
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise CheckpointError(f"{path}, left by a save, cannot be removed: {error.strerror}") from error


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Make the run folder and hold it as the only writer. The kernel frees it with the process, however that ends.

    Raises:
        CheckpointError: another process writes there, or the folder cannot be made.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / ".lock").open("a+")
    except OSError as error:
        raise CheckpointError(
            f"run folder {run} cannot be written: {error.strerror}; choose another with --out"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CheckpointError(
                f"{run} is being written by process {file.read().strip() or '?'}; wait for it, stop it, or choose "
                "another folder with --out"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def weights(run: Path, method: nn.Module, at: str = NEWEST) -> int:
    """Fill `method` from a checkpoint of a run, and return its step.

    at: "newest" that is undamaged, "best-by-radar" (the step that the newest one names as the best), or a step.
    Raises:
        CheckpointError: there is none, it is damaged, or it belongs to another method or configuration.
    """
    path, reports = newest(run)
    if at == NEWEST:
        for report in reports:
            log.warning("%s; using %s instead", report, path.name)
    else:
        path = chosen(run, at)
    checkpoint = read(path)
    fill(method, checkpoint, path)
    return checkpoint.step


def chosen(run: Path, at: str) -> Path:
    """The checkpoint that "best-by-radar" or a step names.

    Raises:
        CheckpointError: there is none of that step, or the radar has seen no healthy one.
    """
    found, best = {step_of(path): path for path in checkpoints(run)}, best_step(run)
    step = best if at == BEST else int(at) if at.isdecimal() else None
    if step in found:
        return found[step]  # type: ignore[index]
    there = ", ".join([NEWEST, *([BEST] if best in found else []), *map(str, found)])
    missing = "that the radar found healthy" if at == BEST else repr(at)
    raise CheckpointError(f"{run} has no checkpoint {missing}: choose among {there}")


def best_step(run: Path) -> int | None:
    """The step that the radar found best, as the newest checkpoint tells; None if it found none.

    Raises:
        CheckpointError: there is no undamaged checkpoint.
    """
    step = int(json.loads((newest(run)[0] / STATE).read_bytes()).get("best_step", -1))
    return step if step >= 0 else None


def capture(step: int, method: nn.Module, optimizer: torch.optim.Optimizer, state: Json) -> Checkpoint:
    """A checkpoint of a method and its optimizer; the tensors are copies on the CPU."""
    names: dict[Tensor, str] = {p: name for name, p in method.named_parameters()}
    moments = {f"{names[p]}/{kind}": value for p, kept in optimizer.state.items() for kind, value in kept.items()}
    return Checkpoint(step, _copied(method.state_dict()), _copied(moments), {**state, "format": FORMAT, "step": step})


def restore(checkpoint: Checkpoint, method: nn.Module, optimizer: torch.optim.Optimizer, source: Path) -> None:
    """Put method and optimizer back as they were; `source` is named in errors.

    Raises:
        CheckpointError: they have other names or shapes.
    """
    fill(method, checkpoint, source)
    parameters, kept = dict(method.named_parameters()), {}
    for key, value in checkpoint.optimizer.items():
        name, _, kind = key.rpartition("/")
        like = parameters.get(name)
        if like is not None and like.shape == value.shape:
            # The fused optimizer walks through memory, so moments must lie as their parameter does (channels last).
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        kept.setdefault(name, {})[kind] = value
    names: dict[Tensor, str] = {p: name for name, p in parameters.items()}
    trained = [names[p] for group in optimizer.param_groups for p in group["params"]]
    if not set(kept) <= set(trained):
        unknown = sorted(set(kept) - set(trained))[:4]
        raise CheckpointError(f"{source} has optimizer state of {unknown}, which do not train here; use --fresh")
    numbered = {i: kept[name] for i, name in enumerate(trained) if name in kept}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": numbered})


def fill(method: nn.Module, checkpoint: Checkpoint, source: Path) -> None:
    """Give a method the weights of a checkpoint; source: what messages name.

    Raises:
        CheckpointError: they are of another method or configuration.
    """
    own = {name: tuple(value.shape) for name, value in method.state_dict().items()}
    told = {name: tuple(value.shape) for name, value in checkpoint.model.items()}
    wrong = [
        f"{n} {told.get(n, 'absent')} / {own.get(n, 'absent')}" for n in {**own, **told} if own.get(n) != told.get(n)
    ]
    if wrong:
        raise CheckpointError(
            f"{source} does not fit {type(method).__name__}: {len(wrong)} of {len({**own, **told})} tensors differ "
            f"(checkpoint / method): {'; '.join(wrong[:4])}. Use the configuration that wrote it, or --fresh"
        )
    method.load_state_dict(checkpoint.model)


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}


def _bytes(checkpoint: Checkpoint, file: str) -> bytes:
    if file == STATE:
        return json.dumps(checkpoint.state, indent=1, allow_nan=False).encode()
    return serialized(checkpoint.model if file == MODEL else checkpoint.optimizer)


def _sealed(manifest: dict[str, dict[str, object]]) -> bytes:
    """The manifest as it must be, byte for byte: the files and a checksum over them."""
    seal = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return json.dumps({"files": manifest, "sha256": seal}, sort_keys=True, indent=1).encode()


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(path: Path) -> None:
    """Delete a folder so that half of it is never taken for a whole."""
    doomed = path.with_name(f"{TEMPORARY}old-{path.name}")
    path.rename(doomed)
    shutil.rmtree(doomed)
