"""How fast is Y = X Ŵᵀ for a few rows of X? As fast as Ŵ can be read.

`Packed` says what Ŵ is (`formats`). For float32 and bfloat16, y_o is the sum over inputs of x_i ŵ_oi. For
the integer formats the activations too are whole numbers, 16 bits of them, of one step for each row
and span of 256 inputs (`quantise`):

    y_o = c_o Σ_spans step_s float32(Σ_(i in s) q_oi xq_i)        q_oi: q of int8, a q + m of int4

The inner sum is exact (32 bits are enough for it, by the choice of the step), so there it doesn't matter in
which order, on how many lanes or threads it is taken; the outer one goes from the first span to
the last. Others round activations to 8 bits (Dettmers et al. 2022); 16 cost no more bytes of Ŵ.

A tile is 8 sums that stay in registers, of 1, 2 or 4 rows of X with 8, 4 or 2 outputs:

               outputs (rows of Ŵ, each read once, from memory)
              ┌────────┬────────┐
      rows    │ sum 0  │ sum 4  │      each sum: `lanes` partial sums, of inputs k, k + lanes, …
      of X    │ sum 1  │ sum 5  │
     (in the  │ sum 2  │ sum 6  │      at the end of a row, or of a span, the lanes of all 8 are
      cache)  │ sum 3  │ sum 7  │      added up together, always in the same order
              └────────┴────────┘

Each sum takes its inputs in the same order in every tile, so a row's result is the same bits whatever
rows are with it and however the outputs are divided. Many rows: outputs go in blocks that stay
in the nearest cache while the rows pass.

Where it is bound: one row does 1 product for each weight read, and up to about 4 rows the processor
multiplies faster than memory delivers: with 256-bit vectors, int8 and 4 rows, 128 products take 2 loads that
widen, 8 multiplications of pairs and 8 sums, some 5 cycles for 32 bytes. Beyond it is bound by the multipliers.
"""

from __future__ import annotations

from typing import Any, no_type_check

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from unrolled.kernels.formats import GROUP, LEVELS, SPAN
from unrolled.kernels.vectors import FLOAT, INT8, INT16, INT32, INT64, SUMS, Rows, Vectors

_BLOCK_BYTES = 1 << 14  # of weights, which stay in the nearest cache while rows pass
_AHEAD = 2048  # bytes of weights, asked for before they are needed
_FORMATS = {
    types.float32: "float32",
    types.uint16: "bfloat16",
    types.int8: "int8",
    types.uint8: "int4",
}


@njit(nogil=True, cache=True)
@no_type_check
def quantise(packed, x, xq, steps) -> None:
    """The activations as the format of `packed` wants them; float formats take them as they are.

    Shapes: x float32 [rows, inputs], xq int16 [rows, at least padded(inputs)], steps float32 [rows, at
    least spans(inputs)], rows contiguous. For each row and span, step = max |x| / L, and
    xq = the whole number nearest to x / step; L = `LEVELS` of the format, at most 32767 and so small
    that no sum of a span can leave 32 bits. Where max |x| < 2⁻¹⁰⁰, step and xq are 0. An infinite x or
    none at all makes the step such too, and with it all products of that row.
    """
    for row in range(x.shape[0]):
        _quantise_row(packed, x, xq, steps, row)


@njit(nogil=True, cache=True)
@no_type_check
def multiply(packed, x, xq, steps, out, first, last) -> None:
    """out[:, first:last] = X Ŵᵀ, for these outputs alone: the rest is another thread's.

    Shapes: x [rows, inputs], xq and steps as `quantise` made them (unused by float formats), out
    float32 [rows, outputs]; rows contiguous.
    """
    rows = x.shape[0]
    block = last - first
    if rows > 4:
        block = max(SUMS, _BLOCK_BYTES // max(1, packed.values.strides[0]) // SUMS * SUMS)
    for low in range(first, last, block):
        high = min(low + block, last)
        row = 0
        while rows - row > 2:
            for output in range(low, high, 2):
                _tile4(packed, x, xq, steps, out, row, output, high)
            row += 4
        if rows - row == 2:
            for output in range(low, high, 4):
                _tile2(packed, x, xq, steps, out, row, output, high)
        if rows - row == 1:
            for output in range(low, high, 8):
                _tile1(packed, x, xq, steps, out, row, output, high)


@no_type_check
def _tile(rows: int) -> Any:
    """The intrinsic that computes `rows` rows by 8 / `rows` outputs, from (row, output) on.

    Beyond the last of either it takes the last again, and writes the same number twice.
    """

    def tile(typing, packed, x, xq, steps, out, row, output, last):
        def generate(context, builder, signature, arguments):
            v = Vectors(builder, lanes_of(context))
            x, xq, steps, out = (
                Rows(context, builder, signature.args[i], arguments[i]) for i in (1, 2, 3, 4)
            )
            row, output, last = arguments[5:]
            values, scales, groups = (
                Rows(context, builder, kind, builder.extract_value(arguments[0], i))
                for i, kind in enumerate(packed.types)
            )
            r = v.places(row, rows, x.height)
            o = v.places(output, SUMS // rows, last)
            if format in LEVELS:
                weights = _int8(v, values, o) if format == "int8" else _int4(v, values, groups, o)
                sums = _whole_sums(v, weights, xq, steps, r, x.width)
                units = [v.load(scales.row(i), FLOAT, INT64(0)) for i in o]
                sums = builder.fmul(sums, v.vector([units[i // rows] for i in range(SUMS)]))
            else:
                sums = float_sums(v, format, values, x, r, o)
            for i in range(SUMS):
                number = builder.extract_element(sums, INT32(i))
                v.store(number, out.row(r[i % rows]), FLOAT, o[i // rows])
            return context.get_dummy_value()

        format = _FORMATS[packed.types[0].dtype]
        return types.void(packed, x, xq, steps, out, row, output, last), generate

    return intrinsic(tile)


_tile1, _tile2, _tile4 = _tile(1), _tile(2), _tile(4)


@no_type_check
def float_sums(
    v: Vectors, format: str, weights: Rows, x: Rows, r: list, o: list, ahead: int = _AHEAD
) -> Any:
    """Σ_i x_i ŵ_i of all pairs of a row and an output, as a vector (rows run faster)."""
    w_rows, x_rows = [weights.row(i) for i in o], [x.row(i) for i in r]
    pairs = [(a, b) for a in range(len(o)) for b in range(len(r))]

    def widened(row, k, count):
        if format == "float32":
            return v.load(row, FLOAT, k, count)
        bits = v.builder.zext(v.load(row, INT16, k, count), ir.VectorType(INT32, count))
        bits = v.builder.shl(bits, v.constant(INT32, 16, count))
        return v.builder.bitcast(bits, ir.VectorType(FLOAT, count))

    def by_lanes(k, sums):
        for row in w_rows if ahead else []:
            v.prefetch(v.address(row, FLOAT if format == "float32" else INT16, k), ahead)
        some_x = [v.load(row, FLOAT, k, v.lanes) for row in x_rows]
        some_w = [widened(row, k, v.lanes) for row in w_rows]
        return [
            v.plus_product(some_w[a], some_x[b], total)
            for (a, b), total in zip(pairs, sums, strict=True)
        ]

    def one_by_one(k, sums):
        some_x = [v.load(row, FLOAT, k) for row in x_rows]
        some_w = [v.builder.extract_element(widened(row, k, 1), INT32(0)) for row in w_rows]
        w_of_pairs = v.vector([some_w[a] for a, _ in pairs])
        return [v.plus_product(w_of_pairs, v.vector([some_x[b] for _, b in pairs]), sums[0])]

    even = v.builder.and_(x.width, INT64(-v.lanes))
    none = [v.constant(FLOAT, 0, v.lanes)] * SUMS
    sums = v.totals(v.loop(INT64(0), even, v.lanes, none, by_lanes))
    return v.loop(even, x.width, 1, [sums], one_by_one)[0]


@no_type_check
def _int8(v: Vectors, values: Rows, o: list) -> list:
    """For each output, what gives its weights k to k + GROUP, as 16-bit numbers."""

    def of(row):
        def weights(k):
            v.prefetch(v.address(row, INT8, k), _AHEAD)
            return v.builder.sext(v.load(row, INT8, k, GROUP), ir.VectorType(INT16, GROUP))

        return weights

    return [of(values.row(i)) for i in o]


@no_type_check
def _int4(v: Vectors, values: Rows, groups: Rows, o: list) -> list:
    """As `_int8`: 16 bytes opened into the 32 numbers a q + m of a group."""
    b, half = v.builder, GROUP // 2

    def of(row, group_row):
        def weights(k):
            byte, group = (b.udiv(k, INT64(n)) for n in (2, half))
            v.prefetch(v.address(row, INT8, byte), _AHEAD)
            pairs = b.zext(v.load(row, INT8, byte, half), ir.VectorType(INT16, half))
            low = b.and_(pairs, v.constant(INT16, 15, half))
            high = b.lshr(pairs, v.constant(INT16, 4, half))
            a = v.load(group_row, INT16, group)
            m = v.load(group_row, INT16, b.add(group, INT64(1)))
            codes = v.pick(low, high, range(GROUP))
            return b.add(b.mul(codes, v.same(a, GROUP)), v.same(m, GROUP))

        return weights

    return [of(values.row(i), groups.row(i)) for i in o]


@no_type_check
def _whole_sums(v: Vectors, weights: list, xq: Rows, steps: Rows, r: list, inputs: Any) -> Any:
    """Σ_s step_s float32(Σ_(i in s) q_i xq_i), as `float_sums`."""
    b, piece = v.builder, 2 * v.lanes
    x_rows, step_rows = [xq.row(i) for i in r], [steps.row(i) for i in r]
    width = b.and_(b.add(inputs, INT64(GROUP - 1)), INT64(-GROUP))

    def by_groups(k, sums):
        some_w = [of(k) for of in weights]
        for first in range(0, GROUP, piece):
            x = [v.load(row, INT16, b.add(k, INT64(first)), piece) for row in x_rows]
            w = [v.pick(some, some, range(first, first + piece)) for some in some_w]
            sums = [v.plus_pairs(w[i // len(r)], x[i % len(r)], sums[i]) for i in range(SUMS)]
        return sums

    def by_spans(k, sums):
        last = v.smaller(b.add(k, INT64(SPAN)), width)
        none = [v.constant(INT32, 0, v.lanes)] * SUMS
        whole = v.totals(v.loop(k, last, GROUP, none, by_groups))
        step = [v.load(row, FLOAT, b.udiv(k, INT64(SPAN))) for row in step_rows]
        step = v.vector([step[i % len(r)] for i in range(SUMS)])
        return [b.fadd(sums[0], b.fmul(b.sitofp(whole, step.type), step))]

    return v.loop(INT64(0), width, SPAN, [v.constant(FLOAT, 0, SUMS)], by_spans)[0]


@intrinsic
@no_type_check
def _quantise_row(typing, packed, x, xq, steps, row):
    """Emit `quantise` of one row: nothing for float formats."""

    def generate(context, builder, signature, arguments):
        if format in LEVELS:
            arrays = (Rows(context, builder, signature.args[i], arguments[i]) for i in (1, 2, 3))
            _quantised(Vectors(builder, lanes_of(context)), LEVELS[format], arguments[4], *arrays)
        return context.get_dummy_value()

    format = _FORMATS[packed.types[0].dtype]
    return types.void(packed, x, xq, steps, row), generate


@no_type_check
def _quantised(v: Vectors, levels: int, row: Any, x: Rows, xq: Rows, steps: Rows) -> None:
    b = v.builder
    inputs, width = x.width, b.and_(b.add(x.width, INT64(GROUP - 1)), INT64(-GROUP))
    x, xq, steps = x.row(row), xq.row(row), steps.row(row)

    def sizes(count):
        """The bits of |x|, as whole numbers: in the same order, and what is no number the largest."""

        def body(k, largest):
            bits = b.bitcast(v.load(x, FLOAT, k, count), ir.VectorType(INT32, count))
            bits = b.and_(bits, v.constant(INT32, 0x7FFFFFFF, count))
            return [b.select(b.icmp_signed(">", bits, largest[0]), bits, largest[0])]

        return body

    def rounded(count, inverse):
        """Added to 1.5 × 2²³, a number is rounded to a whole one, which are the last bits of the sum."""

        def body(k, _):
            sums = b.fmul(v.load(x, FLOAT, k, count), v.same(inverse, count))
            sums = b.fadd(sums, v.constant(FLOAT, 1.5 * 2.0**23, count))
            bits = b.bitcast(sums, ir.VectorType(INT32, count))
            v.store(b.trunc(bits, ir.VectorType(INT16, count)), xq, INT16, k)
            return []

        return body

    def span(k, _):
        last = v.smaller(b.add(k, INT64(SPAN)), inputs)
        even = b.add(k, b.and_(b.sub(last, k), INT64(-v.lanes)))
        none = v.constant(INT32, 0, v.lanes)
        (lanes,) = v.loop(k, even, v.lanes, [none], sizes(v.lanes))
        most = v.call(f"llvm.vector.reduce.smax.v{v.lanes}i32", INT32, lanes)
        (most,) = v.loop(even, last, 1, [v.vector([most])], sizes(1))
        most = b.bitcast(b.extract_element(most, INT32(0)), FLOAT)
        tiny = b.fcmp_ordered("<", most, FLOAT(2.0**-100))
        step = b.select(tiny, FLOAT(0), b.fdiv(most, FLOAT(levels)))
        inverse = b.select(tiny, FLOAT(0), b.fdiv(FLOAT(levels), most))
        v.store(step, steps, FLOAT, b.udiv(k, INT64(SPAN)))
        v.loop(k, even, v.lanes, [], rounded(v.lanes, inverse))
        v.loop(even, last, 1, [], rounded(1, inverse))
        return []

    def nothing(k, _):
        v.store(INT16(0), xq, INT16, k)
        return []

    v.loop(INT64(0), inputs, SPAN, [], span)
    v.loop(inputs, width, 1, [], nothing)


@no_type_check
def lanes_of(context) -> int:
    """How many 32-bit numbers a vector of the target has (two vectors' worth with 128 bits)."""
    features = context.codegen().magic_tuple()[2].split(",")
    return 16 if "+avx512bw" in features else 8
