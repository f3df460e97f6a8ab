"""Frames of any source as small uint8 images."""

from __future__ import annotations

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from ..errors import DataError


def small(frame: UInt8[np.ndarray, "h w C"], size: int) -> UInt8[np.ndarray, "H W C"]:
    """The middle square of a frame, resized to `size` (bicubic, antialiased); the frame itself for size 0."""
    height, width = frame.shape[:2]
    if size == 0 or (height, width) == (size, size):
        return frame
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = np.ascontiguousarray(frame[top : top + side, left : left + side])
    image = Image.fromarray(square[..., 0] if square.shape[2] == 1 else square)
    reduced = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(reduced).reshape(size, size, -1)


def as_frames(values: Shaped[np.ndarray, "T a b c"], size: int) -> UInt8[np.ndarray, "T H W C"]:
    """Images of any layout as uint8 [T, size, size, C], C 1 or 3; of their own size for size 0.

    values: [T, h, w, C] or [T, C, h, w]; uint8, or floating point in [0, 1] or [0, 255] (told apart by the largest).
    Transparency is left out.
    Raises:
        DataError: another type, NaN, or numbers outside both ranges.
    """
    if values.shape[-1] not in (1, 3, 4):
        values = values.transpose(0, 2, 3, 1)
    values = values[..., :3] if values.shape[-1] == 4 else values
    if values.dtype != np.uint8:
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        if not 0 <= low <= high <= 255:
            raise DataError(f"images are {values.dtype} from {low:g} to {high:g}: 0 to 1 or 0 to 255 is needed")
        scaled = values * 255.0 if high <= 1 and values.dtype.kind == "f" else values
        values = np.rint(scaled).astype(np.uint8)
    return np.stack([small(frame, size) for frame in values])
