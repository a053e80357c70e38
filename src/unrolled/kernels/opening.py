"""How do bytes become weights? Each group of 32 inputs of an output as so many 16-bit numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

from llvmlite import ir

from unrolled.kernels.formats import GROUP
from unrolled.kernels.vectors import INT8, INT16, INT32, INT64, Rows, Vectors

Opened = Callable[[Any], Any]
"""From the number of a group's first input to code that makes its weights."""


def opened(
    v: Vectors, format: str, values: Rows, groups: Rows, outputs: list[Any], ask: Any = None
) -> list[Opened]:
    """For each of some outputs, what opens it; `ask`, where given, prefetches for all of int8."""
    w_rows = [values.row(o) for o in outputs]
    found: list[Opened]
    if format == "int8":
        found = _int8(v, w_rows, ask)
    else:
        found = _int4(v, w_rows, [groups.row(o) for o in outputs])
    return found


@no_type_check
def _int8(v: Vectors, w_rows: list, ask: Any) -> list:
    """For each output, what gives the weights of inputs k to k + GROUP as 16-bit numbers."""

    def of(row):
        def weights(k):
            if ask and row is w_rows[0]:
                ask(k)
            return v.builder.sext(v.load(row, INT8, k, GROUP), ir.VectorType(INT16, GROUP))

        return weights

    return [of(row) for row in w_rows]


@no_type_check
def _int4(v: Vectors, w_rows: list, group_rows: list) -> list:
    """As `_int8`: 16 bytes opened into the 32 numbers a q + m of a group.

    It doesn't prefetch: that takes registers, and opening takes longer than the bytes take to come.
    """
    b, half = v.builder, GROUP // 2
    # Hidden, or LLVM would mask and shift the bytes before it widens them, and so widen twice.
    fifteen, four = (v.same(b.trunc(v.hidden(INT32(n)), INT16), half) for n in (15, 4))

    def of(row, groups):
        def weights(k):
            byte, pair = (b.udiv(k, INT64(n)) for n in (2, half))
            both = b.zext(v.load(row, INT8, byte, half), ir.VectorType(INT16, half))
            codes = v.pick(b.and_(both, fifteen), b.lshr(both, four), range(GROUP))
            a, m = (v.load(groups, INT16, b.add(pair, INT64(i))) for i in (0, 1))
            return b.add(b.mul(codes, v.same(a, GROUP)), v.same(m, GROUP))

        return weights

    return [of(*rows) for rows in zip(w_rows, group_rows, strict=True)]
