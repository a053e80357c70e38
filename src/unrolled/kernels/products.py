"""How fast is Y = X Ŵᵀ for a few rows of X? As fast as Ŵ can be read.

`formats` says what Ŵ is. For float32 and bfloat16, here, y_o = Σ_i x_i ŵ_oi; the integer formats
are in `whole`. A tile is 8 sums, of 4, 2 or 1 rows of X with 2, 4 or 8 outputs, which stay in
registers, or 16 sums with twice as many outputs where these are AVX-512's:

                 2 outputs: rows of Ŵ, each read once, from memory
               ┌───────┬───────┐
       4 rows  │ sum 0 │ sum 4 │     a sum is a vector of partial sums, one for each of its lanes;
         of X  │ sum 1 │ sum 5 │     at the end of a row the lanes of all 8 sums are added up
    (from the  │ sum 2 │ sum 6 │     together, always in the same order
       cache)  │ sum 3 │ sum 7 │
               └───────┴───────┘

Each sum takes its inputs in the same order in every tile, so a row's result is the same bits,
whatever rows are with it and however the outputs are divided. The outputs of a tile lie far apart,
so that weights come from memory in as many streams: reading one got 15 GB/s where this was written,
reading four 28. Many rows: outputs go in blocks that stay in the nearest cache while the rows pass.

What binds: at one row each weight read is used once, and memory can't keep up with the multipliers.
Four rows keep these about as busy: on AVX2, 128 products of 4 rows take 16 multiplications with
sums, 2 a cycle, 8 cycles for 128 bytes of float32 or 64 of bfloat16.
"""

from __future__ import annotations

import itertools
from typing import Any, no_type_check

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from unrolled.kernels.activations import FORMAT_OF, contiguous, fit, quantise
from unrolled.kernels.formats import WHOLE
from unrolled.kernels.vectors import FLOAT, INT8, INT16, INT32, INT64, SUMS, Rows, Vectors
from unrolled.kernels.whole import whole_products

__all__ = ["multiply", "quantise"]

_BLOCK_BYTES = 1 << 14  # of weights, which stay in the nearest cache while rows pass
_AHEAD = 1024  # bytes of a row of weights


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
    outputs = len(packed.scales) if len(packed.scales) > 0 else len(packed.values)
    if len(out) < rows or not 0 <= first <= last <= min(out.shape[1], outputs):
        raise ValueError("there are not so many rows or outputs")
    if not contiguous(out):
        raise ValueError("rows of products must be contiguous")
    if len(packed.scales) > 0:
        whole_products(packed, x, xq, steps, out, first, last)
        return
    sums = _sums_of_a_tile()
    block = max(sums, last - first)
    if rows > 4:
        block = max(sums, _BLOCK_BYTES // max(1, packed.values.strides[0]) // sums * sums)
    for low in range(first, last, block):
        high = min(low + block, last)
        for row in range(0, rows, 4):
            several = sums // 4 if rows - row > 2 else sums // (rows - row)
            apart = (high - low + several - 1) // several
            for output in range(low, low + apart):
                if rows - row > 2:
                    _tile4(packed, x, out, row, output, apart, high)
                elif rows - row == 2:
                    _tile2(packed, x, out, row, output, apart, high)
                else:
                    _tile1(packed, x, out, row, output, apart, high)


@no_type_check
def _tile_of(v: Vectors) -> int:
    """Sums of a tile: they take half of the registers."""
    return SUMS * v.lanes // 8


@intrinsic
@no_type_check
def _sums_of_a_tile(_):
    """The same at run time."""
    return types.int64(), lambda context, builder, *_: INT64(_tile_of(Vectors(context, builder)))


@no_type_check
def _tile(rows: int) -> Any:
    """The intrinsic that computes `rows` rows from `row` on by outputs `output`, + apart, …

    Beyond the last of either it takes the last again, and writes the same number twice. Nothing
    for integer formats.
    """

    def tile(_, packed, x, out, row, output, apart, last):
        def generate(context, builder, signature, arguments):
            if format not in WHOLE:
                v = Vectors(context, builder)
                x, out = (Rows(context, builder, signature.args[i], arguments[i]) for i in (1, 2))
                values = builder.extract_value(arguments[0], 0)
                values = Rows(context, builder, packed.types[0], values)
                row, output, apart, last = arguments[3:]
                r = v.places(row, rows, x.height)
                o = v.places(output, _tile_of(v) // rows, last, apart)
                sums = float_sums(v, format, values, x, r, o)
                for i, (place, row) in enumerate(itertools.product(o, r)):
                    total = builder.extract_element(sums[i // SUMS], INT32(i % SUMS))
                    v.store(total, out.row(row), FLOAT, place)
            return context.get_dummy_value()

        format = FORMAT_OF[packed.types[0].dtype]
        return types.void(packed, x, out, row, output, apart, last), generate

    return intrinsic(tile)


_tile1, _tile2, _tile4 = _tile(1), _tile(2), _tile(4)


@no_type_check
def float_sums(v: Vectors, format: str, weights: Rows, x: Rows, r: list, o: list) -> list:
    """Σ_i ŵ_i x_i of rows r of X and outputs o, eight to a vector, in which rows run faster.

    Weights are asked for ahead, though the processor also runs ahead of a few streams by itself.
    """
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
        for row in w_rows:
            v.prefetch(v.address(row, INT8, v.builder.mul(k, INT64(size))), _AHEAD)
        x = [v.load(row, FLOAT, k, v.lanes) for row in x_rows]
        pairs = itertools.product([widened(row, k, v.lanes) for row in w_rows], x)
        return [v.plus_product(*pair, total) for pair, total in zip(pairs, sums, strict=True)]

    def one_by_one(k, sums):
        x = [v.load(row, FLOAT, k) for row in x_rows]
        w = [v.builder.extract_element(widened(row, k, 1), INT32(0)) for row in w_rows]
        pairs = list(itertools.product(w, x))
        eights = (pairs[at : at + SUMS] for at in range(0, len(pairs), SUMS))
        both = (map(v.vector, zip(*eight, strict=True)) for eight in eights)
        return [v.plus_product(*two, total) for two, total in zip(both, sums, strict=True)]

    even = v.builder.and_(inputs, INT64(-v.lanes))
    none = [v.constant(FLOAT, 0, v.lanes)] * (len(w_rows) * len(x_rows))
    sums = v.loop(INT64(0), even, v.lanes, none, by_lanes)
    eights = [v.totals(sums[at : at + SUMS]) for at in range(0, len(sums), SUMS)]
    return v.loop(even, inputs, 1, eights, one_by_one)
