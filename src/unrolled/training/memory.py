"""Why does the same step take longer, or more memory, on some systems? What PyTorch stands on.

glibc returns large freed blocks to the kernel at once, and the kernel clears every page it hands
out again: on a training step, whose tensors come and go, that is several percent of the time, and
on a step of decoding, whose log-probabilities of all tokens do, as many.
oneDNN, which computes bfloat16 products, keeps its last 1,024 kernels with their working memory,
one for each shape: batches of many shapes fill half a gigabyte, and are no faster for it.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 1 << 30
KERNELS = 100
"""oneDNN's; a step of a Transformer needs about 30 a shape."""


def keep_freed_memory() -> bool:
    """Let freed blocks stay with the process; returns whether this system's allocator could."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False  # another C library than glibc
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, LARGEST))


def keep_few_kernels() -> None:
    """Bound oneDNN's store of kernels, unless the user has; works before the first product only."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
