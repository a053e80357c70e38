"""How are small float32 matrices multiplied that lie in the nearest cache? By tiles of sums.

C = A B, some rows of A by two vectors of B's columns: each number of A is spread over a vector and
multiplied with both, so that the sums stay in registers for the whole depth of the product.

            B[k, c…]   B[k, c + lanes…]
    A[r,k]   ██████     ██████            A[r,k] is loaded once for two products, each vector
    A[r+1,k] ██████     ██████            of B for as many as the tile has rows
      …

The caller has padded: rows to a multiple of `TALL`, columns of `WIDE`. The depth is free, and the
order of a sum is that of the depth.
"""

from __future__ import annotations

from typing import Any, no_type_check

from numba import types
from numba.extending import intrinsic

from unrolled.kernels.vectors import FLOAT, INT64, Rows, Vectors

TALL = 8
"""Rows are padded to multiples of it."""
WIDE = 16
"""And columns of it."""


@no_type_check
def _product(turned: bool) -> Any:
    """The two products below: A as it stands, or lying on its side."""

    def product(typing, a, b, c):
        def generate(context, builder, signature, arguments):
            v = Vectors(context, builder)
            a, b, c = (Rows(context, builder, signature.args[i], arguments[i]) for i in range(3))
            depth = a.height if turned else a.width
            tall = TALL if v.lanes == 16 else TALL // 2

            def tile(vectors, r, column):
                places = [builder.add(column, INT64(i * v.lanes)) for i in range(vectors)]
                lines = [builder.add(r, INT64(i)) for i in range(tall)]
                left = [] if turned else [a.row(line) for line in lines]
                answers = [c.row(line) for line in lines]

                def step(k, sums):
                    row = b.row(k)
                    some = [v.load(row, FLOAT, place, v.lanes) for place in places]
                    if turned:
                        here = v.address(a.row(k), FLOAT, r)
                        numbers = [v.load(here, FLOAT, INT64(i)) for i in range(tall)]
                    else:
                        numbers = [v.load(line, FLOAT, k) for line in left]
                    made = []
                    for number in numbers:
                        spread = v.same(number, v.lanes)
                        for vector in some:
                            made.append(v.plus_product(spread, vector, sums[len(made)]))
                    return made

                each = [(line, place) for line in answers for place in places]
                if turned:
                    before = [v.load(line, FLOAT, place, v.lanes) for line, place in each]
                else:
                    before = [v.constant(FLOAT, 0, v.lanes)] * len(each)
                sums = v.loop(INT64(0), depth, 1, before, step)
                for (line, place), total in zip(each, sums, strict=True):
                    v.store(total, line, FLOAT, place)

            def columns(vectors):
                def body(column, _):
                    v.loop(
                        INT64(0), c.height, tall, [], lambda r, _: tile(vectors, r, column) or []
                    )
                    return []

                return body

            two = builder.and_(c.width, INT64(-2 * v.lanes))
            v.loop(INT64(0), two, 2 * v.lanes, [], columns(2))
            v.loop(two, c.width, v.lanes, [], columns(1))
            return context.get_dummy_value()

        return types.void(a, b, c), generate

    return intrinsic(product)


multiply = _product(turned=False)
"""multiply(a, b, c): c [rows, columns] = a [rows, depth] b [depth, columns]."""
add_turned = _product(turned=True)
"""add_turned(a, b, c): c [rows, columns] += aᵀ b, with a [depth, rows] and b [depth, columns]."""


@intrinsic
@no_type_check
def spread(typing, a, numbers, out):
    """Out = the first rows and columns of a, each row times its number."""

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder)
        a, numbers, out = (
            Rows(context, builder, signature.args[i], arguments[i]) for i in range(3)
        )
        factors = numbers.row(INT64(0))

        def row(r, _):
            from_, to, factor = a.row(r), out.row(r), v.load(factors, FLOAT, r)

            def some(i, count):
                product = builder.fmul(v.load(from_, FLOAT, i, count), v.same(factor, count))
                v.store(product, to, FLOAT, i)

            v.through(out.width, some)
            return []

        v.loop(INT64(0), out.height, 1, [], row)
        return context.get_dummy_value()

    return types.void(a, numbers, out), generate
