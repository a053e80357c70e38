"""How does a kernel run on PyTorch's own threads? By the OpenMP that PyTorch brought along.

A step of training goes back and forth between PyTorch's operations and compiled kernels. PyTorch's
threads look for more work for some milliseconds after each operation; threads of our own would
wait for a processor as long. So the kernel is a C function, and `GOMP_parallel`, which PyTorch's
library has loaded, calls it in each of them: void kernel(job *), where `job` begins with two
counters: the next piece of work to take, and how many are done.
"""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic


def _counting(field: int) -> Any:
    """A function that adds 1 to a field of an array of one job, and returns what it was."""

    def count(typing: Any, job: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            word = context.get_value_type(types.int64)
            first = builder.bitcast(data, word.as_pointer())
            counter = builder.gep(first, [word(field)], source_etype=word)
            return builder.atomic_rmw("add", counter, word(1), "monotonic")

        return types.int64(job), generate

    return intrinsic(count)


claim, finish = _counting(0), _counting(1)
"""claim(job) is the number of the next piece of work that nobody has taken, counted in the job's
first field; finish(job) counts in the second one that a piece is done."""


def _pointer(of: Any) -> Any:
    """A function that makes a pointer to `of` from its number."""

    def pointer(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(of)(address), generate

    return intrinsic(pointer)


floats_at, ints_at = _pointer(types.float32), _pointer(types.int32)


def c_function(function: Callable[..., Any], job: np.dtype[Any]) -> Any:
    """The machine code of a function of an array of one `job`, kept on the disk as `kept` does."""
    kind = types.void(types.CPointer(numba.from_dtype(job)))
    bare = inspect.unwrap(function)
    try:
        return numba.cfunc(kind, error_model="numpy", cache=True)(bare)
    except Exception:  # no folder to keep it in, no room there, or what was kept is damaged
        return numba.cfunc(kind, error_model="numpy")(bare)


@cache
def _openmp() -> Any:
    """GOMP_parallel(function, data, threads, flags) of this process, or None."""
    try:
        function = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


def run(kernel: Any, job: np.ndarray, pieces: int, threads: int) -> None:
    """Call a C function with the job in each of `threads` threads; return when all have ended.

    Raises `MemoryError` if not all pieces were done: a C function can't raise it.
    """
    where = job.ctypes.data
    if threads == 1:
        kernel.ctypes(where)
    elif (parallel := _openmp()) is not None:
        parallel(kernel.address, where, threads, 0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(kernel.ctypes, [where] * threads))
    if job["done"][0] != pieces:
        raise MemoryError("a compiled kernel found no room for its work")
