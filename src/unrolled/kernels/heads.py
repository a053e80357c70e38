"""What does a row's query see? softmax(q Kᵀ / √d) V over the slots of its own ancestors.

Vaswani et al. 2017, equation (1). Keys and values of all rows stand in one pool, [slots, heads ×
head size]; a row's table names the slots of its prefix in order. Rows of one prompt share its slots,
and stand side by side, so that those are still in the cache nearest to the processor:

    table of row r   17 18 19 42 57        q · K[17] … q · K[57], softmax, Σ p V[slot]

The order of every sum is fixed by the lengths alone: two sums of eight lanes, then the lanes in
pairs. So a row's result has the same bits wherever the row stands, and by whatever thread it is
made. An exponential is 2ⁿ e^r with a polynomial for |r| ≤ ln 2 / 2, within 2 units of the last place
(Cephes' expf), written so that the compiler makes eight of them at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from unrolled.kernels.compiling import compiled

LANES = 8
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)


def _data(context: Any, builder: Any, signature: Any, arguments: Any, which: int, at: Any) -> Any:
    """The address of an element of the array that is argument `which`, counted flat."""
    array = context.make_array(signature.args[which])(context, builder, arguments[which])
    return builder.gep(array.data, [at])


def _load(builder: Any, pointer: Any, index: Any, lanes: int) -> Any:
    place = builder.gep(pointer, [index])
    if lanes == 1:
        return builder.load(place)
    kind = ir.VectorType(pointer.type.pointee, lanes)
    loaded = builder.load(builder.bitcast(place, kind.as_pointer()))
    loaded.align = 4
    return loaded


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, fused where the machine does that fast; everywhere the same on one machine."""
    name = "llvm.fmuladd." + (f"v{a.type.count}f32" if isinstance(a.type, ir.VectorType) else "f32")
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


def _loop(builder: Any, start: Any, stop: Any, step: int, body: Any) -> None:
    bounds = ir.Constant(start.type, step)
    with cgutils.for_range_slice(builder, start, stop, bounds, start.type) as (index, _):
        body(index)


def _whole(builder: Any, count: Any, step: int) -> Any:
    """count rounded down to a multiple of a power of two."""
    return builder.and_(count, ir.Constant(count.type, -step))


def _total(builder: Any, vector: Any) -> Any:
    """The sum of the lanes, in pairs."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        halves = [
            builder.shuffle_vector(
                vector, vector, ir.Constant(ir.VectorType(_INT, lanes), [*range(at, at + lanes)])
            )
            for at in (0, lanes)
        ]
        vector = builder.fadd(*halves)
    return builder.extract_element(vector, ir.Constant(_INT, 0))


@intrinsic  # type: ignore[untyped-decorator]
def dot(typing: Any, a: Any, at: Any, b: Any, bt: Any, count: Any) -> Any:
    """Σ a[at + i] b[bt + i] over `count` numbers of two arrays of float32, counted flat."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = _data(context, builder, signature, arguments, 0, arguments[1])
        two = _data(context, builder, signature, arguments, 2, arguments[3])
        n = arguments[4]
        zero = ir.Constant(n.type, 0)
        sums = [cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, None)) for _ in "ab"]
        rest = cgutils.alloca_once_value(builder, ir.Constant(_FLOAT, 0.0))

        def add(into: Any, index: Any, lanes: int) -> None:
            pair = (_load(builder, p, index, lanes) for p in (one, two))
            builder.store(_multiply_add(builder, *pair, builder.load(into)), into)

        def two_vectors(index: Any) -> None:
            add(sums[0], index, LANES)
            add(sums[1], builder.add(index, ir.Constant(n.type, LANES)), LANES)

        pairs, ones = _whole(builder, n, 2 * LANES), _whole(builder, n, LANES)
        _loop(builder, zero, pairs, 2 * LANES, two_vectors)
        _loop(builder, pairs, ones, LANES, lambda index: add(sums[0], index, LANES))
        _loop(builder, ones, n, 1, lambda index: add(rest, index, 1))
        both = builder.fadd(*(builder.load(s) for s in sums))
        return builder.fadd(_total(builder, both), builder.load(rest))

    return types.float32(a, types.intp, b, types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def mix(
    typing: Any, out: Any, at: Any, weights: Any, wt: Any, table: Any, tt: Any, values: Any,
    vt: Any, stride: Any, length: Any, count: Any,
) -> Any:  # fmt: skip
    """out[at + c] = Σ_j weights[wt + j] values[vt + table[tt + j] stride + c], c below `count`.

    Up to 32 of `count` stay in registers while j passes over `length` slots.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _data(context, builder, signature, arguments, 0, arguments[1])
        weight = _data(context, builder, signature, arguments, 2, arguments[3])
        slots = _data(context, builder, signature, arguments, 4, arguments[5])
        held = _data(context, builder, signature, arguments, 6, arguments[7])
        width, n, d = arguments[8:]
        zero = ir.Constant(n.type, 0)

        def columns(first: Any, vectors: int, lanes: int) -> None:
            kind = ir.VectorType(_FLOAT, lanes) if lanes > 1 else _FLOAT
            nothing = ir.Constant(kind, None if lanes > 1 else 0.0)
            sums = [cgutils.alloca_once(builder, kind) for _ in range(vectors)]
            for each in sums:
                builder.store(nothing, each)

            def slot(j: Any) -> None:
                share = builder.load(builder.gep(weight, [j]))
                row = builder.sext(builder.load(builder.gep(slots, [j])), n.type)
                start = builder.add(builder.mul(row, width), first)
                if lanes > 1:
                    share = _spread(builder, share, lanes)
                for i, each in enumerate(sums):
                    index = builder.add(start, ir.Constant(n.type, i * lanes))
                    value = _load(builder, held, index, lanes)
                    builder.store(_multiply_add(builder, share, value, builder.load(each)), each)

            _loop(builder, zero, n, 1, slot)
            for i, each in enumerate(sums):
                place = builder.gep(target, [builder.add(first, ir.Constant(n.type, i * lanes))])
                stored = builder.store(
                    builder.load(each), builder.bitcast(place, kind.as_pointer())
                )
                stored.align = 4

        done = zero
        for vectors, lanes in ((4, LANES), (2, LANES), (1, LANES), (1, 1)):
            end = _whole(builder, d, vectors * lanes)
            _loop(builder, done, end, vectors * lanes, lambda c, v=vectors, s=lanes: columns(c, v, s))  # noqa: E501
            done = end
        return context.get_dummy_value()

    kinds = (out, types.intp, weights, types.intp, table, types.intp, values, *[types.intp] * 4)
    return types.void(*kinds), generate


def _spread(builder: Any, value: Any, lanes: int) -> Any:
    """One number in all lanes."""
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_INT, 0))
    zeros = ir.Constant(ir.VectorType(_INT, lanes), None)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)


@intrinsic  # type: ignore[untyped-decorator]
def _power_of_two(typing: Any, shifted: Any) -> Any:
    """2ⁿ, given n + 1.5 × 2²³ as float32: its last bits are those of n."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], _INT)
        exponent = builder.add(bits, ir.Constant(_INT, 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(_INT, 23)), _FLOAT)

    return types.float32(types.float32), generate


_MAGIC = np.float32(1.5 * 2**23)
_LOG2E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_P = tuple(
    np.float32(c)
    for c in (
        1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
        4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
    )
)  # fmt: skip
_P0, _P1, _P2, _P3, _P4, _P5 = _P
_ONE = np.float32(1.0)


@compiled
def exponential(x):  # type: ignore[no-untyped-def]
    """e^x in float32; held within e^±87, NaN for NaN."""
    x = _LOWEST if x < _LOWEST else x
    x = _HIGHEST if x > _HIGHEST else x
    shifted = x * _LOG2E + _MAGIC
    n = shifted - _MAGIC
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
    return (p * (r * r) + r + _ONE) * _power_of_two(shifted)


@compiled
def attend(queries, at, keys, values, layer, head, size, group, table, row, length, scores, ones, out, to):  # type: ignore[no-untyped-def]  # noqa: E501
    """Fill the `group` heads from out[to] on that share the keys of `head`; queries from `at` on.

    `scores` [positions] is room, `ones` [positions] are ones.
    """
    slots, width = keys.shape[1], keys.shape[2]
    base = layer * slots * width + head * size
    first = row * table.shape[1]
    scale = _ONE / np.float32(np.sqrt(np.float32(size)))
    for g in range(group):
        highest = np.float32(-np.inf)
        for j in range(length):
            where = base + np.intp(table[row, j]) * width
            score = dot(queries, at + g * size, keys, where, size) * scale
            scores[j] = score
            highest = score if score > highest else highest
        for j in range(length):
            scores[j] = exponential(scores[j] - highest)
        share = _ONE / dot(scores, 0, ones, 0, length)
        for j in range(length):
            scores[j] *= share
        mix(out, to + g * size, scores, 0, table, first, values, base, width, length, size)
