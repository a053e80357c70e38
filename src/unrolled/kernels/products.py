"""How fast is Y = X Ŵᵀ for a few rows of X? As fast as Ŵ can be read.

`formats` says what Ŵ is. For float32 and bfloat16, y_o = Σ_i x_i ŵ_oi. For the integer formats the
activations are whole numbers too, of 13 or 16 bits, a step for each row and span of 512 inputs:

    y_o = c_o Σ_spans step_s float32(Σ_(i in s) q_oi xq_i)        q_oi: int8's q, int4's a q + m

The inner sum is exact (32 bits hold it, by the choice of the step), so it doesn't matter in which
order, on how many lanes or threads it is taken; the outer one goes from the first span to the last,
rounded after each product and each sum. So these numbers are the same bits on every machine. Others
round activations to 8 bits (Dettmers et al. 2022, section 2); more cost no more bytes of Ŵ.

A tile is 8 sums, of 4, 2 or 1 rows of X with 2, 4 or 8 outputs, which stay in registers:

                 2 outputs: rows of Ŵ, each read once, from memory
               ┌───────┬───────┐
       4 rows  │ sum 0 │ sum 4 │     a sum is a vector of partial sums, one for each of its lanes;
         of X  │ sum 1 │ sum 5 │     at the end of a row, or of a span, the lanes of all 8 sums
    (from the  │ sum 2 │ sum 6 │     are added up together, always in the same order
       cache)  │ sum 3 │ sum 7 │
               └───────┴───────┘

Each sum takes its inputs in the same order in every tile, so a row's result is the same bits,
whatever rows are with it and however the outputs are divided. The outputs of a tile lie far apart,
so that weights come from memory in as many streams: reading one got 15 GB/s where this was written,
reading four 28. Many rows: outputs go in blocks that stay in the nearest cache while the rows pass;
in the integer formats they are made another way, to the same bits (`panels`).

What binds: at one row each weight read is used once, and memory can't keep up with the multipliers.
Four rows keep these about as busy. On AVX2, 128 products of 4 rows take, of 4 instructions a cycle,
in int8 2 loads that widen, 8 multiplications of pairs and 8 sums, 4.5 cycles for 32 bytes; in int4
9 to open 16 bytes, then 8 and 8, 6.5 cycles for 20 bytes; in float32 and bfloat16 16
multiplications with sums, 2 a cycle, 8 cycles for 128 bytes or 64.
"""

from __future__ import annotations

import itertools
from typing import Any, no_type_check

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from unrolled.kernels.activations import FORMAT_OF, contiguous, fit, padded_width, quantise
from unrolled.kernels.formats import GROUP, LEVELS, SPAN
from unrolled.kernels.opening import opened
from unrolled.kernels.panels import MANY, WIDEST, by_panels
from unrolled.kernels.vectors import FLOAT, INT8, INT16, INT32, INT64, SUMS, Rows, Vectors

__all__ = ["multiply", "quantise"]

_BLOCK_BYTES = 1 << 14  # of weights, which stay in the nearest cache while rows pass
_AHEAD = 512  # bytes of a row of weights


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
    rows = x.shape[0]
    if len(out) < rows or not 0 <= first <= last <= min(out.shape[1], len(packed.values)):
        raise ValueError("there are not so many rows or outputs")
    if not contiguous(out):
        raise ValueError("rows of products must be contiguous")
    if rows >= MANY and last - first >= WIDEST and len(packed.scales) > 0 and x.shape[1] > 0:
        by_panels(packed, x, xq, steps, out, first, last)
        return
    block = max(SUMS, last - first)
    if rows > 4:
        block = max(SUMS, _BLOCK_BYTES // max(1, packed.values.strides[0]) // SUMS * SUMS)
    for low in range(first, last, block):
        high = min(low + block, last)
        for row in range(0, rows, 4):
            outputs = 2 if rows - row > 2 else SUMS // (rows - row)
            if len(packed.groups) > 0 and rows - row < 3:
                outputs //= 2
            apart = (high - low + outputs - 1) // outputs
            for output in range(low, low + apart):
                if rows - row > 2:
                    _tile4(packed, x, xq, steps, out, row, output, apart, high)
                elif rows - row == 2:
                    _tile2(packed, x, xq, steps, out, row, output, apart, high)
                else:
                    _tile1(packed, x, xq, steps, out, row, output, apart, high)


@no_type_check
def _tile(rows: int) -> Any:
    """The intrinsic that computes `rows` rows from `row` on by outputs `output`, + apart, …

    Beyond the last of either it takes the last again, and writes the same number twice.
    """

    def tile(_, packed, x, xq, steps, out, row, output, apart, last):
        def generate(context, builder, signature, arguments):
            v = Vectors(context, builder)
            x, xq, steps, out = (
                Rows(context, builder, signature.args[i], arguments[i]) for i in (1, 2, 3, 4)
            )
            row, output, apart, last = arguments[5:]
            values, scales, groups = (
                Rows(context, builder, kind, builder.extract_value(arguments[0], i))
                for i, kind in enumerate(packed.types)
            )
            r, o = v.places(row, rows, x.height), v.places(output, outputs, last, apart)

            def ask(first):
                """Prefetch for two streams; of four or eight the processor itself runs ahead."""
                if outputs == 2:
                    for i in o:
                        v.prefetch(v.address(values.row(i), INT8, first), _AHEAD)

            if format in LEVELS:
                x_rows, step_rows = [xq.row(i) for i in r], [steps.row(i) for i in r]
                weights = opened(v, format, values, groups, o, ask)
                # Of int4, all outputs opened at once would take more registers than there are.
                together = outputs if format == "int8" else 1
                sums = _whole_sums(v, weights, together, x_rows, step_rows, x.width)
                units = [v.load(scales.row(i), FLOAT, INT64(0)) for i in o]
                sums = builder.fmul(sums, v.vector([unit for unit in units for _ in r]))
            else:
                sums = float_sums(v, format, values, x, r, o, ask)
            for i, (place, row) in enumerate(itertools.product(o, r)):
                v.store(builder.extract_element(sums, INT32(i)), out.row(row), FLOAT, place)
            return context.get_dummy_value()

        format = FORMAT_OF[packed.types[0].dtype]
        outputs = SUMS // rows
        if format == "int4" and rows < 4:
            outputs //= 2  # there are not registers enough for the addresses of more
        return types.void(packed, x, xq, steps, out, row, output, apart, last), generate

    return intrinsic(tile)


_tile1, _tile2, _tile4 = _tile(1), _tile(2), _tile(4)


@no_type_check
def float_sums(
    v: Vectors, format: str, weights: Rows, x: Rows, r: list, o: list, ahead: Any = None
) -> Any:
    """Σ_i ŵ_i x_i of rows r of X and outputs o, as a vector in which rows run faster."""
    element, size = (FLOAT, 4) if format == "float32" else (INT16, 2)
    w_rows, x_rows, inputs = [weights.row(i) for i in o], [x.row(i) for i in r], x.width

    def widened(row, k, count):
        some = v.load(row, element, k, count)
        if format == "float32":
            return some
        bits = v.builder.zext(some, ir.VectorType(INT32, count))
        bits = v.builder.shl(bits, v.constant(INT32, 16, count))
        return v.builder.bitcast(bits, ir.VectorType(FLOAT, count))

    def by_lanes(k, sums):
        if ahead:
            ahead(v.builder.mul(k, INT64(size)))
        x = [v.load(row, FLOAT, k, v.lanes) for row in x_rows]
        pairs = itertools.product([widened(row, k, v.lanes) for row in w_rows], x)
        return [v.plus_product(*pair, total) for pair, total in zip(pairs, sums, strict=True)]

    def one_by_one(k, sums):
        x = [v.load(row, FLOAT, k) for row in x_rows]
        w = [v.builder.extract_element(widened(row, k, 1), INT32(0)) for row in w_rows]
        pairs = zip(*itertools.product(w, x), strict=True)
        return [v.plus_product(*(v.vector(numbers) for numbers in pairs), sums[0])]

    even = v.builder.and_(inputs, INT64(-v.lanes))
    none = [v.constant(FLOAT, 0, v.lanes)] * (len(w_rows) * len(x_rows))
    sums = v.totals(v.loop(INT64(0), even, v.lanes, none, by_lanes))
    return v.loop(even, inputs, 1, [sums], one_by_one)[0]


@no_type_check
def _whole_sums(
    v: Vectors, weights: list, together: int, x_rows: list, step_rows: list, inputs: Any
) -> Any:
    """Σ_s step_s float32(Σ_(i in s) q_i xq_i), as `float_sums`; so many outputs opened at once."""
    b, size, rows = v.builder, 2 * v.lanes, len(x_rows)
    count = len(weights) * rows

    def by_groups(k, sums):
        sums = list(sums)
        for first in range(0, len(weights), together):
            w = [of(k) for of in weights[first : first + together]]
            for at in range(0, GROUP, size):
                x = [v.load(row, INT16, b.add(k, INT64(at)), size) for row in x_rows]
                some_w = [v.pick(one, one, range(at, at + size)) for one in w]
                for i, pair in enumerate(itertools.product(some_w, x), first * rows):
                    sums[i] = v.plus_products(*pair, sums[i])
            if together < len(weights):
                v.fence()
        return sums

    def by_spans(first, sums):
        last = v.smaller(b.add(first, INT64(SPAN)), padded_width(v, inputs))
        none = [v.constant(INT32, 0, v.lanes)] * count
        whole = v.totals(v.loop(first, last, GROUP, none, by_groups))
        step = [v.load(row, FLOAT, b.udiv(first, INT64(SPAN))) for row in step_rows]
        step = v.vector(step * len(weights))
        return [b.fadd(sums[0], b.fmul(b.sitofp(whole, step.type), step))]

    return v.loop(INT64(0), inputs, SPAN, [v.constant(FLOAT, 0, count)], by_spans)[0]
