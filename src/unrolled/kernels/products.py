"""How fast is Y = X Ŵᵀ for a few rows of X? As fast as Ŵ can be read.

`formats` says what Ŵ is, and lets 16 outputs stand side by side, so that a product is a lane an
output, and nothing is ever added up over lanes. For float32 and bfloat16, here,
y_o = Σ_i x_i ŵ_oi, from the first input to the last; the integer formats' sums are in `whole`.

    a line of weights   o₀    o₁    …   o₁₅    of one input i, from memory
    times               x_i   x_i   …   x_i    from each of up to 8 rows, from the cache
    added to sums       s₀    s₁    …   s₁₅    that stay in registers

So a row's result is the same bits, whatever rows are with it and however the outputs are divided.
All of a thread's weights are one stream, which a processor reads ahead of by itself faster than it
does of several. Many rows wait for their numbers rather: four pass three blocks of 16 outputs,
which stay in the nearest caches, so that 7 loads serve 12 multiplications and not 9 only 8.

What binds: few rows, memory. At 27 GB/s a core of 3.7 GHz a line of 64 bytes comes every 9 cycles;
eight rows of float32 take 8 of one multiplication each, of bfloat16, whose line is two, 16.
"""

from __future__ import annotations

import itertools
from typing import Any, no_type_check

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from unrolled.kernels.activations import FORMAT_OF, contiguous, fit, padded_width, quantise
from unrolled.kernels.amx import TALL, close_tiles, open_tiles
from unrolled.kernels.formats import LANES, WHOLE
from unrolled.kernels.vectors import FLOAT, INT8, INT16, INT32, INT64, Rows, Vectors
from unrolled.kernels.whole import AHEAD, Arrays, whole_totals

__all__ = ["multiply", "quantise"]

MOST = 8
"""Rows that pass at once with AVX-512; four with the 16 registers of others."""
FEW, BESIDE, MANY = 4, 3, 32
"""With 32 registers four rows pass three blocks at once, from so many rows on: fewer wait for the
weights, which come sooner as one stream."""
_STEPS = 4
"""Inputs of a turn of the loop."""


@njit(nogil=True)
@no_type_check
def multiply(packed, x, xq, steps, out, first, last) -> None:
    """out[:, first:last] = X Ŵᵀ, for these outputs alone: the rest is another thread's.

    Shapes: x [rows, inputs], xq and steps as `quantise` made them (unused by float formats), out
    float32 [rows, outputs], or larger; rows contiguous.

    Raises ValueError for shapes that don't fit, outputs that are not there, and rows that are not
    contiguous.
    """
    fit(packed, x, xq, steps)
    if len(out) < x.shape[0] or not 0 <= first <= last <= min(out.shape[1], len(packed.scales)):
        raise ValueError("there are not so many rows or outputs")
    if not contiguous(out):
        raise ValueError("rows of products must be contiguous")
    _products(packed, x, xq, steps, out, first, last)


@intrinsic
@no_type_check
def _products(_, packed, x, xq, steps, out, first, last):
    """out[:, first:last] of all rows."""

    def generate(context, builder, signature, arguments):
        v, format = Vectors(context, builder), FORMAT_OF[packed.types[0].dtype]
        x, xq, steps, out = (
            Rows(context, builder, signature.args[i], arguments[i]) for i in (1, 2, 3, 4)
        )
        values, scales, groups, _ = (
            Rows(context, builder, kind, builder.extract_value(arguments[0], i))
            for i, kind in enumerate(packed.types)
        )
        width = padded_width(v, x.width)
        arrays = Arrays(values, scales.row(INT64(0)), groups, x, xq, steps, out, width)
        _blocks(v, format, arrays, x.height, *arguments[5:])
        return context.get_dummy_value()

    return types.void(packed, x, xq, steps, out, first, last), generate


@no_type_check
def _blocks(v: Vectors, format: str, arrays: Arrays, height: Any, first: Any, last: Any) -> None:
    """Some blocks of outputs after others, which stay in the nearest caches while the rows pass."""
    b, totals_of = v.builder, whole_totals if format in WHOLE else float_totals
    room = v.room(4 * v.lanes)
    tiled = v.tiles and format == "int8"
    tall = b.and_(height, INT64(-TALL)) if tiled else INT64(0)
    any_tall = b.icmp_signed(">", tall, INT64(0))
    if tiled:
        with b.if_then(any_tall):
            open_tiles(v)
    # Many rows pass some blocks at once, so that a number of them is loaded for several products.
    many = b.icmp_signed(">=", b.sub(height, tall), INT64(MANY if v.lanes == LANES else 1 << 62))
    # Else, of seven rows eight are made, and of three four, the last one twice.
    singly, low = [], tall
    for size, more in ((MOST * v.lanes // LANES, 1), (4, 1), (2, 0), (1, 0)):
        high = b.add(low, b.and_(b.add(b.sub(height, low), INT64(more)), INT64(-size)))
        singly.append((size, low, high))
        low = v.smaller(high, height)
    end = b.udiv(b.add(last, INT64(LANES - 1)), INT64(LANES))

    def make(numbers, size, low, high):
        """So many rows at a time, low…high, of some blocks."""

        def tile(row, _):
            rows = v.places(row, size, height)
            for half in range(0, LANES, v.lanes):
                totals = totals_of(v, format, arrays, numbers, half, rows)
                pairs = itertools.product(rows, numbers)
                for (r, number), total in zip(pairs, totals, strict=True):
                    base = b.add(b.mul(number, INT64(LANES)), INT64(half))
                    _leave(v, format, arrays, r, total, base, first, last, room)
            return []

        v.loop(low, high, size, [], tile)

    def some(number, _):
        after = b.add(number, INT64(BESIDE))
        together = b.and_(many, b.icmp_signed("<=", after, end))
        if v.lanes == LANES:
            numbers = [b.add(number, INT64(i)) for i in range(BESIDE)]
            make(numbers, FEW, tall, b.select(together, height, tall))

        def block(one, _):
            if tiled:
                make([one], TALL, INT64(0), tall)
            for size, low, high in singly:
                make([one], size, low, b.select(together, low, high))
            return []

        v.loop(number, v.smaller(after, end), 1, [], block)
        return []

    v.loop(b.udiv(first, INT64(LANES)), end, BESIDE, [], some)
    if tiled:
        with b.if_then(any_tall):
            close_tiles(v)


@no_type_check
def _leave(
    v: Vectors, format: str, arrays: Arrays, row: Any, total: Any, base: Any, first: Any, last: Any,
    room: Any,
) -> None:  # fmt: skip
    """Outputs `base`, …, as far as they are among first…last, times their units, in their place."""
    b, out = v.builder, arrays.out.row(row)
    end = b.add(base, INT64(v.lanes))

    def in_units(numbers, place):
        if format not in WHOLE:
            return numbers
        count = numbers.type.count if isinstance(numbers.type, ir.VectorType) else 0
        return b.fmul(numbers, v.load(arrays.scales, FLOAT, place, count))

    whole = b.and_(b.icmp_signed("<=", first, base), b.icmp_signed("<=", end, last))
    with b.if_else(whole) as (then, otherwise):
        with then:
            v.store(in_units(total, base), out, FLOAT, base)
        with otherwise:
            v.store(total, room, FLOAT, INT64(0))

            def one(o, _):
                v.store(in_units(v.load(room, FLOAT, b.sub(o, base)), o), out, FLOAT, o)
                return []

            v.loop(v.larger(base, first), v.smaller(end, last), 1, [], one)


@no_type_check
def float_totals(
    v: Vectors, format: str, arrays: Arrays, numbers: list, half: int, rows: list
) -> list:
    """Σ_i x_i ŵ_i of some blocks' outputs from `half` on, by row and block."""
    b, blocks, inputs = v.builder, [arrays.values.row(n) for n in numbers], arrays.x.width
    x_rows = [arrays.x.row(r) for r in rows]
    element, size = (FLOAT, 4) if format == "float32" else (INT16, 2)

    def widened(some):
        if format == "float32":
            return some
        bits = b.zext(some, ir.VectorType(INT32, v.lanes))
        return b.bitcast(b.shl(bits, v.constant(INT32, 16, v.lanes)), none.type)

    def steps(count):
        def body(k, sums):
            start = b.mul(k, INT64(LANES))
            for block, line in itertools.product(blocks, range(0, count * LANES * size, 64)):
                ahead = b.add(b.mul(start, INT64(size)), INT64(line))
                v.prefetch(v.address(block, INT8, ahead), AHEAD)
            for i in range(count):
                place, there = b.add(start, INT64(i * LANES + half)), b.add(k, INT64(i))
                some = [widened(v.load(block, element, place, v.lanes)) for block in blocks]
                xs = [v.same(v.load(row, FLOAT, there), v.lanes) for row in x_rows]
                pairs = zip(itertools.product(xs, some), sums, strict=True)
                sums = [v.plus_product(line, x, s) for (x, line), s in pairs]
            return sums

        return body

    none = v.constant(FLOAT, 0, v.lanes)
    even = b.and_(inputs, INT64(-_STEPS))
    before = [none] * (len(rows) * len(blocks))
    sums = v.loop(INT64(0), even, _STEPS, before, steps(_STEPS))
    return v.loop(even, inputs, 1, sums, steps(1))
