"""The values that flow through the library. Axis letters are in docs/glossary.md.

What is in a batch (whoever makes data converts to this table; `index` is always there):

| key | shape, dtype | meaning |
|---|---|---|
| index | [B] int64 | identity of each row in its data set |
| image | [B, C, h, w]; in episodes [B, T, C, h, w] | uint8 until `prepare` normalises it on the device, then float32 |
| normalization | [B, 2, C] float32 | mean and std, of values in [0, 1], by which `image` was normalized |
| video | [B, T, C, h, w] | as image |
| action, proprio, state, reward, terminated | [B, T, A], [B, T, P], [B, T, S], [B, T], [B, T] | action t leaves \
observation t and produces observation t + 1; `state` is the truth for probes, never an input |
| points, wave, spectrogram, signal, text | [B, n, 3], [B, c, n], [B, c, time, frequency], [B, channel, n], [B, n] | |
| label, mask | [B], [B, h, w] int64 | for probes |
| episode | [B] int64 | number of the episode that a window is from |
| valid | [B, n] bool | where rows are of unequal length |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

Terms = dict[str, Float[Tensor, ""]]  # named scalar energies; their weights live in the method
Batch = dict[str, Tensor]
Range = tuple[float, float]


@dataclass(frozen=True)
class Tokens:
    """A set of embeddings, each with the coordinates of what it describes.

    x:     [B, N, D] embeddings.
    pos:   [B, N, P] coordinates: P = 1 for text, waveforms and latents of a trajectory (index), 2 for images (row,
           column in patches), 3 for video (time, row, column) and for points (x, y, z); the tokenizer states the unit.
    valid: [B, N] True where a token is real; None when all are.
    """

    x: Float[Tensor, "B N D"]
    pos: Float[Tensor, "B N P"]
    valid: Bool[Tensor, "B N"] | None = None

    @staticmethod
    def joined(parts: Sequence[Tokens]) -> Tokens:
        """The data of several batches as one, in float32; all have as many tokens and coordinates."""
        valid = None if any(part.valid is None for part in parts) else torch.cat([part.valid for part in parts])  # type: ignore[misc]
        return Tokens(torch.cat([part.x.float() for part in parts]), torch.cat([part.pos for part in parts]), valid)

    @staticmethod
    def over_time(z: Float[Tensor, "B T D"]) -> Tokens:
        """One token for each step of trajectories; its coordinate is the step."""
        step = torch.arange(z.shape[1], device=z.device, dtype=torch.float32)
        return Tokens(z, step[:, None].expand(len(z), -1, 1))

    def take(self, index: Int[Tensor, "B K"]) -> Tokens:
        """The tokens at `index`; a set operation, so the order follows `index`."""
        valid = None if self.valid is None else self.valid.gather(1, index)
        return Tokens(gather(self.x, index), gather(self.pos, index), valid)

    def pooled(self) -> Float[Tensor, "B D"]:
        """The mean of the valid tokens, the representation of the whole datum."""
        if self.valid is None:
            return self.x.mean(1)
        weight = self.valid.to(self.x.dtype).unsqueeze(-1)
        return (self.x * weight).sum(1) / weight.sum(1).clamp_min(1)


@dataclass(frozen=True)
class Masks:
    """Which tokens the context encoder sees, and which tokens the predictor must produce.

    context: [B, K] indices; targets: [B, M, Kt] indices of M target blocks. K is one number per step, so that shapes
    are static within a step and on every rank.
    """

    context: Int[Tensor, "B K"]
    targets: Int[Tensor, "B M Kt"]


@dataclass(frozen=True)
class Forecast:
    """What a method predicted and what came, for diagnosis.

    predicted, target: [n, D]. What simpler predictors would go by, None where that has no meaning: last: [n, D] the
    last observed latent; seen: [n, D] the mean embedding of the context, made as targets are; place: [n] the number of
    the place (patch) that each target stands at.
    """

    predicted: Float[Tensor, "n D"]
    target: Float[Tensor, "n D"]
    last: Float[Tensor, "n D"] | None = None
    seen: Float[Tensor, "n D"] | None = None
    place: Int[Tensor, " n"] | None = None

    @staticmethod
    def joined(parts: Sequence[Forecast]) -> Forecast:
        """Several as one, in float32; what one of them lacks is left out."""

        def together(name: str) -> Tensor | None:
            held = [getattr(part, name) for part in parts]
            return None if any(part is None for part in held) else torch.cat(held)

        found = {field.name: together(field.name) for field in fields(Forecast)}
        return Forecast(**{name: x if x is None or name == "place" else x.float() for name, x in found.items()})  # type: ignore[arg-type]


def gather(x: Shaped[Tensor, "B N D"], index: Int[Tensor, "B *K"]) -> Shaped[Tensor, "B *K D"]:
    """Rows of `x` at `index`, per batch element: x [B, N, D], index [B, ...] -> [B, ..., D]."""
    flat = index.flatten(1)
    picked = x.gather(1, flat.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
    return picked.unflatten(1, index.shape[1:]) if index.ndim > 2 else picked
