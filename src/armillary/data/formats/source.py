"""Encoded images and their labels, wherever they are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from ...errors import DataError
from ..dataset import held_out

TEST_SHARE = 0.1  # of the rows, where the data come without a test part
TEST_NAMES = ("test", "val", "validation", "valid")  # the first that exists is the test part


@dataclass(frozen=True)
class Source:
    """Encoded images, one per row.

    names: of the rows, for messages. read: the encoded image of a row. labels: [n] places in `classes`, or None. mask:
    the encoded mask of a row, or None.
    """

    names: Sequence[str]
    read: Callable[[int], bytes]
    labels: Int64[np.ndarray, " n"] | None = None
    classes: tuple[str, ...] = ()
    mask: Callable[[int], bytes] | None = None

    def rows(self, keep: Bool[np.ndarray, " n"]) -> Source:
        """The rows where `keep` is True."""
        places = np.flatnonzero(keep)
        labels = None if self.labels is None else self.labels[places]
        names = [self.names[i] for i in places.tolist()]
        mask = self.mask
        moved = None if mask is None else lambda row: mask(int(places[row]))
        return Source(names, lambda row: self.read(int(places[row])), labels, self.classes, moved)

    def part(self, split: str) -> Source:
        """The train or test rows of images without a test part: a tenth is held out, chosen by a hash of the names.

        Raises:
            DataError: there is one image only and the test part is asked for.
        """
        test = held_out(self.names, TEST_SHARE)
        if split == "test" and not test.any():
            raise DataError(f"{len(self.names)} image cannot be split: give at least 2, or a test part beside `train`")
        return self.rows(test if split == "test" else ~test)
