"""Random numbers as a pure function of (seed, stream, step, sample). There is no state to save or to lose.

A SplitMix64 finaliser (Steele, Lea and Flood, 2014) on int64 tensors, so the numbers are the same on every device, for
every batch in which a sample lands and on every rank.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer: the increment of SplitMix64
WORD = 0xFFFFFFFFFFFFFFFF
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # SplitMix64's multipliers


def mix(x: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """SplitMix64's finaliser: a bijection of 64 bits whose outputs look independent."""
    return _mixed_array(x) if x.device.type == "cpu" else _mixed_tensor(x)


def _mixed_array(x: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """NumPy has unsigned words: two to three times faster than torch on the few numbers of a batch."""
    word = x.numpy().view(np.uint64)
    word = word ^ (word >> np.uint64(30))
    word *= np.uint64(FIRST)
    word ^= word >> np.uint64(27)
    word *= np.uint64(SECOND)
    word ^= word >> np.uint64(31)
    return torch.from_numpy(word.view(np.int64))


def _mixed_tensor(x: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """The same on signed words: the copies of the sign that a shift brings in are masked off."""
    x = (x >> 30).bitwise_and_(0x3FFFFFFFF).bitwise_xor_(x).mul_(_signed(FIRST))
    x = (x >> 27).bitwise_and_(0x1FFFFFFFFF).bitwise_xor_(x).mul_(_signed(SECOND))
    return (x >> 31).bitwise_and_(0x1FFFFFFFF).bitwise_xor_(x)


def _signed(value: int) -> int:
    """The low 64 bits of a Python integer as int64 sees them."""
    return ((value + (1 << 63)) & WORD) - (1 << 63)


def _mixed(value: int) -> int:
    """`mix` of one number, in Python: a key is needed for every call, and tensors of one number are slow."""
    value &= WORD
    value = ((value ^ (value >> 30)) * FIRST) & WORD
    value = ((value ^ (value >> 27)) * SECOND) & WORD
    return value ^ (value >> 31)


def _key(seed: int, stream: str, step: int) -> int:
    """One number for (seed, stream, step), by the same mixing."""
    low, high = zlib.crc32(stream.encode()), zlib.crc32(b"armillary/" + stream.encode())
    first = _mixed(((high << 32) | low) ^ (seed * GOLDEN))
    return _signed(_mixed(first + step * GOLDEN))


@dataclass(frozen=True, eq=False)
class Random:
    """Counter-based random numbers: a function of (seed, stream, step, sample) and nothing else.

    seed: of the run. step: of the optimiser, 1 for the first; 0 outside training. sample: [B] int64 identities of the
    batch's rows (position in the data set, or environment number). A stream is a name; equal names give equal numbers.
    """

    seed: int
    step: int
    sample: Int[Tensor, " B"]

    def bits(self, stream: str, count: int) -> Int[Tensor, "B count"]:
        """64 random bits for each sample and each of `count` places, as int64."""
        device = self.sample.device
        key = mix(self.sample + _key(self.seed, stream, self.step))
        return mix(key[:, None] + torch.arange(1, count + 1, device=device) * GOLDEN)

    def uniform(self, stream: str, *shape: int) -> Float[Tensor, "B *shape"]:
        """float32 in [0, 1), one row per sample: [B, *shape]."""
        count = math.prod(shape)
        value = ((self.bits(stream, count) >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24
        return value.view(len(self.sample), *shape)

    def normal(self, stream: str, *shape: int) -> Float[Tensor, "B *shape"]:
        """float32 standard normal, one row per sample: [B, *shape] (Box-Muller on two halves of one word)."""
        bits = self.bits(stream, math.prod(shape))
        radius = (((bits >> 40) & 0xFFFFFF).to(torch.float32) + 1) * 2.0**-24  # in (0, 1]: the logarithm is finite
        angle = ((bits >> 8) & 0xFFFFFF).to(torch.float32) * (2 * math.pi * 2.0**-24)
        return ((-2 * radius.log()).sqrt() * angle.cos()).view(len(self.sample), *shape)

    def integers(self, stream: str, high: int, *shape: int) -> Int[Tensor, "B *shape"]:
        """int64 in [0, high), one row per sample: [B, *shape]; the bias is below high / 2^32."""
        return ((((self.bits(stream, math.prod(shape)) >> 32) & 0xFFFFFFFF) * high) >> 32).view(
            len(self.sample), *shape
        )

    def order(self, stream: str, n: int) -> Int[Tensor, "B n"]:
        """A uniform permutation of n places per sample."""
        return self.bits(stream, n).argsort(dim=1, stable=True)

    def shared(self, stream: str) -> torch.Generator:
        """A CPU generator for what belongs to the step and not to a sample, equal on every rank."""
        return torch.Generator().manual_seed(_key(self.seed, stream, self.step) & 0x7FFFFFFFFFFFFFFF)

    def child(self, salt: int) -> Random:
        """Other numbers for the same samples: of another view, rollout or repetition."""
        return Random(self.seed * 1_000_003 + salt + 1, self.step, self.sample)


def numbered(count: int, seed: int = 0, step: int = 0, device: torch.device | str = "cpu") -> Random:
    """A `Random` for rows 0..count-1, for callers whose rows have no identity of their own."""
    return Random(seed, step, torch.arange(count, device=device))
