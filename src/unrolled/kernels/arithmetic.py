"""Which functions of rows of numbers do attention and the step share? Sums, the largest, e^x.

The order of every sum is fixed by its length alone. An exponential is 2ⁿ e^r with a polynomial for
|r| ≤ ln 2 / 2 (Cephes' expf; measured to be within 1 unit of the last place), which the compiler
makes eight at a time.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from unrolled.kernels.compiling import compiled
from unrolled.kernels.vectors import FLOAT, INT32, INT64, Rows, Vectors

SUMS = 8
"""Sums that are made side by side; room for scores is a multiple of it."""


@intrinsic
@no_type_check
def dot(typing, a, b, count):
    """Σ a_i b_i of the first `count` numbers of two arrays of float32."""

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder)
        one, two = (
            Rows(context, builder, signature.args[i], arguments[i]).row(INT64(0)) for i in (0, 1)
        )
        count = arguments[2]

        def add(k, total, size):
            return v.plus_product(v.load(one, FLOAT, k, size), v.load(two, FLOAT, k, size), total)

        def eight(k, sums):
            return [
                add(builder.add(k, INT64(i * v.lanes)), total, v.lanes)
                for i, total in enumerate(sums)
            ]

        most, even = (builder.and_(count, INT64(-size)) for size in (SUMS * v.lanes, v.lanes))
        sums = v.loop(INT64(0), most, SUMS * v.lanes, [v.constant(FLOAT, 0, v.lanes)] * SUMS, eight)
        sums[:1] = v.loop(most, even, v.lanes, sums[:1], lambda k, s: [add(k, s[0], v.lanes)])
        each = v.totals(sums)
        total = builder.extract_element(each, INT32(0))
        for i in range(1, SUMS):
            total = builder.fadd(total, builder.extract_element(each, INT32(i)))
        rest = v.loop(even, count, 1, [v.vector([total])], lambda k, s: [add(k, s[0], 1)])
        return builder.extract_element(rest[0], INT32(0))

    return types.float32(a, b, types.int64), generate


@intrinsic
@no_type_check
def highest(typing, a, count):
    """The largest of the first `count` numbers of a float32 array, but for what is no number."""

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder)
        row, count = Rows(context, builder, a, arguments[0]).row(INT64(0)), arguments[1]

        def larger_of(best, some):
            return builder.select(builder.fcmp_ordered(">", some, best), some, best)

        def larger(k, best, size):
            return larger_of(best, v.load(row, FLOAT, k, size))

        def several(k, most):
            return [
                larger(builder.add(k, INT64(i * v.lanes)), best, v.lanes)
                for i, best in enumerate(most)
            ]

        even = builder.and_(count, INT64(-4 * v.lanes))
        lowest = v.constant(FLOAT, float("-inf"), v.lanes)
        most = v.loop(INT64(0), even, 4 * v.lanes, [lowest] * 4, several)
        best = v.halved(most, larger_of)
        (best,) = v.loop(even, count, 1, [best], lambda k, b: [larger(k, b[0], 1)])
        return builder.extract_element(best, INT32(0))

    return types.float32(a, types.int64), generate


@intrinsic
@no_type_check
def inner(typing, a, b, count):
    """`dot` for few numbers: one vector of sums."""

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder)
        one, two = (
            Rows(context, builder, signature.args[i], arguments[i]).row(INT64(0)) for i in (0, 1)
        )
        count = arguments[2]
        even = builder.and_(count, INT64(-v.lanes))

        def add(size):
            return lambda k, sums: [
                v.plus_product(v.load(one, FLOAT, k, size), v.load(two, FLOAT, k, size), sums[0])
            ]

        sums = v.loop(INT64(0), even, v.lanes, [v.constant(FLOAT, 0, v.lanes)], add(v.lanes))
        rest = v.loop(even, count, 1, [v.halved(sums, builder.fadd)], add(1))
        return builder.extract_element(rest[0], INT32(0))

    return types.float32(a, b, types.int64), generate


@intrinsic
@no_type_check
def _power_of_two(typing, shifted):
    """2ⁿ, given n + 1.5 × 2²³ as float32: its last bits are those of n."""

    def generate(context, builder, signature, arguments):
        exponent = builder.add(builder.bitcast(arguments[0], INT32), INT32(127))
        return builder.bitcast(builder.shl(exponent, INT32(23)), FLOAT)

    return types.float32(types.float32), generate


_MAGIC = np.float32(1.5 * 2**23)
_LOG2E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_P = tuple(
    np.float32(c)
    for c in (
        1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
        4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
    )
)  # fmt: skip
_P0, _P1, _P2, _P3, _P4, _P5 = _P
_ONE = np.float32(1.0)


def exponentials(v: Vectors, x: Any) -> Any:
    """Code for the same as `exponential`, of a vector."""
    b, count = v.builder, x.type.count

    def all_of(number: Any) -> Any:
        return v.constant(FLOAT, float(number), count)

    x = b.select(b.fcmp_ordered("<", x, all_of(_LOWEST)), all_of(_LOWEST), x)
    x = b.select(b.fcmp_ordered(">", x, all_of(_HIGHEST)), all_of(_HIGHEST), x)
    shifted = v.plus_product(x, all_of(_LOG2E), all_of(_MAGIC))
    n = b.fsub(shifted, all_of(_MAGIC))
    r = v.plus_product(n, all_of(-_LN2_HIGH), x)
    r = v.plus_product(n, all_of(-_LN2_LOW), r)
    p = all_of(_P0)
    for coefficient in _P[1:]:
        p = v.plus_product(p, r, all_of(coefficient))
    p = b.fadd(v.plus_product(p, b.fmul(r, r), r), all_of(_ONE))
    bits = b.add(b.bitcast(shifted, ir.VectorType(INT32, count)), v.constant(INT32, 127, count))
    power = b.shl(bits, v.constant(INT32, 23, count))
    return b.fmul(p, b.bitcast(power, x.type))


@intrinsic
@no_type_check
def powers(typing, a, most):
    """A = e^(a - most), of a float32 array whose length is a multiple of 16; their sum."""

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder)
        row = Rows(context, builder, a, arguments[0])
        start, most = row.row(INT64(0)), v.same(arguments[1], v.lanes)

        def some(k, sums):
            made = exponentials(v, builder.fsub(v.load(start, FLOAT, k, v.lanes), most))
            v.store(made, start, FLOAT, k)
            return [builder.fadd(sums[0], made)]

        none = [v.constant(FLOAT, 0, v.lanes)]
        sums = v.loop(INT64(0), row.width, v.lanes, none, some)
        return builder.extract_element(v.halved(sums, builder.fadd), INT32(0))

    return types.float32(a, types.float32), generate


@compiled
@no_type_check
def exponential(x):
    """e^x in float32; held within e^±87, NaN for NaN."""
    x = _LOWEST if x < _LOWEST else x
    x = _HIGHEST if x > _HIGHEST else x
    shifted = x * _LOG2E + _MAGIC
    n = shifted - _MAGIC
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
    return (p * (r * r) + r + _ONE) * _power_of_two(shifted)
