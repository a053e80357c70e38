"""How do sixteen rows of int8 pass at once where the processor multiplies tiles of bytes? By AMX.

Three of its registers hold a group of 32 inputs of 16 rows, the same of a block of 16 outputs as
`formats` lays it out, four inputs after four, and their products; one instruction makes these
(Intel, Architecture Instruction Set Extensions Programming Reference, chapter 3: TDPBSSD):

    16 rows of activations   8 lines of weights                   16 rows of sums
    x₀ x₁ x₂ … x₃₁           o₀ q₀…₃     o₁ q₀…₃   …  o₁₅ q₀…₃    s₀  s₁  …  s₁₅
      …                        …                                     …
    x₀ x₁ x₂ … x₃₁           o₀ q₂₈…₃₁   o₁ q₂₈…₃₁ …              s₀  s₁  …  s₁₅

The sums are the whole numbers that `whole` makes without it, and are used as there, so a row has
the same bits either way. They come back through memory: nothing else reads these registers.

What binds, measured on an Emerald Rapids: of 8,192 products 43 to 58 cycles are for the registers,
though the product itself takes 16 (zeroing an accumulator or storing it lets the next wait), and
46 for what follows in `whole`; they add up, in whatever order and however far ahead the tiles are
made. VNNI takes some 150 for as many. int4's weights would have to be opened in memory first, and
gain nothing.
"""

from __future__ import annotations

import struct
from typing import Any, no_type_check

from llvmlite import ir
from numba.core import cgutils

from unrolled.kernels.formats import GROUP, LANES
from unrolled.kernels.vectors import INT8, INT32, INT64, QUAD, Rows, Vectors

TALL = 16
"""Rows of a tile."""
_LINE = 64  # bytes of a register's row
_X, _WEIGHTS, _SUMS = range(3)


@no_type_check
def open_tiles(v: Vectors) -> None:
    """Say how many rows, and how many bytes of each, the registers hold: LDTILECFG's format."""
    rows, widths = bytearray(16), [0] * 16
    rows[_X], widths[_X] = TALL, GROUP
    rows[_WEIGHTS], widths[_WEIGHTS] = GROUP // QUAD, _LINE
    rows[_SUMS], widths[_SUMS] = TALL, _LINE
    shapes = bytearray(struct.pack("<BB14x16H16s", 1, 0, *widths, bytes(rows)))
    constant = ir.Constant(ir.ArrayType(INT8, len(shapes)), shapes)
    where = cgutils.global_constant(v.builder, "shapes", constant)
    _call(v, "ldtilecfg", v.builder.bitcast(where, INT8.as_pointer()))


@no_type_check
def close_tiles(v: Vectors) -> None:
    """Give the registers back, so that the system needn't keep them."""
    _call(v, "tilerelease")


@no_type_check
def tile_sums(v: Vectors, x: Rows, row: Any, block: Any, k: Any) -> list:
    """Σ q xq over the group at input k: of 16 rows from `row` on, a vector of 16 outputs each."""
    sums, weights = v.room(TALL * _LINE), v.address(block, INT8, v.builder.mul(k, INT64(LANES)))
    _call(v, "tilezero", INT8(_SUMS))
    _call(v, "tileloadd64", INT8(_X), v.address(x.row(row), INT8, k), x.stride)
    _call(v, "tileloadd64", INT8(_WEIGHTS), weights, INT64(_LINE))
    _call(v, "tdpbssd", INT8(_SUMS), INT8(_X), INT8(_WEIGHTS))
    _call(v, "tilestored64", INT8(_SUMS), sums, INT64(_LINE))
    return [v.load(sums, INT32, INT64(r * LANES), LANES) for r in range(TALL)]


@no_type_check
def _call(v: Vectors, name: str, *arguments: Any) -> None:
    v.call(f"llvm.x86.{name}", ir.VoidType(), *arguments)
