"""How are the rows of a matrix turned by their positions' angles, there and back?

Su et al. 2021, equation (34): of a row x with h pairs, x_i and x_(i+h) become
x_i cos - x_(i+h) sin and x_(i+h) cos + x_i sin. Backwards the sines have the other sign.
"""

from __future__ import annotations

from typing import Any, no_type_check

from numba import types
from numba.extending import intrinsic

from unrolled.kernels.vectors import FLOAT, INT64, Rows, Vectors


@no_type_check
def _turning(back: bool) -> Any:
    """The two functions below."""

    def turn(typing, source, cos, sin, scale, out):
        def generate(context, builder, signature, arguments):
            v = Vectors(context, builder)
            source, cos, sin, out = (
                Rows(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 2, 4)
            )
            half, scale = cos.width, arguments[3]
            turned = builder.add(half, half)

            def row(r, _):
                from_, c, s, to = source.row(r), cos.row(r), sin.row(r), out.row(r)

                def pair(i, count):
                    other = builder.add(i, half)
                    sign = v.constant(FLOAT, -1 if back else 1, count)
                    factor = v.same(scale, count)
                    cosine = builder.fmul(v.load(c, FLOAT, i, count), factor)
                    sine = builder.fmul(v.load(s, FLOAT, i, count), builder.fmul(sign, factor))
                    one, two = (v.load(from_, FLOAT, place, count) for place in (i, other))
                    first = builder.fsub(builder.fmul(one, cosine), builder.fmul(two, sine))
                    second = builder.fadd(builder.fmul(two, cosine), builder.fmul(one, sine))
                    v.store(first, to, FLOAT, i)
                    v.store(second, to, FLOAT, other)

                def straight(i, count):
                    place = builder.add(i, turned)
                    some = v.load(from_, FLOAT, place, count)
                    v.store(builder.fmul(some, v.same(scale, count)), to, FLOAT, place)

                v.through(half, pair)
                v.through(builder.sub(source.width, turned), straight)
                return []

            v.loop(INT64(0), source.height, 1, [], row)
            return context.get_dummy_value()

        return types.void(source, cos, sin, types.float32, out), generate

    return intrinsic(turn)


turn = _turning(back=False)
"""turn(source, cos, sin, scale, out): out [rows, …] = scale · the turned rows of source.

`cos` and `sin` [rows, pairs]; what of a row is beyond its pairs is only scaled."""
turn_back = _turning(back=True)
"""The transpose of it."""
