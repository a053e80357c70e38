"""What whole numbers stand for a row of activations in a product with whole-numbered weights?

Round to nearest at a step for each row and group of 32 inputs, as large as the largest number of
the group needs: the usual dynamic, symmetric scheme (Dettmers et al. 2022, section 2), in groups
as int4 has them (as llama.cpp's Q8_0).
"""

from __future__ import annotations

from typing import Any, no_type_check

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from unrolled.kernels.formats import GROUP, LANES, LEVELS, SMALLEST, WHOLE
from unrolled.kernels.vectors import FLOAT, INT8, INT32, INT64, QUAD, Rows, Vectors

FORMAT_OF = {
    types.float32: "float32",
    types.uint16: "bfloat16",
    types.int8: "int8",
    types.uint8: "int4",
}
"""Of a `Packed`, by numba's type of its values."""
_MAGIC, _MAGIC_BITS = 1.5 * 2.0**23, 0x4B400000  # a float32 and its bits


@njit(nogil=True)
@no_type_check  # here and elsewhere: numba compiles the function itself, not one that checks types
def quantise(packed, x, xq, steps) -> None:
    """The activations as the format of `packed` wants them; float formats take them as they are.

    Shapes: x float32 [rows, inputs], xq int16 [rows, quantised(inputs)], steps float32 [rows,
    groups(inputs)], or wider; rows contiguous. x counts times the factors of `packed`. For each row
    and group, step = max |x| / 127, and xq = the whole number nearest to x · 127 / max |x|, of 8
    bits. Where max |x| < 2⁻¹⁰⁰, step and xq are 0. Where an x is infinite or no number, so is the
    step, and with it are all products of that row. `Vectors.order` says how the numbers stand in
    xq, in its first `padded(inputs)` places or in half of them. Behind these stands for each group,
    in two places, what `whole` needs of its sum: -128 Σ xq in 32 bits for int8, float32 Σ xq for
    int4.

    Raises ValueError for shapes that don't fit, and rows that are not contiguous.
    """
    fit(packed, x, xq, steps)
    for row in range(x.shape[0]):
        _quantise_row(packed, x, xq, steps, row)


@intrinsic
@no_type_check
def _bits(_, packed):
    """Of a weight in an integer format: 8 or 4; 0 for float formats."""
    bits = {"int8": 8, "int4": 4}.get(FORMAT_OF[packed.types[0].dtype], 0)
    return types.int64(packed), lambda *_: INT64(bits)


@njit
@no_type_check
def fit(packed, x, xq, steps):
    """Raise ValueError unless the code below, which checks nothing, keeps within these arrays."""
    rows, inputs = x.shape
    whole, bits = -(-inputs // GROUP) * GROUP, _bits(packed)
    blocks = -(-len(packed.scales) // LANES)
    room = LANES * inputs if bits == 0 else LANES * bits // 8 * whole
    if packed.values.shape != (blocks, room) and (blocks > 0 or packed.values.size > 0):
        raise ValueError(
            "weights must be as wide as the activations, and as many as there are scales"
        )
    if bits > 0:
        groups = packed.groups.shape
        if blocks > 0 and groups != (blocks, whole // GROUP, LANES if bits == 8 else 2 * LANES):
            raise ValueError("there must be a group for each 32 inputs and 16 outputs")
        if (
            min(len(xq), len(steps)) < rows
            or xq.shape[1] < whole // GROUP * (GROUP + 2)
            or steps.shape[1] < whole // GROUP
        ):
            raise ValueError("the quantised activations or their steps have not room enough")
        if len(packed.factors) != whole or not packed.factors.flags.c_contiguous:
            raise ValueError("there must be a factor for each input, up to whole groups")
        if not (packed.scales.flags.c_contiguous and packed.groups.flags.c_contiguous):
            raise ValueError("scales and groups must be contiguous")
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
        if format in WHOLE:
            v = Vectors(context, builder)
            x, xq, steps = (
                Rows(context, builder, signature.args[i], arguments[i]) for i in (1, 2, 3)
            )
            factors = Rows(
                context, builder, packed.types[3], builder.extract_value(arguments[0], 3)
            )
            _groups(v, format, arguments[4], x, factors.row(INT64(0)), xq, steps)
        return context.get_dummy_value()

    format = FORMAT_OF[packed.types[0].dtype]
    return types.void(packed, x, xq, steps, row), generate


@no_type_check
def _groups(
    v: Vectors, format: str, row: Any, x: Rows, factors: Any, xq: Rows, steps: Rows
) -> None:
    b, inputs = v.builder, x.width
    width = padded_width(v, inputs)
    x, xq, steps = x.row(row), xq.row(row), steps.row(row)
    # The last group may be short: its numbers are followed by zeros elsewhere.
    tail = v.room(4 * GROUP)
    whole = b.and_(inputs, INT64(-GROUP))

    def zero(k, _):
        v.store(FLOAT(0), tail, FLOAT, k)
        return []

    def copy(k, _):
        v.store(v.load(x, FLOAT, k), tail, FLOAT, b.sub(k, whole))
        return []

    def group(k, _):
        short = b.icmp_signed("==", k, whole)
        there = b.bitcast(v.address(x, FLOAT, k), INT8.as_pointer())
        _group(v, format, b.select(short, tail, there), factors, xq, steps, k, width)
        return []

    v.loop(b.sub(inputs, whole), INT64(GROUP), 1, [], zero)
    v.loop(whole, inputs, 1, [], copy)
    v.loop(INT64(0), width, GROUP, [], group)


@no_type_check
def _group(
    v: Vectors, format: str, source: Any, factors: Any, xq: Any, steps: Any, k: Any, width: Any
) -> None:
    """Write the whole numbers, the step and the sum of the group at input k."""
    b, integers = v.builder, ir.VectorType(INT32, v.lanes)
    numbers = []
    for i in range(0, GROUP, v.lanes):
        factor = v.load(factors, FLOAT, b.add(k, INT64(i)), v.lanes)
        numbers.append(b.fmul(v.load(source, FLOAT, INT64(i), v.lanes), factor))
    # By the bits of |x| as whole numbers, among which what is no number is beyond all.
    most = v.constant(INT32, 0, v.lanes)
    for some in numbers:
        bits = b.and_(b.bitcast(some, integers), v.constant(INT32, 0x7FFFFFFF, v.lanes))
        most = b.select(b.icmp_signed(">", bits, most), bits, most)
    most = b.bitcast(v.call(f"llvm.vector.reduce.smax.v{v.lanes}i32", INT32, most), FLOAT)
    tiny = b.fcmp_ordered("<", most, FLOAT(SMALLEST))
    step = b.select(tiny, FLOAT(0), b.fdiv(most, FLOAT(LEVELS)))
    scale = b.select(tiny, FLOAT(0), b.fdiv(FLOAT(LEVELS), most))
    place = b.udiv(k, INT64(GROUP))
    v.store(step, steps, FLOAT, place)
    kind, order = v.order()
    places = [first + i for first in range(0, v.lanes, QUAD) for i in order]
    total = v.constant(INT32, 0, v.lanes)
    for i, some in enumerate(numbers):
        # A number added to 1.5 × 2²³ is rounded to a whole one, which the last bits then hold.
        shifted = b.fadd(b.fmul(some, v.same(scale, v.lanes)), v.constant(FLOAT, _MAGIC, v.lanes))
        whole = b.sub(b.bitcast(shifted, integers), v.constant(INT32, _MAGIC_BITS, v.lanes))
        total = b.add(total, whole)
        small = b.trunc(v.pick(whole, whole, places), ir.VectorType(kind, v.lanes))
        v.store(small, xq, kind, b.add(k, INT64(i * v.lanes)))
    total = v.call(f"llvm.vector.reduce.add.v{v.lanes}i32", INT32, total)
    behind = b.add(b.udiv(width, INT64(2)), place)
    if format == "int8":
        v.store(b.mul(total, INT32(-128)), xq, INT32, behind)
    else:
        v.store(b.sitofp(total, FLOAT), xq, FLOAT, behind)
