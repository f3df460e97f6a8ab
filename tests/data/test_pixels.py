"""Frames of any layout and type become the same small images."""

import numpy as np
import pytest

from armillary.data.pixels import as_frames, small
from armillary.errors import DataError

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "given",
    [FRAMES.transpose(0, 3, 1, 2), FRAMES.astype(np.float32), FRAMES / 255, FRAMES.astype(np.int64),
     np.concatenate([FRAMES, FRAMES[..., :1]], -1)],
    ids=["channels first", "float to 255", "float to 1", "int64", "with transparency"],
)  # fmt: skip
def test_layouts_and_types_agree(given):
    assert np.array_equal(as_frames(given, 0), FRAMES)


def test_the_middle_square_is_resized_without_aliasing():
    stripes = np.zeros((64, 96, 3), np.uint8)
    stripes[:, ::2] = 200  # finer than the result can show
    stripes[:, :16] = stripes[:, 80:] = 255  # outside of the square
    out = small(stripes, 8)
    assert out.shape == (8, 8, 3) and np.abs(out.astype(int) - 100).max() <= 5


def test_gray_keeps_one_channel():
    assert as_frames(FRAMES[..., :1], 8).shape == (3, 8, 8, 1)
    assert np.array_equal(as_frames(FRAMES[..., :1], 0), FRAMES[..., :1])


@pytest.mark.parametrize("value", [-1.0, 256.0, np.nan])
def test_other_ranges_are_refused(value):
    with pytest.raises(DataError, match="0 to 1 or 0 to 255 is needed"):
        as_frames(np.full((1, 8, 8, 3), value), 0)
