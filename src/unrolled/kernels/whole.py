"""How is Y = X Ŵᵀ made where Ŵ is of whole numbers? A lane an output, nothing added up over lanes.

Activations are whole numbers too, of 13 or 16 bits, a step for each row and span of 512 inputs
(`activations.quantise`; q is int8's, or int4's a q + m):

    y_o = c_o Σ_spans step_s float32(Σ_(i in s) q_oi xq_i)

The inner sum is exact (32 bits hold it, by the choice of the step), so it doesn't matter in which
order, on how many lanes or threads it is taken; the outer one goes from the first span to the last,
rounded after each product and each sum. So these numbers are the same bits on every machine. Others
round activations to 8 bits (Dettmers et al. 2022, section 2); more cost no more bytes of Ŵ.

`formats` has 16 outputs side by side, two inputs of each after the other. So one multiplication
adds to 16 sums of a row (8 with AVX2) a pair of activations, the same in all lanes, times a line
of weights (Goto and van de Geijn 2008, section 4, of one row up):

    a line of weights   o₀ i₀ i₁   o₁ i₀ i₁   …   o₁₅ i₀ i₁
    times a pair           x₀ x₁      x₀ x₁   …       x₀ x₁     from each of up to 8 rows
    added to sums          s₀         s₁      …       s₁₅       that stay in registers

int4's group is Σ (a q + m) x = a Σ q x + m Σ x: its numbers q are multiplied as they are, and the
sums of activations are there already. Opening a line takes three instructions.

What binds: few rows, memory: at 18 GB/s a core of 3.7 GHz a line of int8 takes 6.5 cycles to come
and one of int4 3.2. With AVX-512 a line takes one multiplication a cycle for each row, and int4
three more instructions, and two for each 16 lines and row; so int4 is bound by these from 3 rows
on, int8 from 7.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, no_type_check

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from unrolled.kernels.activations import FORMAT_OF, padded_width
from unrolled.kernels.formats import GROUP, LANES, LEVELS, SPAN
from unrolled.kernels.vectors import FLOAT, INT8, INT16, INT32, INT64, Rows, Vectors

_AHEAD = 2048
"""Bytes of weights that are asked for before their turn."""


class _Arrays(NamedTuple):
    """All that a product reads and writes."""

    values: Rows
    scales: Any
    groups: Rows
    xq: Rows
    steps: Rows
    out: Rows
    width: Any
    """Inputs, padded."""


@intrinsic
@no_type_check
def whole_products(_, packed, x, xq, steps, out, first, last):
    """out[:, first:last] of all rows; nothing for float formats."""

    def generate(context, builder, signature, arguments):
        if format in LEVELS:
            v = Vectors(context, builder)
            x, xq, steps, out = (
                Rows(context, builder, signature.args[i], arguments[i]) for i in (1, 2, 3, 4)
            )
            values, scales, groups = (
                Rows(context, builder, kind, builder.extract_value(arguments[0], i))
                for i, kind in enumerate(packed.types)
            )
            width = padded_width(v, x.width)
            arrays = _Arrays(values, scales.row(INT64(0)), groups, xq, steps, out, width)
            _blocks(v, format, arrays, x.height, *arguments[5:])
        return context.get_dummy_value()

    format = FORMAT_OF[packed.types[0].dtype]
    return types.void(packed, x, xq, steps, out, first, last), generate


@no_type_check
def _blocks(v: Vectors, format: str, arrays: _Arrays, height: Any, first: Any, last: Any) -> None:
    """Block after block of outputs, which stays in the nearest cache while the rows pass."""
    b = v.builder
    room = b.bitcast(cgutils.alloca_once(b, ir.ArrayType(FLOAT, v.lanes)), INT8.as_pointer())
    # Of seven rows eight are made, and of three four, the last one twice.
    eights = b.and_(b.add(height, INT64(1)), INT64(-8))
    fours = v.larger(b.and_(b.add(height, INT64(1)), INT64(-4)), eights)
    twos = v.larger(b.and_(height, INT64(-2)), fours)
    tiles = ((8, INT64(0), eights), (4, eights, fours), (2, fours, twos), (1, twos, height))

    def block(number, _):
        for size, low, high in tiles:

            def tile(row, _, size=size):
                rows = v.places(row, size, height)
                for half in range(0, LANES, v.lanes):
                    totals = _totals(v, format, arrays, number, half, rows)
                    base = b.add(b.mul(number, INT64(LANES)), INT64(half))
                    for r, total in zip(rows, totals, strict=True):
                        _leave(v, arrays, r, total, base, first, last, room)
                return []

            v.loop(low, high, size, [], tile)
        return []

    end = b.udiv(b.add(last, INT64(LANES - 1)), INT64(LANES))
    v.loop(b.udiv(first, INT64(LANES)), end, 1, [], block)


@no_type_check
def _leave(
    v: Vectors, arrays: _Arrays, row: Any, total: Any, base: Any, first: Any, last: Any, room: Any
) -> None:
    """Outputs `base`, …, as far as they are among first…last, times their units, in their place."""
    b, out = v.builder, arrays.out.row(row)
    end = b.add(base, INT64(v.lanes))
    whole = b.and_(b.icmp_signed("<=", first, base), b.icmp_signed("<=", end, last))
    with b.if_else(whole) as (then, otherwise):
        with then:
            units = v.load(arrays.scales, FLOAT, base, v.lanes)
            v.store(b.fmul(total, units), out, FLOAT, base)
        with otherwise:
            v.store(total, room, FLOAT, INT64(0))

            def one(o, _):
                made = v.load(room, FLOAT, b.sub(o, base))
                v.store(b.fmul(made, v.load(arrays.scales, FLOAT, o)), out, FLOAT, o)
                return []

            v.loop(v.larger(base, first), v.smaller(end, last), 1, [], one)


@no_type_check
def _totals(v: Vectors, format: str, arrays: _Arrays, number: Any, half: int, rows: list) -> list:
    """Σ_s step_s float32(Σ_(i in s) q_i xq_i) of a block's outputs from `half` on, a row each."""
    b, width = v.builder, arrays.width
    block, group_row = arrays.values.row(number), arrays.groups.row(number)
    x_rows, step_rows = [arrays.xq.row(r) for r in rows], [arrays.steps.row(r) for r in rows]
    chains = max(1, 4 // len(rows))  # of sums, so that none waits for the one before

    def pairs(k, sums, line):
        """A group's pairs by all rows."""
        sums = list(sums)
        for pair in range(GROUP // 2):
            w = line(k, pair)
            for at, x_row in enumerate(x_rows):
                x = b.bitcast(v.load(x_row, INT16, b.add(k, INT64(2 * pair)), 2), INT32)
                x = b.bitcast(v.same(x, v.lanes), both)
                chain = at * chains + pair % chains
                sums[chain] = v.plus_products(w, x, sums[chain])
        return sums

    def joined(sums):
        parts = (sums[at : at + chains] for at in range(0, len(sums), chains))
        return [functools.reduce(b.add, part) for part in parts]

    none, both = v.constant(INT32, 0, v.lanes), ir.VectorType(INT16, 2 * v.lanes)

    def int8(k, sums):
        _ask(v, block, b.mul(k, INT64(LANES)), GROUP * LANES)

        def line(k, pair):
            place = b.add(b.mul(k, INT64(LANES)), INT64(2 * (pair * LANES + half)))
            return b.sext(v.load(block, INT8, place, 2 * v.lanes), both)

        return pairs(k, sums, line)

    def int4(k, sums):
        _ask(v, block, b.mul(k, INT64(LANES // 2)), GROUP * LANES // 2)
        nibbles = v.constant(INT32, 0x000F000F, v.lanes)

        def line(k, pair):
            place = b.add(b.mul(k, INT64(LANES // 2)), INT64(pair * LANES + half))
            byte = b.zext(v.load(block, INT8, place, v.lanes), none.type)
            apart = b.or_(byte, b.shl(byte, v.constant(INT32, 12, v.lanes)))
            return b.bitcast(b.and_(apart, nibbles), both)

        made = joined(pairs(k, [none] * (len(rows) * chains), line))
        a, m = (
            b.sext(v.load(group_row, INT16, b.add(k, INT64(first + half)), v.lanes), none.type)
            for first in (0, LANES)
        )
        place, answer = b.add(width, b.udiv(k, INT64(GROUP // 2))), []
        for x_row, some, total in zip(x_rows, made, sums, strict=True):
            x = v.same(b.bitcast(v.load(x_row, INT16, place, 2), INT32), v.lanes)
            answer.append(b.add(total, b.add(b.mul(a, some), b.mul(m, x))))
        return answer

    def span(start, totals):
        end = v.smaller(b.add(start, INT64(SPAN)), width)
        if format == "int8":
            sums = joined(v.loop(start, end, GROUP, [none] * (len(rows) * chains), int8))
        else:
            sums = v.loop(start, end, GROUP, [none] * len(rows), int4)
        answer = []
        for step_row, whole, total in zip(step_rows, sums, totals, strict=True):
            step = v.same(v.load(step_row, FLOAT, b.udiv(start, INT64(SPAN))), v.lanes)
            answer.append(b.fadd(total, b.fmul(b.sitofp(whole, step.type), step)))
        return answer

    return v.loop(INT64(0), width, SPAN, [v.constant(FLOAT, 0, v.lanes)] * len(rows), span)


@no_type_check
def _ask(v: Vectors, block: Any, place: Any, size: int) -> None:
    """Ask for as many bytes as are about to be read, some way ahead."""
    for line in range(0, size, 64):
        v.prefetch(v.address(block, INT8, v.builder.add(place, INT64(line))), _AHEAD)
