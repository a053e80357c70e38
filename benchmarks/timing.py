"""Side by side, in turns: the machine's speed drifts, so only what ran in one run is compared."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median


def interleaved(
    contenders: Mapping[str, Callable[[], float]], *, rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Call each in turn, `rounds` times over; each call returns the work it did (tokens, FLOP, …).

    Returns the work per second of every call; the first `warm_up` rounds are dropped.
    """
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + warm_up):
        for name, work in contenders.items():
            start = time.perf_counter()
            done = work()
            seconds = time.perf_counter() - start
            if turn >= warm_up:
                rates[name].append(done / seconds)
    return rates


def peak_megabytes() -> float:
    """Most memory that this process has had, in megabytes of 2^20 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # macOS counts bytes


def spread(values: list[float]) -> str:
    """Median with the quartiles behind it, in thousands separators."""
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    return f"{median(values):,.0f} ({low:,.0f}–{high:,.0f})"
