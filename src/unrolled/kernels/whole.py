"""How is Y = X Ŵᵀ made where Ŵ is of whole numbers? A lane an output, nothing added up over lanes.

Activations, times the factors of their inputs, are whole numbers too, of 8 bits, a step for each
row and group g of 32 inputs (`activations.quantise`; m in int4 alone):

    y_o = c_o Σ_g step_g (a_og Σ_(i in g) q_oi xq_i + m_og Σ_(i in g) xq_i)

The inner sums are below 2²⁴, so they are exact, in whole numbers or in float32; it doesn't matter
in which order, on how many lanes or threads they are taken. The outer one goes from the first group
to the last, and all else is rounded after each product and each sum. So these numbers are the same
bits on every machine; sums beyond 2¹²⁸ c are infinite. Steps for so few inputs keep activations of
8 bits near: one large number makes 31 others coarse, and not a whole row (as llama.cpp's Q8_0;
Dettmers et al. 2022, section 2, on outliers).

`formats` has 16 outputs side by side, four inputs of each after the others. So one multiplication
adds to 16 sums of a row (8 with AVX2) four activations, the same in all lanes, times a line of
weights (Goto and van de Geijn 2008, section 4, of one row up):

    a line of weights   o₀ i₀…₃    o₁ i₀…₃   …   o₁₅ i₀…₃
    times a quad          x₀…₃       x₀…₃    …        x₀…₃     from each of up to 8 rows
    added to sums         s₀         s₁      …        s₁₅      that stay in registers

VNNI's instruction takes the weights' bytes without a sign: int4's as they are, int8's as q + 128,
and the sum then begins at -128 Σ x. Without VNNI even and odd bytes are multiplied as pairs of 16
bits. Σ x is there already.

What binds: few rows, memory: at 18 GB/s a core of 3.7 GHz 64 bytes take 13 cycles to come. With
VNNI a line of int8 takes one multiplication a cycle for each row, and a group two more; 64 bytes of
int4 are two lines, three instructions to open them, and a group three more. So int4 is bound by
these from 5 rows on, int8 from 10, and 64 rows take some six times their reading.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, no_type_check

from unrolled.kernels.amx import TALL, tile_sums
from unrolled.kernels.formats import GROUP, LANES
from unrolled.kernels.vectors import FLOAT, INT8, INT16, INT32, INT64, QUAD, Rows, Vectors

AHEAD = 2048
"""Bytes of weights that are asked for before their turn."""


class Arrays(NamedTuple):
    """All that a product reads and writes."""

    values: Rows
    scales: Any
    groups: Rows
    x: Rows
    xq: Rows
    steps: Rows
    out: Rows
    width: Any
    """Inputs, padded."""


@no_type_check
def whole_totals(
    v: Vectors, format: str, arrays: Arrays, numbers: list, half: int, rows: list
) -> list:
    """Σ_g step_g (a_g Σ_(i in g) q_i xq_i + …) of some blocks' outputs from `half` on, by row and
    block.

    `amx.TALL` rows, which follow one another, go by tiles (int8 alone, one block).
    """
    b, width, tiled, count = v.builder, arrays.width, len(rows) == TALL, len(numbers)
    blocks = [arrays.values.row(number) for number in numbers]
    group_rows = [arrays.groups.row(number) for number in numbers]
    x_rows, step_rows = [arrays.xq.row(r) for r in rows], [arrays.steps.row(r) for r in rows]
    lines = int8_lines if format == "int8" else int4_lines

    def multiplied(k, sums):
        """The sums, of a row and block each, with a group's products."""
        for block in blocks:
            _ask(v, block, k, 1 if format == "int8" else 2)
        if tiled:
            sums = tile_sums(v, arrays.xq, rows[0], blocks[0], k)
            return [b.sitofp(total, float_type) for total in sums]
        streams = [lines(v, block, k, half) for block in blocks]
        for quad, some in enumerate(zip(*streams, strict=True)):
            parts = [*zip(*map(v.operands, some), strict=True)]
            for part, operands in enumerate(parts):
                place = b.add(b.udiv(k, INT64(QUAD)), INT64(quad))
                place = b.add(b.mul(place, INT64(len(parts))), INT64(part))
                xs = [v.same(v.load(row, INT32, place), v.lanes) for row in x_rows]
                pairs = zip(itertools.product(xs, operands), sums, strict=True)
                sums = [v.plus_quads(operand, x, s) for (x, operand), s in pairs]
        return [b.sitofp(total, float_type) for total in sums]

    def spread(kind, rows, place):
        """A number of each row in all lanes, once a block."""
        each = (v.same(v.load(row, kind, place), v.lanes) for row in rows)
        return [number for number in each for _ in blocks]

    def behind(kind, k):
        """Of each row what `quantise` left of the group."""
        place = b.udiv(b.add(width, b.udiv(k, INT64(GROUP // 2))), INT64(2))
        return spread(kind, x_rows, place)

    def of_groups(place):
        """A number of each output's group, once a row."""
        each = [b.sitofp(v.load(g, INT16, place, v.lanes), float_type) for g in group_rows]
        return each * len(rows)

    def int8(k):
        a = of_groups(b.add(b.udiv(k, INT64(GROUP // LANES)), INT64(half)))
        made = multiplied(k, [] if tiled else behind(INT32, k))
        return [b.fmul(a, some) for a, some in zip(a, made, strict=True)]

    def int4(k):
        made = multiplied(k, [v.constant(INT32, 0, v.lanes)] * (len(rows) * count))
        a, m = (of_groups(b.add(k, INT64(first + half))) for first in (0, LANES))
        four = zip(a, made, m, behind(FLOAT, k), strict=True)
        return [b.fadd(b.fmul(a, some), b.fmul(m, x)) for a, some, m, x in four]

    def group(k, totals):
        wholes, place = (int8 if format == "int8" else int4)(k), b.udiv(k, INT64(GROUP))
        three = zip(totals, wholes, spread(FLOAT, step_rows, place), strict=True)
        return [b.fadd(total, b.fmul(some, step)) for total, some, step in three]

    none = v.constant(FLOAT, 0, v.lanes)
    float_type = none.type
    return v.loop(INT64(0), width, GROUP, [none] * (len(rows) * count), group)


@no_type_check
def int8_lines(v: Vectors, block: Any, k: Any, half: int) -> Iterator:
    """Four inputs of each output in its lane, as q + 128, for the quads of group k."""
    for quad in range(GROUP // QUAD):
        place = v.builder.add(v.builder.mul(k, INT64(LANES // QUAD)), INT64(quad * LANES + half))
        yield v.builder.xor(
            v.load(block, INT32, place, v.lanes), v.constant(INT32, 0x80808080, v.lanes)
        )


@no_type_check
def int4_lines(v: Vectors, block: Any, k: Any, half: int) -> Iterator:
    """The same of int4, as q."""
    b, nibbles = v.builder, v.constant(INT32, 0x0F0F0F0F, v.lanes)
    for two in range(GROUP // QUAD // 2):
        place = b.add(b.mul(k, INT64(LANES // QUAD // 2)), INT64(two * LANES + half))
        bytes_ = v.load(block, INT32, place, v.lanes)
        yield b.and_(bytes_, nibbles)
        yield b.and_(b.lshr(bytes_, v.constant(INT32, 4, v.lanes)), nibbles)


@no_type_check
def _ask(v: Vectors, block: Any, k: Any, weights: int) -> None:
    """Ask for a group's bytes, of so many weights each, some way ahead."""
    place = v.builder.mul(k, INT64(LANES // weights))
    for line in range(0, GROUP * LANES // weights, 64):
        v.prefetch(v.address(block, INT8, v.builder.add(place, INT64(line))), AHEAD)
