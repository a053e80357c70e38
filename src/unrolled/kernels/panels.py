"""How is Y = X Ŵᵀ made for many rows of X, where Ŵ is of whole numbers? By panels of Ŵ.

With few rows each weight is used as soon as it is read (`products`), and sums over the lanes are
made at the end of every span, for each row and output. With many rows those take as long as the
products, and opening weights anew for each four rows too. So the weights of a span of inputs and of
as many outputs as a vector has lanes are widened once and turned to lie pair by pair:

    Ŵ, a row an output               panel, 16 bits each
    o₀   w₀ w₁ w₂ w₃ …               o₀ w₀ w₁   o₁ w₀ w₁   o₂ w₀ w₁ …       16 KB for 16 outputs
    o₁   w₀ w₁ w₂ w₃ …       →       o₀ w₂ w₃   o₁ w₂ w₃   o₂ w₂ w₃ …       and 512 inputs
    o₂   w₀ w₁ w₂ w₃ …               …

Then one multiplication adds a pair of activations, the same in all lanes, times a line of the panel
to the sums of a row: a lane is an output, and nothing is added up over lanes (Goto and van de Geijn
2008, section 4). Sums over a span are exact in whole numbers, and the rest is done in the same
order as there, so every result is the same bits in both ways.

What binds: a multiplication a cycle, 32 products with AVX-512 and 16 with AVX2. For n rows of a
group of 32 inputs and 16 outputs that is 16 n cycles, and turning it takes 64 exchanges.
"""

from __future__ import annotations

from typing import Any, NamedTuple, no_type_check

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from unrolled.kernels.activations import FORMAT_OF, padded_width
from unrolled.kernels.formats import GROUP, LEVELS, SPAN
from unrolled.kernels.opening import opened
from unrolled.kernels.vectors import FLOAT, INT8, INT16, INT32, INT64, Rows, Vectors

MANY = 8
"""Rows from which on turning the weights pays: in int4 from 6 on, in int8 from 8 to 12."""
WIDEST = 16
"""Outputs that there must be at least: the lanes of the widest vector."""


@intrinsic
@no_type_check
def by_panels(_, packed, x, xq, steps, out, first, last):
    """Outputs first…last, at least WIDEST, of all rows; nothing for float formats."""

    def generate(context, builder, signature, arguments):
        if format in LEVELS:
            v = Vectors(context, builder)
            given = [Rows(context, builder, signature.args[i], arguments[i]) for i in (1, 2, 3, 4)]
            matrix = [
                Rows(context, builder, kind, builder.extract_value(arguments[0], i))
                for i, kind in enumerate(packed.types)
            ]
            _outputs(v, format, matrix, *given, *arguments[5:])
        return context.get_dummy_value()

    format = FORMAT_OF[packed.types[0].dtype]
    return types.void(packed, x, xq, steps, out, first, last), generate


class _Panel(NamedTuple):
    """Weights of some outputs, turned, and what comes next."""

    address: Any
    start: Any
    """The inputs start…end stand in it."""
    end: Any
    coming: Any
    """Where the weights of as many outputs more begin, of as many bytes an input as follow."""
    each: int


@no_type_check
def _outputs(
    v: Vectors, format: str, matrix: list, x: Rows, xq: Rows, steps: Rows, out: Rows,
    first: Any, last: Any,
) -> None:  # fmt: skip
    """Block after block of outputs; the last one goes back to be whole."""
    b = v.builder
    values, scales, groups = matrix
    width = padded_width(v, x.width)
    each = v.lanes if format == "int8" else v.lanes // 2
    room = ir.ArrayType(INT32, v.lanes * SPAN // 2)
    place = b.bitcast(cgutils.alloca_once(b, room), INT8.as_pointer())

    def block(output, _):
        output = v.smaller(output, b.sub(last, INT64(v.lanes)))
        numbers = [b.add(output, INT64(i)) for i in range(v.lanes)]
        units = v.vector([v.load(scales.row(o), FLOAT, INT64(0)) for o in numbers])
        following = values.row(b.add(output, INT64(v.lanes)))

        def span(start, _):
            end = v.smaller(b.add(start, INT64(SPAN)), width)
            coming = v.address(following, INT8, b.mul(start, INT64(each)))
            panel = _Panel(place, start, end, coming, each)
            _turn(v, panel, opened(v, format, values, groups, numbers))
            done = b.icmp_signed("==", end, width)
            unit = b.select(done, units, v.constant(FLOAT, 1, v.lanes))
            _rows(v, panel, x.height, xq, steps, out, output, unit)
            return []

        v.loop(INT64(0), width, SPAN, [], span)
        return []

    v.loop(first, last, v.lanes, [], block)


@no_type_check
def _turn(v: Vectors, panel: _Panel, weights: list) -> None:
    """Fill the panel from as many outputs as there are lanes."""
    b = v.builder

    def group(k, _):
        pairs = [b.bitcast(of(k), ir.VectorType(INT32, GROUP // 2)) for of in weights]
        line = b.mul(b.udiv(b.sub(k, panel.start), INT64(2)), INT64(v.lanes))
        for at in range(0, GROUP // 2, v.lanes):
            square = [v.pick(p, p, range(at, at + v.lanes)) for p in pairs]
            for i, turned in enumerate(v.transposed(square)):
                v.store(turned, panel.address, INT32, b.add(line, INT64((at + i) * v.lanes)))
        return []

    v.loop(panel.start, panel.end, GROUP, [], group)


@no_type_check
def _rows(
    v: Vectors, panel: _Panel, height: Any, xq: Rows, steps: Rows, out: Rows, output: Any, unit: Any
) -> None:
    """All rows by the panel: their sums so far go to `out`, times `unit`."""
    b = v.builder
    eights = b.and_(b.add(height, INT64(3)), INT64(-8))  # five or more left are worth a tile of 8
    none = v.constant(FLOAT, 0, v.lanes)
    begun = b.icmp_signed("==", panel.start, INT64(0))
    number = b.udiv(panel.start, INT64(SPAN))
    for size, low, high in ((8, INT64(0), eights), (4, eights, height)):

        def tile(row, _, size=size):
            rows = v.places(row, size, height)
            sums = _sums(v, panel, [xq.row(r) for r in rows])
            targets, made = [out.row(r) for r in rows], []
            for r, target, whole in zip(rows, targets, sums, strict=True):
                step = v.same(v.load(steps.row(r), FLOAT, number), v.lanes)
                before = b.select(begun, none, v.load(target, FLOAT, output, v.lanes))
                total = b.fadd(before, b.fmul(b.sitofp(whole, step.type), step))
                made.append(b.fmul(total, unit))
            for target, total in zip(targets, made, strict=True):
                v.store(total, target, FLOAT, output)
            return []

        v.loop(low, high, size, [], tile)


@no_type_check
def _sums(v: Vectors, panel: _Panel, x_rows: list) -> list:
    """Σ_i q_oi xq_i over the span, for each row a vector of outputs."""
    b, both = v.builder, ir.VectorType(INT16, 2 * v.lanes)

    def pair(k, sums):
        done = b.sub(k, panel.start)
        # Sixteen short streams are too many for the processor to run ahead of by itself.
        v.prefetch(v.address(panel.coming, INT8, b.mul(done, INT64(panel.each))), 0)
        line = b.mul(b.udiv(done, INT64(2)), INT64(v.lanes))
        w = b.bitcast(v.load(panel.address, INT32, line, v.lanes), both)
        x = [b.bitcast(v.load(row, INT16, k, 2), INT32) for row in x_rows]
        x = [b.bitcast(v.same(one, v.lanes), both) for one in x]
        return [
            v.plus_products(w, one, total, neighbours=True)
            for one, total in zip(x, sums, strict=True)
        ]

    none = v.constant(INT32, 0, v.lanes)
    return v.loop(panel.start, panel.end, 2, [none] * len(x_rows), pair)
