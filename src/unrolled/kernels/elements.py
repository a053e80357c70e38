"""What stands between a block's products? The gate and the norm, one pass there and one back.

Gate (Shazeer 2020, equation 5, with silu(a) = a σ(a)): y = silu(a) b; with g = ∂L/∂y
    ∂L/∂a = g b σ(a) (1 + a (1 - σ(a)))        ∂L/∂b = g silu(a)
Norm (Zhang and Sennrich 2019, equation 4): y = w x r with r = 1 / √(mean x² + ε)
    ∂L/∂x = r (g w - x r² mean(g w x))         ∂L/∂w = Σ over rows of g x r

What binds is memory: a number is read and written once, where PyTorch's operations one by one do so
three to eight times. A piece of work are some rows.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from unrolled.kernels.arithmetic import exponentials, inner
from unrolled.kernels.compiling import compiled, sources
from unrolled.kernels.openmp import c_function, claim, finish, floats_at
from unrolled.kernels.vectors import FLOAT, INT64, Rows, Vectors

SOME = 32
"""Rows of a piece."""
GATE = np.dtype(
    [(n, np.int64) for n in ("next", "done", "rows", "width", "product", "out", "above")]
)
"""product [rows, 2 width] holds a and b, out [rows, width]; backwards `out` is as `product`, the
gradient of it, and above [rows, width]."""
NORM = np.dtype(
    [
        (n, np.int64)
        for n in ("next", "done", "rows", "width", "x", "weight", "out", "above", "to_weight")
    ]
    + [("eps", np.float64)]
)
"""x, out, above [rows, width], weight [width]; backwards `out` is x's gradient, and to_weight
[pieces, width] that of the weight, of each piece for itself."""
_ONE = np.float32(1.0)


def pieces(rows: int) -> int:
    """Of so many rows."""
    return -(-rows // SOME)


@no_type_check
def _gating(back: bool) -> Any:
    """One row of the gate, forward or backward."""

    def gate(typing, product, above, out):
        def generate(context, builder, signature, arguments):
            v = Vectors(context, builder)
            product, above, out = (
                Rows(context, builder, signature.args[i], arguments[i]).row(INT64(0))
                for i in range(3)
            )
            width = Rows(context, builder, signature.args[1], arguments[1]).width

            def some(i, count):
                j = builder.add(i, width)
                a, b = (v.load(product, FLOAT, place, count) for place in (i, j))
                one = v.constant(FLOAT, 1, count)
                power = exponentials(v, builder.fsub(v.constant(FLOAT, 0, count), a))
                sigmoid = builder.fdiv(one, builder.fadd(one, power))
                silu = builder.fmul(a, sigmoid)
                if not back:
                    v.store(builder.fmul(silu, b), out, FLOAT, i)
                    return
                g = v.load(above, FLOAT, i, count)
                slope = builder.fsub(builder.fadd(sigmoid, silu), builder.fmul(silu, sigmoid))
                v.store(builder.fmul(builder.fmul(g, b), slope), out, FLOAT, i)
                v.store(builder.fmul(g, silu), out, FLOAT, j)

            v.through(width, some)
            return context.get_dummy_value()

        return types.void(product, above, out), generate

    return intrinsic(gate)


_gate, _gate_back = _gating(back=False), _gating(back=True)


def _gates(fingerprint: str) -> tuple[Any, Any]:
    """The kernels; that they close over `fingerprint` tells numba of changes in other files."""

    @no_type_check
    def forward(pointer):
        fingerprint  # noqa: B018
        job = carray(pointer, 1)
        j = job[0]
        product = carray(floats_at(j.product), (j.rows, 2 * j.width))
        out = carray(floats_at(j.out), (j.rows, j.width))
        while True:
            first = claim(job) * SOME
            if first >= j.rows:
                break
            for r in range(first, min(first + SOME, j.rows)):
                _gate(product[r], out[r], out[r])
            finish(job)

    @no_type_check
    def backward(pointer):
        fingerprint  # noqa: B018
        job = carray(pointer, 1)
        j = job[0]
        product = carray(floats_at(j.product), (j.rows, 2 * j.width))
        out = carray(floats_at(j.out), (j.rows, 2 * j.width))
        above = carray(floats_at(j.above), (j.rows, j.width))
        while True:
            first = claim(job) * SOME
            if first >= j.rows:
                break
            for r in range(first, min(first + SOME, j.rows)):
                _gate_back(product[r], above[r], out[r])
            finish(job)

    return c_function(forward, GATE), c_function(backward, GATE)


@compiled
@no_type_check
def _scale(x, width, eps):
    """1 / √(mean x² + ε)."""
    mean = inner(x, x, width) / np.float32(width)
    return _ONE / np.float32(np.sqrt(mean + np.float32(eps)))


def _norms(fingerprint: str) -> tuple[Any, Any]:
    """The same."""

    @no_type_check
    def forward(pointer):
        fingerprint  # noqa: B018
        job = carray(pointer, 1)
        j = job[0]
        xs = carray(floats_at(j.x), (j.rows, j.width))
        out = carray(floats_at(j.out), (j.rows, j.width))
        weight = carray(floats_at(j.weight), (j.width,))
        while True:
            first = claim(job) * SOME
            if first >= j.rows:
                break
            for r in range(first, min(first + SOME, j.rows)):
                x, y = xs[r], out[r]
                scale = _scale(x, j.width, j.eps)
                for i in range(j.width):
                    y[i] = x[i] * scale * weight[i]
            finish(job)

    @no_type_check
    def backward(pointer):
        fingerprint  # noqa: B018
        job = carray(pointer, 1)
        j = job[0]
        xs = carray(floats_at(j.x), (j.rows, j.width))
        out = carray(floats_at(j.out), (j.rows, j.width))
        above = carray(floats_at(j.above), (j.rows, j.width))
        weight = carray(floats_at(j.weight), (j.width,))
        pieces = (j.rows + SOME - 1) // SOME
        to_weight = carray(floats_at(j.to_weight), (pieces, j.width))
        weighted = np.empty(j.width, np.float32)
        while True:
            piece = claim(job)
            if piece >= pieces:
                break
            total = to_weight[piece]
            for i in range(j.width):
                total[i] = 0
            for r in range(piece * SOME, min((piece + 1) * SOME, j.rows)):
                x, g, to = xs[r], above[r], out[r]
                scale = _scale(x, j.width, j.eps)
                for i in range(j.width):
                    weighted[i] = g[i] * weight[i]
                common = inner(weighted, x, j.width) / np.float32(j.width) * scale * scale
                for i in range(j.width):
                    to[i] = scale * (weighted[i] - x[i] * common)
                for i in range(j.width):
                    total[i] += g[i] * x[i] * scale
            finish(job)

    return c_function(forward, NORM), c_function(backward, NORM)


gate, gate_back = _gates(sources())
norm, norm_back = _norms(sources())
