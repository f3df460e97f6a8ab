"""Features of a data set under a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from ..errors import DataError, ShapeError
from ..functional.position import grid
from ..randomness import numbered
from ..types import Batch, Tokens

Encode = Callable[[Batch], Tokens]
ORIGIN = {  # of targets, for those who lack them
    "label": "labels come from a folder per class, or from the Parquet column that data.label names",
    "mask": "masks come from the Parquet column, or from the folder beside the images, that data.mask names",
}


@runtime_checkable
class Rows(Protocol):
    """What is read here of a data set; every `armillary.data` data set is one."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def batch(self, index: Int64[Tensor, " B"]) -> Batch:
        """Raw rows."""
        ...

    def prepare(self, batch: Batch) -> Batch:
        """Raw rows as encoders receive them."""
        ...


@dataclass(frozen=True)
class Features:
    """Representations and what probes shall read from them.

    x: [n, D], or [n, N, D] where tokens were kept. y: [n] int64 classes, [n, S] physical quantities, or [n, h, w] int32
    classes of pixels.
    index: [n] the row of the data set; probes of equal rows can be compared row by row. group: [n] what was drawn
    independently, the episode of a frame or else the row itself: intervals resample groups. pos: [n, N, P] where the
    tokens are, if they were kept.
    """

    x: Float[Tensor, "n *N D"]
    y: Shaped[Tensor, "n *S"]
    index: Int64[Tensor, " n"]
    group: Int64[Tensor, " n"]
    pos: Float[Tensor, "n N P"] | None = None

    def pooled(self) -> Features:
        """The same rows with the mean of their tokens."""
        return self if self.x.ndim == 2 else Features(self.x.mean(1), self.y, self.index, self.group)


def raw_input(key: str) -> Encode:
    """An encoder that returns its input `batch[key]` as one token: the floor for every probe."""

    def encode(batch: Batch) -> Tokens:
        x = batch[key].flatten(1).float()[:, None]
        return Tokens(x, torch.zeros_like(x[..., :1]))

    return encode


def raw_patches(key: str, rows: int, columns: int) -> Encode:
    """An encoder that returns the pixels of each cell of a grid over images: the floor for probes of tokens.

    Tokens [B, rows * columns, C * p * q] in raster order; images that do not fill the grid evenly are resized to the
    next larger size that does.
    """

    def encode(batch: Batch) -> Tokens:
        image = batch[key].float()
        height, width = -(-image.shape[-2] // rows), -(-image.shape[-1] // columns)
        if image.shape[-2:] != (height * rows, width * columns):
            image = F.interpolate(image, (height * rows, width * columns), mode="bilinear", antialias=True)
        x = F.unfold(image, (height, width), stride=(height, width)).transpose(1, 2)
        return Tokens(x, grid(rows, columns, image.device).expand(len(x), -1, -1))

    return encode


def extract(
    encode: Encode,
    dataset: Rows,
    target: str = "label",
    count: int | None = None,
    batch: int = 256,
    device: torch.device | str = "cpu",
    pool: bool = True,
) -> Features:
    """Encode rows of a data set without gradient and in evaluation mode, in the order of the rows.

    Args:
        encode: e.g. `method.encode`; the module that it belongs to returns to its mode afterwards.
        target: key of the batch that is to be read: "label", "mask", or "state" for physical quantities.
        count: a random part of so many rows, the same at every call; default all.
        pool: mean over the tokens of a datum; otherwise x is [n, N, D] with `pos`. Where the target has a time axis
            [B, T, S], the tokens must be those of its T frames in turn, and each frame becomes a row of its own, its
            tokens side by side.
    Raises:
        DataError: there are no rows, they have no such target, or `count` is not positive.
        ShapeError: a target per frame, and tokens that cannot be shared out among the frames.
    """
    rows = selected(len(dataset), count)
    parts: list[Features] = []
    with _evaluation(encode), torch.no_grad():
        for index in rows.split(batch):
            raw = dataset.batch(index)
            if target not in raw:
                held, origin = ", ".join(sorted(raw)), ORIGIN.get(target, "take other data")
                raise DataError(f"this probe needs {target!r}, the rows hold only {held}; {origin}")
            tokens = encode(dataset.prepare({key: value.to(device) for key, value in raw.items()}))
            parts.append(_features(tokens, raw[target], index, raw.get("episode", index), pool))
    names = [name for name in ("x", "y", "index", "group", "pos") if getattr(parts[0], name) is not None]
    return Features(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def selected(n: int, count: int | None) -> Int64[Tensor, " m"]:
    """Which of `n` rows `extract` reads where `count` are asked for, in their order.

    Raises:
        DataError: none.
    """
    if n < 1 or (count is not None and count < 1):
        raise DataError(f"{n if count is None else count} of {n} rows were asked for: at least 1 is needed")
    if count is None or count >= n:
        return torch.arange(n)
    return numbered(1).order("extract", n)[0, :count].sort().values


def _features(tokens: Tokens, y: Tensor, index: Tensor, group: Tensor, pool: bool) -> Features:
    if y.ndim < 3 or not y.is_floating_point():
        y = y if y.ndim < 3 else y.to(torch.int32)  # masks of pixels, which are many
        if pool:
            return Features(tokens.pooled().float().cpu(), y, index, group)
        if tokens.valid is not None and not bool(tokens.valid.all()):
            raise ShapeError("rows have unequal numbers of tokens, which cannot be kept side by side: pool them")
        return Features(tokens.x.float().cpu(), y, index, group, tokens.pos.float().cpu())
    frames, count = y.shape[1], tokens.x.shape[1]
    if not frames or not count or count % frames:
        raise ShapeError(f"the target has {frames} frames, the encoder gave {count} tokens: give as many for each")
    x = tokens.x.float().cpu().unflatten(1, (frames, -1)).flatten(2).flatten(0, 1)  # a frame's tokens side by side
    y = y.flatten(0, 1)
    return Features(x, y, index.repeat_interleave(frames), group.repeat_interleave(frames))


@contextmanager
def _evaluation(encode: Encode):
    """The module behind `encode`, if there is one, in evaluation mode; each part in its own mode again afterwards."""
    owner = getattr(encode, "__self__", encode)
    modules = list(owner.modules()) if isinstance(owner, nn.Module) else []
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
