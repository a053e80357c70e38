"""How do some threads take one step together? All run the same function and meet at barriers.

Each thread takes its share of a phase's work, then waits until all have finished it. A step of
decoding has some ten phases a layer, each of microseconds: forking and joining threads for each
would cost more than the work. A thread that waits looks at a counter in memory again and again, and
after a while lets the system run somebody else in between (Mellor-Crummey and Scott 1991, section
3, the centralised barrier, here with a counter that only grows).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from unrolled.kernels.compiling import compiled

PATIENCE = 4_000
"""Looks at the counter before the system is asked to run somebody else."""
LEAVE = 64
"""Place of the flag that a thread failed: another cache line than the counter's."""

if os.name == "posix":
    _yield = types.ExternalFunction("sched_yield", types.int32())
else:
    _yield = types.ExternalFunction("SwitchToThread", types.int32())  # in kernel32


def _pointer(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [place])


@intrinsic
def _add(typing: Any, array: Any) -> Any:
    """Count one more thread; what it wrote before is there for those who see it counted."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = ir.Constant(ir.IntType(64), 0)
        counter = _pointer(context, builder, signature.args[0], arguments[0], place)
        builder.atomic_rmw("add", counter, ir.Constant(ir.IntType(64), 1), "acq_rel")
        return context.get_dummy_value()

    return types.void(array), generate


@intrinsic
def _look(typing: Any, array: Any, place: Any) -> Any:
    """The counter or the flag as it is now."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counter = _pointer(context, builder, signature.args[0], *arguments)
        return builder.load_atomic(counter, "acquire", 8)

    return types.int64(array, types.int64), generate


@compiled
@no_type_check
def meet(barrier, due):
    """Wait until `due` arrivals have been counted, this one among them.

    The n-th meeting of T threads is due at n T.
    """
    _add(barrier)
    looks = 0
    while _look(barrier, 0) < due:
        looks += 1
        if looks > PATIENCE:
            if _look(barrier, LEAVE) != 0:
                return
            _yield()


@compiled
@no_type_check
def share(count, unit, thread, threads):
    """The first and the end of a thread's part of `count` things, cut at multiples of `unit`."""
    units = (count + unit - 1) // unit
    first = units * thread // threads * unit
    return min(first, count), min(units * (thread + 1) // threads * unit, count)


class Team:
    """Threads that are kept; the caller is the first of them."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def run(self, work: Callable[[np.ndarray, int, int], object], threads: int) -> None:
        """Call work(barrier, thread, threads) in each of `threads` threads.

        Not from two threads at once: each call could then hold some that the other waits for.
        """
        barrier = np.zeros(2 * LEAVE, np.int64)

        def part(thread: int) -> None:
            try:
                work(barrier, thread, threads)
            except BaseException:
                barrier[LEAVE] = 1
                raise

        if threads > 1 and (self._pool is None or self._process != os.getpid()):
            # A forked process has its parent's pool, but none of its threads.
            self._pool, self._process = ThreadPoolExecutor(self.threads - 1), os.getpid()
        try:
            others = [self._pool.submit(part, i) for i in range(1, threads)] if self._pool else []
            part(0)
        except BaseException:
            barrier[LEAVE] = 1  # an interrupt between the two: nobody waits for ever
            raise
        for other in others:
            other.result()
