"""Memory that a training step frees and the next one takes again.

glibc gives large blocks back to the system as soon as they are freed, and the system clears every
page of them before the next step has it: up to a tenth of the time of a convolutional network.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of `mallopt(3)`: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h."""


def keep_freed_memory() -> bool:
    """Let this process keep up to 2 GiB of freed memory, in blocks below 1 GiB.

    For processes of our own alone: it concerns all that runs in them. Returns whether the C library
    is one that can (glibc).
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not mallopt(TRIM_THRESHOLD, 2**31 - 1):
        return False
    # Before glibc 2.35 no threshold is above 32 MiB.
    return bool(mallopt(MMAP_THRESHOLD, 2**30) or mallopt(MMAP_THRESHOLD, 2**25))
