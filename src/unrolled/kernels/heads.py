"""What does a row's query see? softmax(q Kᵀ / √d) V over the slots of its own ancestors.

Vaswani et al. 2017, equation (1). Keys and values of all rows stand in one pool, [slots, heads ×
head size]; a row's table names the slots of its prefix in order. Rows of one prompt share its
slots and stand side by side, so that those are still in the cache nearest to the processor:

    table of row r   17 18 19 42 57        q · K[17] … q · K[57], softmax, Σ p V[slot]

The order of every sum is fixed by the lengths alone, so a row's result has the same bits wherever
the row stands, and by whatever thread it is made. Scores are made eight slots at a
time; a weighted sum of values keeps up to 64 of its numbers in registers while the
slots pass. An exponential is 2ⁿ e^r with a polynomial for |r| ≤ ln 2 / 2 (Cephes' expf; measured to
be within 1 unit of the last place), which the compiler makes eight at a time.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
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

        def larger(k, best, size):
            some = v.load(row, FLOAT, k, size)
            return builder.select(builder.fcmp_ordered(">", some, best), some, best)

        def several(k, most):
            return [
                larger(builder.add(k, INT64(i * v.lanes)), best, v.lanes)
                for i, best in enumerate(most)
            ]

        even = builder.and_(count, INT64(-4 * v.lanes))
        lowest = float("-inf")
        most = v.loop(
            INT64(0), even, 4 * v.lanes, [v.constant(FLOAT, lowest, v.lanes)] * 4, several
        )
        best = FLOAT(lowest)
        for vector in most:
            for i in range(v.lanes):
                one = builder.extract_element(vector, INT32(i))
                best = builder.select(builder.fcmp_ordered(">", one, best), one, best)
        (best,) = v.loop(even, count, 1, [v.vector([best])], lambda k, b: [larger(k, b[0], 1)])
        return builder.extract_element(best, INT32(0))

    return types.float32(a, types.int64), generate


@intrinsic
@no_type_check
def _score(typing, queries, r, column, keys, table, owner, length, scale, scores):
    """scores[j] = scale · query · keys[table[owner, j]] below `length`; returns the highest.

    The query stands in `queries` [rows, …] at row r from `column` on. The last score stands again
    in the places up to the next multiple of eight.
    """

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder)
        queries, keys, table, scores = (
            Rows(context, builder, signature.args[i], arguments[i]) for i in (0, 3, 4, 8)
        )
        r, column, owner, length, scale = (arguments[i] for i in (1, 2, 5, 6, 7))
        size, query = keys.width, v.address(queries.row(r), FLOAT, column)
        slots, scores = table.row(owner), scores.row(INT64(0))

        def products(rows):
            """The query's with each of eight keys, as a vector."""

            def by_lanes(k, sums):
                q = v.load(query, FLOAT, k, v.lanes)
                return [
                    v.plus_product(v.load(row, FLOAT, k, v.lanes), q, total)
                    for row, total in zip(rows, sums, strict=True)
                ]

            def one_by_one(k, sums):
                key = v.vector([v.load(row, FLOAT, k) for row in rows])
                return [v.plus_product(key, v.same(v.load(query, FLOAT, k), SUMS), sums[0])]

            even = builder.and_(size, INT64(-v.lanes))
            none = [v.constant(FLOAT, 0, v.lanes)] * SUMS
            sums = v.totals(v.loop(INT64(0), even, v.lanes, none, by_lanes))
            return v.loop(even, size, 1, [sums], one_by_one)[0]

        def eight(j, highest):
            places = v.places(j, SUMS, length)
            chosen = [builder.sext(v.load(slots, INT32, place), INT64) for place in places]
            sums = products([keys.row(slot) for slot in chosen])
            sums = builder.fmul(sums, v.same(scale, SUMS))
            v.store(sums, scores, FLOAT, j)
            above = builder.fcmp_ordered(">", sums, highest[0])
            return [builder.select(above, sums, highest[0])]

        lowest = v.constant(FLOAT, float("-inf"), SUMS)
        (highest,) = v.loop(INT64(0), length, SUMS, [lowest], eight)
        best = builder.extract_element(highest, INT32(0))
        for i in range(1, SUMS):
            other = builder.extract_element(highest, INT32(i))
            best = builder.select(builder.fcmp_ordered(">", other, best), other, best)
        return best

    i = types.int64
    kinds = (queries, i, i, keys, table, i, i, types.float32, scores)
    return types.float32(*kinds), generate


@intrinsic
@no_type_check
def _mix(typing, weights, values, table, owner, length, out, r, column):
    """out[r, column …] = Σ_j weights[j] values[table[owner, j]] over `length` slots."""

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder)
        weights, values, table, out = (
            Rows(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 2, 5)
        )
        owner, length, r, column = (arguments[i] for i in (3, 4, 6, 7))
        count, slots, weights = values.width, table.row(owner), weights.row(INT64(0))
        out = v.address(out.row(r), FLOAT, column)

        def columns(vectors, size):
            """Numbers c, … of the sum, some vectors of them."""

            def body(c, _):
                places = [builder.add(c, INT64(i * size)) for i in range(vectors)]

                def slot(j, sums):
                    row = values.row(builder.sext(v.load(slots, INT32, j), INT64))
                    weight = v.same(v.load(weights, FLOAT, j), size)
                    return [
                        v.plus_product(weight, v.load(row, FLOAT, place, size), total)
                        for place, total in zip(places, sums, strict=True)
                    ]

                none = [v.constant(FLOAT, 0, size)] * vectors
                for place, total in zip(
                    places, v.loop(INT64(0), length, 1, none, slot), strict=True
                ):
                    v.store(total, out, FLOAT, place)
                return []

            return body

        done = INT64(0)
        for vectors, size in ((64 // v.lanes, v.lanes), (1, v.lanes), (1, 1)):
            end = builder.and_(count, INT64(-vectors * size))
            v.loop(done, end, vectors * size, [], columns(vectors, size))
            done = end
        return context.get_dummy_value()

    i = types.int64
    return types.void(weights, values, table, i, i, out, i, i), generate


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


@compiled
@no_type_check
def attend(queries, keys, values, table, owner, length, scores, ones, out, r, column):
    """One head of one row: out[r, column …], of the query at the same place of `queries`.

    `keys` and `values` [all slots, size] are the head's own; the row's slots are the first `length`
    of table[owner]. `scores` is room for as many, rounded up to eights; `ones` are as many ones.
    """
    scale = _ONE / np.float32(np.sqrt(np.float32(keys.shape[1])))
    most = _score(queries, r, column, keys, table, owner, length, scale, scores)
    for j in range(-(-length // SUMS) * SUMS):
        scores[j] = exponential(scores[j] - most)
    share = _ONE / dot(scores, ones, length)
    for j in range(length):
        scores[j] *= share
    _mix(scores, values, table, owner, length, out, r, column)
