"""What does a row's query see? softmax(q Kᵀ / √d) V over the slots of its own ancestors.

Vaswani et al. 2017, equation (1). Keys and values of all rows stand in one pool, [slots, heads ×
head size]; a row's table names the slots of its prefix in order. Rows of one prompt share its
slots and stand side by side, so that those are still in the cache nearest to the processor:

    table of row r   17 18 19 42 57        q · K[17] … q · K[57], softmax, Σ p V[slot]

The order of every sum is fixed by the lengths alone, so a row's result has the same bits wherever
the row stands, and by whatever thread it is made. Scores are made eight slots at a time. Up to four
queries of one table, heads that share keys or rows of one prompt, pass together, so that each key
and value is loaded once for them: one by one, a prompt waits for the second-nearest cache.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from unrolled.kernels.arithmetic import SUMS, dot, exponential, highest
from unrolled.kernels.compiling import compiled
from unrolled.kernels.vectors import FLOAT, INT32, INT64, Rows, Vectors

TOGETHER = 4
"""Queries that pass together."""
_ONE = np.float32(1.0)


class _Queries(NamedTuple):
    """Numbers first…last of all pairs of a row and one of the `group` queries that share a head of
    keys; the j-th stands in row j / group, at `column` + size · (j mod group).
    """

    first: Any
    last: Any
    group: Any
    column: Any

    def places(self, v: Vectors, rows: Rows, size: Any, count: int) -> list[tuple[Any, Any]]:
        """Of `count` of them, the last one again where there are fewer, number and address."""
        b, answer = v.builder, []
        for place in v.places(self.first, count, self.last):
            column = b.add(self.column, b.mul(b.urem(place, self.group), size))
            row = rows.row(b.udiv(place, self.group))
            answer.append((b.sub(place, self.first), v.address(row, FLOAT, column)))
        return answer


@no_type_check
def _scores(count: int) -> Any:
    """scores[i, j] = scale · query i · keys[table[owner, j]] for start ≤ j < end, i < `count`.

    Eight j at a time, from a multiple of eight on; the last score stands again in the places up to
    the next multiple.
    """

    def scores(typing, queries, which, keys, table, owner, start, end, scale, out):
        def generate(context, builder, signature, arguments):
            v = Vectors(context, builder)
            queries, keys, table, out = (
                Rows(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 3, 8)
            )
            which = _Queries(*cgutils.unpack_tuple(builder, arguments[1], 4))
            owner, start, end, scale = arguments[4:8]
            size, slots = keys.width, table.row(owner)
            asked = which.places(v, queries, size, count)
            even = builder.and_(size, INT64(-v.lanes))
            together = min(count, v.lanes // 8)  # as many as sums find room in registers

            def products(rows, some):
                """Of each of some queries with each of eight keys, as a vector a query."""

                def by_lanes(k, sums):
                    loaded = [v.load(row, FLOAT, k, v.lanes) for row in rows]
                    qs = [v.load(query, FLOAT, k, v.lanes) for query in some]
                    pairs = itertools.product(qs, loaded)
                    return [v.plus_product(k, q, s) for (q, k), s in zip(pairs, sums, strict=True)]

                def one_by_one(k, sums):
                    key = v.vector([v.load(row, FLOAT, k) for row in rows])
                    numbers = [v.same(v.load(query, FLOAT, k), SUMS) for query in some]
                    return [v.plus_product(key, q, t) for q, t in zip(numbers, sums, strict=True)]

                none = [v.constant(FLOAT, 0, v.lanes)] * (SUMS * len(some))
                sums = v.loop(INT64(0), even, v.lanes, none, by_lanes)
                total = v.totals(sums)
                each = [range(at, at + SUMS) for at in range(0, len(sums), SUMS)]
                parts = [v.pick(total, total, lanes) for lanes in each]
                return v.loop(even, size, 1, parts, one_by_one)

            def eight(j, _):
                chosen = [v.load(slots, INT32, place) for place in v.places(j, SUMS, end)]
                rows = [keys.row(builder.sext(slot, INT64)) for slot in chosen]
                for at in range(0, count, together):
                    some = asked[at : at + together]
                    made = products(rows, [query for _, query in some])
                    for (number, _), sums in zip(some, made, strict=True):
                        v.store(builder.fmul(sums, v.same(scale, SUMS)), out.row(number), FLOAT, j)
                return []

            v.loop(start, end, SUMS, [], eight)
            return context.get_dummy_value()

        i = types.int64
        kinds = (queries, which, keys, table, i, i, i, types.float32, out)
        return types.void(*kinds), generate

    return intrinsic(scores)


@no_type_check
def _mix(count: int) -> Any:
    """Add Σ_j weights[i, j] values[table[owner, j]], start ≤ j < end, at query i's place in out."""

    def mix(typing, weights, values, table, owner, start, end, out, which):
        def generate(context, builder, signature, arguments):
            v = Vectors(context, builder)
            weights, values, table, out = (
                Rows(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 2, 6)
            )
            owner, start, end = arguments[3:6]
            which = _Queries(*cgutils.unpack_tuple(builder, arguments[7], 4))
            size, slots = values.width, table.row(owner)
            asked = which.places(v, out, size, count)

            def columns(vectors, wide):
                """Numbers c, … of the sums, some vectors of them."""

                def body(c, _):
                    places = [builder.add(c, INT64(i * wide)) for i in range(vectors)]

                    def slot(j, sums):
                        row = values.row(builder.sext(v.load(slots, INT32, j), INT64))
                        loaded, made = [v.load(row, FLOAT, place, wide) for place in places], []
                        for number, _ in asked:
                            weight = v.same(v.load(weights.row(number), FLOAT, j), wide)
                            for value in loaded:
                                made.append(v.plus_product(weight, value, sums[len(made)]))
                        return made

                    each = [(answer, place) for _, answer in asked for place in places]
                    before = [v.load(answer, FLOAT, place, wide) for answer, place in each]
                    sums = v.loop(start, end, 1, before, slot)
                    for (answer, place), total in zip(each, sums, strict=True):
                        v.store(total, answer, FLOAT, place)
                    return []

                return body

            done, several = INT64(0), max(1, v.lanes // count if count > 1 else 64 // v.lanes)
            for vectors, wide in ((several, v.lanes), (1, v.lanes), (1, 1)):
                stop = builder.and_(size, INT64(-vectors * wide))
                v.loop(done, stop, vectors * wide, [], columns(vectors, wide))
                done = stop
            return context.get_dummy_value()

        i = types.int64
        return types.void(weights, values, table, i, i, i, out, which), generate

    return intrinsic(mix)


@no_type_check
def _attention(count: int) -> Any:
    """`attend` for up to `count` queries."""
    scores_of, mix, score_of_one, mix_one = _scores(count), _mix(count), _scores(1), _mix(1)

    @no_type_check
    def attend(queries, keys, values, table, owner, lengths, which, scores, ones, out):
        size = keys.shape[1]
        scale = _ONE / np.float32(np.sqrt(np.float32(size)))
        first, last, group, column = which
        common = lengths[first // group]
        for i in range(first, last):
            common = min(common, lengths[i // group])
        whole = common // SUMS * SUMS
        scores_of(queries, which, keys, table, owner, 0, whole, scale, scores)
        for i in range(first, last):
            length, mine = lengths[i // group], scores[i - first : i - first + 1]
            one = (i, i + 1, group, column)
            score_of_one(queries, one, keys, table, owner, whole, length, scale, mine)
            numbers = mine[0]
            most = highest(numbers, length)
            for j in range(-(-length // SUMS) * SUMS):
                numbers[j] = exponential(numbers[j] - most)
            answer = out[i // group, column + i % group * size :]
            for j in range(size):
                answer[j] = 0
        mix(scores, values, table, owner, 0, common, out, which)
        for i in range(first, last):
            length, mine = lengths[i // group], scores[i - first : i - first + 1]
            one = (i, i + 1, group, column)
            mix_one(mine, values, table, owner, common, length, out, one)
            share = _ONE / dot(mine[0], ones, length)
            answer = out[i // group, column + i % group * size :]
            for j in range(size):
                answer[j] *= share

    # Code that is kept on the disk goes by this name: two functions of one would be one.
    attend.__qualname__ = f"attend_{count}"
    return compiled(attend)


_attend_one, _attend_some = _attention(1), _attention(TOGETHER)


@compiled
@no_type_check
def attend(queries, keys, values, table, owner, lengths, which, scores, ones, out):
    """Some queries of one table: out, at each one's place, is what it sees.

    `which` is (first, last, group, column), `TOGETHER` pairs or fewer: see `_Queries`. `keys` and
    `values` [all slots, size] are their common head's; the slots of row r are the first lengths[r]
    of table[owner]. `scores` [TOGETHER, …] is room for as many, rounded up to eights; `ones` are as
    many ones.
    """
    if which[1] - which[0] == 1:
        _attend_one(queries, keys, values, table, owner, lengths, which, scores, ones, out)
    else:
        _attend_some(queries, keys, values, table, owner, lengths, which, scores, ones, out)
