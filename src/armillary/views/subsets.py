"""Uniformly random subsets of tokens, one per sample: the masks of masked autoencoders."""

from __future__ import annotations

from jaxtyping import Int, Shaped
from torch import Tensor

from ..errors import ConfigError
from ..randomness import Random


def random_masks(
    count: int, keep: int, random: Random, stream: str = "subset"
) -> tuple[Int[Tensor, "B K"], Int[Tensor, "B M"]]:
    """A random subset of `keep` of `count` tokens for each sample, and the others: visible and hidden indices.

    Raises:
        ConfigError: `keep` is not from 1 to `count`.
    Source: MAE (arXiv 2111.06377), section 3: random sampling without replacement, uniform; it keeps 25 %.
    """
    return split_by(random.bits(stream, count), keep)


def split_by(noise: Shaped[Tensor, "B N"], keep: int) -> tuple[Int[Tensor, "B K"], Int[Tensor, "B M"]]:
    """Indices of the `keep` smallest values of each row, smallest first, and of the others in the same order.

    Concatenated they are the permutation of facebookresearch/mae:models_mae.py; its argsort restores the tokens.
    Raises:
        ConfigError: `keep` is not from 1 to the number of values.
    """
    if not 1 <= keep <= noise.shape[1]:
        raise ConfigError(f"{keep} of {noise.shape[1]} tokens cannot be kept: keep at least 1 and at most all")
    order = noise.argsort(dim=1, stable=True)
    return order[:, :keep], order[:, keep:]
