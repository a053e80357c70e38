"""Why does the same step take longer on some systems? Memory that is returned and fetched again.

glibc returns large freed blocks to the kernel at once, and the kernel clears every page it hands
out again: on a training step, whose tensors come and go, that is several percent of the time.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 1 << 30


def keep_freed_memory() -> bool:
    """Let freed blocks stay with the process; returns whether this system's allocator could."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False  # another C library than glibc
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, LARGEST))
