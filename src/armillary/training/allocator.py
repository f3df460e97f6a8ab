"""Memory that the C library keeps instead of returning it to the system after every step."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGE = 1 << 30


def keep_memory() -> bool:
    """Let glibc reuse large blocks rather than map and zero fresh pages for each; returns whether it took effect.

    Training allocates and frees the same large activations in every step; by default each of them is a new mapping,
    whose pages the kernel zeroes one fault at a time. What it gains: benchmarks/allocator.py. Elsewhere than on glibc
    nothing happens.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE)) and bool(mallopt(M_TRIM_THRESHOLD, LARGE))
