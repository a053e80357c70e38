"""What whole numbers stand for a row of activations in a product with whole-numbered weights?

Round to nearest at a step for each row and span of inputs, as large as the largest number of the
span needs (the usual dynamic, symmetric scheme: Dettmers et al. 2022, section 2), but to 16 bits
for int8 and 13 for int4, which are as many as sums over a span leave room for.
"""

from __future__ import annotations

from typing import Any, no_type_check

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from unrolled.kernels.formats import GROUP, LANES, LEVELS, SPAN
from unrolled.kernels.vectors import FLOAT, INT16, INT32, INT64, Rows, Vectors

FORMAT_OF = {
    types.float32: "float32",
    types.uint16: "bfloat16",
    types.int8: "int8",
    types.uint8: "int4",
}
"""Of a `Packed`, by numba's type of its values."""
_SMALLEST = 2.0**-100  # below it, levels / |x| may leave float32


@njit(nogil=True)
@no_type_check  # here and elsewhere: numba compiles the function itself, not one that checks types
def quantise(packed, x, xq, steps) -> None:
    """The activations as the format of `packed` wants them; float formats take them as they are.

    Shapes: x float32 [rows, inputs], xq int16 [rows, quantised(inputs)], steps float32 [rows,
    spans(inputs)], or wider; rows contiguous. Behind the numbers of xq stand, for int4, the sums of
    its groups, in the bits of two numbers each. For each row and span, step = max |x| / L, and xq =
    the whole number nearest to x L / max |x|, where L = `LEVELS` of the format is at most 32767 and
    so small that no sum of a span can leave 32 bits. Where max |x| < 2⁻¹⁰⁰, step and xq are 0.
    Where an x is infinite or no number, so is the step, and with it are all products of that row.

    Raises ValueError for shapes that don't fit, and rows that are not contiguous.
    """
    fit(packed, x, xq, steps)
    for row in range(x.shape[0]):
        _quantise_row(packed, x, xq, steps, row)


@njit
@no_type_check
def fit(packed, x, xq, steps):
    """Raise ValueError unless the code below, which checks nothing, keeps within these arrays."""
    rows, inputs = x.shape
    whole = -(-inputs // GROUP) * GROUP
    if len(packed.scales) > 0:
        unit = LANES // 2 if len(packed.groups) > 0 else LANES
        blocks, groups = -(-len(packed.scales) // LANES), packed.groups.shape
        if packed.values.shape != (blocks, unit * whole):
            raise ValueError("the activations must be as wide as the matrix has inputs")
        if groups[0] > 0 and groups != (blocks, whole // GROUP, 2 * LANES):
            raise ValueError("there must be a group for each 32 inputs and 16 outputs")
        if (
            min(len(xq), len(steps)) < rows
            or xq.shape[1] < whole // GROUP * (GROUP + 2)
            or steps.shape[1] < -(-inputs // SPAN)
        ):
            raise ValueError("the quantised activations or their steps have not room enough")
        if not (packed.scales.flags.c_contiguous and packed.groups.flags.c_contiguous):
            raise ValueError("scales and groups must be contiguous")
    elif len(packed.values) > 0 and packed.values.shape[1] != inputs:
        raise ValueError("the activations must be as wide as the matrix has inputs")
    if not (contiguous(x) and contiguous(xq) and contiguous(steps) and contiguous(packed.values)):
        raise ValueError("rows of activations and weights must be contiguous")


@njit
@no_type_check
def contiguous(array):
    """Whether the numbers of a row are neighbours."""
    return array.size == 0 or array.shape[1] == 1 or array.strides[1] == array.itemsize


@no_type_check
def padded_width(v: Vectors, inputs: Any) -> Any:
    """`formats.padded`, at run time."""
    return v.builder.and_(v.builder.add(inputs, INT64(GROUP - 1)), INT64(-GROUP))


@intrinsic
@no_type_check
def _quantise_row(_, packed, x, xq, steps, row):
    """Emit `quantise` of one row: nothing for float formats."""

    def generate(context, builder, signature, arguments):
        if format in LEVELS:
            v = Vectors(context, builder)
            x, xq, steps = (
                Rows(context, builder, signature.args[i], arguments[i]) for i in (1, 2, 3)
            )
            _spans(v, LEVELS[format], arguments[4], x, xq, steps)
            if format == "int4":
                _sums(v, xq.row(arguments[4]), padded_width(v, x.width))
        return context.get_dummy_value()

    format = FORMAT_OF[packed.types[0].dtype]
    return types.void(packed, x, xq, steps, row), generate


@no_type_check
def _spans(v: Vectors, levels: int, row: Any, x: Rows, xq: Rows, steps: Rows) -> None:
    b, inputs = v.builder, x.width
    x, xq, steps = x.row(row), xq.row(row), steps.row(row)

    def largest(count):
        """By the bits of |x| as whole numbers, among which what is no number is beyond all."""

        def body(k, before):
            bits = b.bitcast(v.load(x, FLOAT, k, count), ir.VectorType(INT32, count))
            bits = b.and_(bits, v.constant(INT32, 0x7FFFFFFF, count))
            return [b.select(b.icmp_signed(">", bits, before[0]), bits, before[0])]

        return body

    def rounded(count, scale):
        """A number added to 1.5 × 2²³ is rounded to a whole one, which the last bits then hold."""

        def body(k, _):
            sums = b.fmul(v.load(x, FLOAT, k, count), v.same(scale, count))
            sums = b.fadd(sums, v.constant(FLOAT, 1.5 * 2.0**23, count))
            bits = b.bitcast(sums, ir.VectorType(INT32, count))
            v.store(b.trunc(bits, ir.VectorType(INT16, count)), xq, INT16, k)
            return []

        return body

    def span(first, _):
        last = v.smaller(b.add(first, INT64(SPAN)), inputs)
        even = b.add(first, b.and_(b.sub(last, first), INT64(-v.lanes)))
        none = v.constant(INT32, 0, v.lanes)
        (lanes,) = v.loop(first, even, v.lanes, [none], largest(v.lanes))
        most = v.call(f"llvm.vector.reduce.smax.v{v.lanes}i32", INT32, lanes)
        (most,) = v.loop(even, last, 1, [v.vector([most])], largest(1))
        most = b.bitcast(b.extract_element(most, INT32(0)), FLOAT)
        tiny = b.fcmp_ordered("<", most, FLOAT(_SMALLEST))
        step = b.select(tiny, FLOAT(0), b.fdiv(most, FLOAT(levels)))
        scale = b.select(tiny, FLOAT(0), b.fdiv(FLOAT(levels), most))
        v.store(step, steps, FLOAT, b.udiv(first, INT64(SPAN)))
        v.loop(first, even, v.lanes, [], rounded(v.lanes, scale))
        v.loop(even, last, 1, [], rounded(1, scale))
        return []

    def zero(k, _):
        v.store(INT16(0), xq, INT16, k)
        return []

    v.loop(INT64(0), inputs, SPAN, [], span)
    v.loop(inputs, padded_width(v, inputs), 1, [], zero)


@no_type_check
def _sums(v: Vectors, xq: Any, width: Any) -> None:
    """Put the sum of each group behind a row's numbers."""
    b = v.builder

    def group(k, _):
        total = v.constant(INT32, 0, v.lanes)
        for at in range(0, GROUP, 2 * v.lanes):
            some = v.load(xq, INT16, b.add(k, INT64(at)), 2 * v.lanes)
            total = v.plus_products(some, v.constant(INT16, 1, 2 * v.lanes), total)
        total = v.call(f"llvm.vector.reduce.add.v{v.lanes}i32", INT32, total)
        place = b.add(width, b.udiv(k, INT64(GROUP // 2)))
        v.store(b.bitcast(total, ir.VectorType(INT16, 2)), xq, INT16, place)
        return []

    v.loop(INT64(0), width, GROUP, [], group)
