"""What do the queries of whole sequences see, and what is its gradient? One pass over each head.

Vaswani et al. 2017, equation (1), with rotary positions (Su et al. 2021, equation 34); the backward
pass makes the probabilities anew from what is kept of their sums (Dao et al. 2022, algorithm 4).
With S = QKᵀ/√d, P = softmax(S), O = PV and G = ∂L/∂O:

    ∂L/∂V = PᵀG    ∂L/∂S = P ∘ (GVᵀ - rowsum(G ∘ O))    ∂L/∂Q = ∂L/∂S K/√d    ∂L/∂K = ∂L/∂Sᵀ Q/√d

Query i of a row looks at keys first[i] … end[i] - 1, both of which never fall from one query to the
next: a causal row (0, i + 1), a row of packed documents (its document's start, i + 1), an encoder's
row (0, length). Eight queries pass together, over the keys that any of them sees.

    qkv[row, time]   | q of head 0 | … | q of the last | k of head 0 | … | v of head 0 | … |

A piece of work is a row and a head of keys and values, with all heads of queries that share it: its
part of `qkv` is read once, turned on the way into memory that stays in the processor's own cache,
and nothing is written but the answer. So what binds are the products, half of which a causal mask
saves; and no sum depends on how many threads there are.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from unrolled.kernels.arithmetic import exponentials, highest, inner, powers
from unrolled.kernels.compiling import compiled, sources
from unrolled.kernels.openmp import c_function, claim, finish, floats_at, ints_at
from unrolled.kernels.rotary import turn, turn_back
from unrolled.kernels.tiles import TALL, WIDE, add_turned, multiply, spread
from unrolled.kernels.vectors import FLOAT, INT64, Rows, Vectors

TOGETHER = 64
"""Queries whose probabilities are kept until the gradients of keys and values take them up."""
LINE = 16
"""Numbers in a line of the cache."""
JOB = np.dtype(
    [(name, np.int64) for name in (
        "next", "done", "rows", "time", "start", "heads", "kv_heads", "size", "tables", "half",
        "spans", "qkv", "cos", "sin", "first", "end", "out", "sums", "above", "to_qkv",
    )],
)  # fmt: skip
"""Sizes, then the addresses of arrays; `tables` and `spans` are 1 where all rows share them:
qkv, to_qkv [rows, time, (heads + 2 kv_heads) size], cos, sin [tables, time, half],
first, end [spans, time], out, above [rows, time - start, heads size], sums [rows, heads, time, 2]:
the highest score of a query, and 1 / Σ e^(score - it)."""
_ONE, _NOTHING = np.float32(1.0), np.float32(-np.inf)


@compiled
@no_type_check
def _lay(rows, count, size, out):
    """The first `count` rows, of `size` numbers each, lie in `out` on their side."""
    for i in range(size):
        line = out[i]
        for t in range(count):
            line[t] = rows[t, i]


@compiled
@no_type_check
def _span(first, end, r, last):
    """The keys that queries r … last - 1 see, the first and the end rounded to whole vectors."""
    low, high = first[r] // WIDE * WIDE, end[last - 1]
    return low, high, -(-high // WIDE) * WIDE


@compiled
@no_type_check
def _cut(line, low, high, first, end, with_):
    """line[low:first] and line[end:high] become one number."""
    for j in range(low, first):
        line[j] = with_
    for j in range(end, high):
        line[j] = with_


@compiled
@no_type_check
def _softmax(scores, low, high, first, end):
    """scores[low:high] become e^(score - highest) of first…end, else 0; the highest and the sum."""
    _cut(scores, low, high, first, end, _NOTHING)
    most = highest(scores[low:high], high - low)
    mass = powers(scores[low:high], most)
    _cut(scores, low, high, first, end, np.float32(0))
    return most, mass


@compiled
@no_type_check
def _forward(qkv, cos, sin, first, end, start, head, group, kv_heads, out, sums, room):
    """What the `group` queries of one head of keys see, in one row."""
    keys, values, laid, query, scores, mixed, shares = room
    time, size = qkv.shape[0], laid.shape[0]
    heads = group * kv_heads
    column = (heads + head) * size
    turn(qkv[:, column : column + size], cos, sin, _ONE, keys)
    _lay(keys, time, size, laid)
    column += kv_heads * size
    turn(qkv[:, column : column + size], cos[:, :0], sin[:, :0], _ONE, values)
    scale = _ONE / np.float32(np.sqrt(np.float32(size)))
    for one in range(head * group, (head + 1) * group):
        column = one * size
        for r in range(start, time, TALL):
            last = min(r + TALL, time)
            low, seen, high = _span(first, end, r, last)
            some = qkv[r:last, column : column + size]
            turn(some, cos[r:last], sin[r:last], scale, query)
            multiply(query[:, :size], laid[:, low:high], scores[:, low:high])
            for i in range(last - r):
                most, mass = _softmax(scores[i], low, high, first[r + i], end[r + i])
                shares[i] = _ONE / mass
                sums[one, r + i, 0], sums[one, r + i, 1] = most, shares[i]
            multiply(scores[:, low:seen], values[low:seen], mixed)
            to = out[r - start : last - start, column : column + size]
            spread(mixed, shares, to)


@intrinsic
@no_type_check
def _to_scores(typing, scores, gradients, most, share, common):
    """P = e^(score - most) · share in the place of scores; gradients = P (gradients - common)."""

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder)
        scores, gradients = (
            Rows(context, builder, signature.args[i], arguments[i]) for i in (0, 1)
        )
        one, two = scores.row(INT64(0)), gradients.row(INT64(0))
        most, share, common = (v.same(arguments[i], v.lanes) for i in (2, 3, 4))

        def some(j, _):
            made = exponentials(v, builder.fsub(v.load(one, FLOAT, j, v.lanes), most))
            made = builder.fmul(made, share)
            above = builder.fsub(v.load(two, FLOAT, j, v.lanes), common)
            v.store(made, one, FLOAT, j)
            v.store(builder.fmul(made, above), two, FLOAT, j)
            return []

        v.loop(INT64(0), scores.width, v.lanes, [], some)
        return context.get_dummy_value()

    f = types.float32
    return types.void(scores, gradients, f, f, f), generate


@compiled
@no_type_check
def _gather(scores, to_scores, query, given, first, end, r, last, to_keys, to_values):
    """Add what queries r … last - 1 say of keys and values, eight of these at a time."""
    low, _, high = _span(first, end, r, last)
    from_, to = r, r
    for key in range(low, high, TALL):
        while from_ < last and end[from_] <= key:
            from_ += 1
        while to < last and first[to] < key + TALL:
            to += 1
        a, b = from_ - r, to - r
        add_turned(scores[a:b, key : key + TALL], given[a:b], to_values[key : key + TALL])
        add_turned(to_scores[a:b, key : key + TALL], query[a:b], to_keys[key : key + TALL])


@compiled
@no_type_check
def _backward(
    qkv, cos, sin, first, end, start, head, group, kv_heads, out, sums, above, to_qkv, room
):
    """The gradients of queries, keys and values of one head of keys, in one row."""
    keys, laid, laid_values, query, given, scores, to_scores, to_query, to_keys, to_values = room
    time, size = qkv.shape[0], laid.shape[0]
    heads = group * kv_heads
    column = (heads + kv_heads + head) * size
    turn(qkv[:, column : column + size], cos[:, :0], sin[:, :0], _ONE, keys)
    _lay(keys, time, size, laid_values)
    column = (heads + head) * size
    turn(qkv[:, column : column + size], cos, sin, _ONE, keys)
    _lay(keys, time, size, laid)
    to_keys[:] = 0
    to_values[:] = 0
    scale = _ONE / np.float32(np.sqrt(np.float32(size)))
    for one in range(head * group, (head + 1) * group):
        column = one * size
        for t in range(start):
            to_qkv[t, column : column + size] = 0
        for r in range(start, time, TOGETHER):
            last = min(r + TOGETHER, time)
            turns = cos[r:last], sin[r:last]
            turn(qkv[r:last, column : column + size], *turns, scale, query)
            some = above[r - start : last - start, column : column + size]
            turn(some, cos[:, :0], sin[:, :0], _ONE, given)
            for tile in range(r, last, TALL):
                i, stop = tile - r, min(tile + TALL, last)
                low, seen, high = _span(first, end, tile, stop)
                s, g = scores[i : i + TALL], to_scores[i : i + TALL]
                multiply(query[i : i + TALL, :size], laid[:, low:high], s[:, low:high])
                multiply(given[i : i + TALL, :size], laid_values[:, low:high], g[:, low:high])
                for t in range(tile, stop):
                    common = inner(given[t - r], out[t - start, column : column + size], size)
                    p, d = s[t - tile], g[t - tile]
                    _to_scores(p[low:high], d[low:high], sums[one, t, 0], sums[one, t, 1], common)
                    _cut(p, low, high, first[t], end[t], np.float32(0))
                    _cut(d, low, high, first[t], end[t], np.float32(0))
                multiply(g[:, low:seen], keys[low:seen], to_query)
                to = to_qkv[tile:stop, column : column + size]
                turn_back(to_query[: stop - tile, :size], cos[tile:stop], sin[tile:stop], scale, to)
            _gather(scores, to_scores, query, given, first, end, r, last, to_keys, to_values)
    column = (heads + head) * size
    turn_back(to_keys[:time, :size], cos, sin, _ONE, to_qkv[:, column : column + size])
    column += kv_heads * size
    to = to_qkv[:, column : column + size]
    turn_back(to_values[:time, :size], cos[:, :0], sin[:, :0], _ONE, to)


@compiled
@no_type_check
def _room(rows, columns):
    """float32 [rows, columns] and more, both rounded up to whole tiles; zero.

    It begins on a line of the cache: a vector that lies in two lines takes two loads.
    """
    rows, columns = -(-rows // TALL) * TALL, -(-columns // WIDE) * WIDE
    room = np.zeros(rows * columns + LINE, np.float32)
    start = -(room.ctypes.data // 4) % LINE
    return room[start : start + rows * columns].reshape((rows, columns))


@compiled
@no_type_check
def _opened(j):
    """The arrays of a job."""
    width = (j.heads + 2 * j.kv_heads) * j.size
    tail = (j.rows, j.time - j.start, j.heads * j.size)
    return (
        carray(floats_at(j.qkv), (j.rows, j.time, width)),
        carray(floats_at(j.cos), (j.tables, j.time, j.half)),
        carray(floats_at(j.sin), (j.tables, j.time, j.half)),
        carray(ints_at(j.first), (j.spans, j.time)),
        carray(ints_at(j.end), (j.spans, j.time)),
        carray(floats_at(j.out), tail),
        carray(floats_at(j.sums), (j.rows, j.heads, j.time, 2)),
        carray(floats_at(j.above), tail),
        carray(floats_at(j.to_qkv), (j.rows, j.time, width)),
    )


def _made(fingerprint: str) -> tuple[Any, Any]:
    """Both kernels; that they close over `fingerprint` tells numba of changes in other files."""

    @no_type_check
    def forward(pointer):
        fingerprint  # noqa: B018
        job = carray(pointer, 1)
        j = job[0]
        qkv, cos, sin, first, end, out, sums, _, _ = _opened(j)
        keys, values, laid = _room(j.time, j.size), _room(j.time, j.size), _room(j.size, j.time)
        query, scores, mixed = _room(TALL, j.size), _room(TALL, j.time), _room(TALL, j.size)
        shares = _room(1, TALL)[0]
        room = (keys, values, laid[: j.size], query, scores, mixed, shares)
        while True:
            piece = claim(job)
            if piece >= j.rows * j.kv_heads:
                break
            row, head = piece // j.kv_heads, piece % j.kv_heads
            table, span = row % j.tables, row % j.spans
            _forward(
                qkv[row], cos[table], sin[table], first[span], end[span], j.start, head,
                j.heads // j.kv_heads, j.kv_heads, out[row], sums[row], room,
            )  # fmt: skip
            finish(job)

    @no_type_check
    def backward(pointer):
        fingerprint  # noqa: B018
        job = carray(pointer, 1)
        j = job[0]
        qkv, cos, sin, first, end, out, sums, above, to_qkv = _opened(j)
        keys, to_keys, to_values = (
            _room(j.time, j.size), _room(j.time, j.size), _room(j.time, j.size)
        )  # fmt: skip
        laid, laid_values = _room(j.size, j.time), _room(j.size, j.time)
        query, given = _room(TOGETHER, j.size), _room(TOGETHER, j.size)
        scores, to_scores = _room(TOGETHER, j.time), _room(TOGETHER, j.time)
        to_query = _room(TALL, j.size)
        room = (
            keys, laid[: j.size], laid_values[: j.size], query, given, scores, to_scores,
            to_query, to_keys, to_values,
        )  # fmt: skip
        while True:
            piece = claim(job)
            if piece >= j.rows * j.kv_heads:
                break
            row, head = piece // j.kv_heads, piece % j.kv_heads
            table, span = row % j.tables, row % j.spans
            _backward(
                qkv[row], cos[table], sin[table], first[span], end[span], j.start, head,
                j.heads // j.kv_heads, j.kv_heads, out[row], sums[row], above[row], to_qkv[row],
                room,
            )  # fmt: skip
            finish(job)

    return c_function(forward, JOB), c_function(backward, JOB)


forward, backward = _made(sources())
