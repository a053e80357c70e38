"""How is one token more decoded? All of a decoder, for all rows, in one call.

    x = embedding                                       a row of x for each row of the batch
    a layer:   h = norm(x)    q, k, v = W_qkv h    q, k turned    K[slot], V[slot] = k, v
               x += W_out attend(q, K, V)
               h = norm(x)    x += W_down act(W_up h)
    log p = log softmax(W_head norm(x))                 for the rows that are asked for

(Vaswani et al. 2017; Llama's form of it: Touvron et al. 2023, section 2.2.) Some threads do it
together: norms, attention and whatever sees a whole row are shared out by rows, products by
outputs, with a barrier between. A step with few rows is bound by reading each weight once; the rest
is arranged so as not to be seen beside it. Every sum's order is fixed by its own row, so a row has
the same bits in any batch and with any number of threads.

A prompt goes through the same function, its positions as rows that see one table to different
lengths.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from unrolled.kernels.arithmetic import dot, exponential, highest
from unrolled.kernels.arrays import CHUNK, lend, lent
from unrolled.kernels.compiling import compiled, kept, sources
from unrolled.kernels.formats import Packed
from unrolled.kernels.heads import TOGETHER, attend
from unrolled.kernels.products import multiply, quantise
from unrolled.kernels.team import meet, share

QKV, OUT, UP, DOWN = range(4)
"""The matrices of a layer, in the order in which `Model.places` has them; the head stands last."""
LINE = 16
"""Outputs that one thread makes at least: their float32 fill a line of the processor's cache."""


@intrinsic
def _pointer(typing: Any, address: Any, like: Any) -> Any:
    """The address as a pointer to numbers of the array's type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(types.int64, like), generate


@compiled
@no_type_check
def _matrix(like, place):
    """A matrix of the model, of the types of `like`; its bias is apart."""
    values = carray(_pointer(place[0], like.values), (place[1], place[2]))
    scales = carray(_pointer(place[3], like.scales), (place[4],))
    groups = carray(_pointer(place[5], like.groups), (place[6], place[7], like.groups.shape[2]))
    factors = carray(_pointer(place[8], like.factors), (place[9],))
    return Packed(values, scales, groups, factors)


@compiled
@no_type_check
def _round(model, layer, which, x, narrow, steps, first, last):
    """Rows first…last of what a layer's matrix is multiplied by, as its format takes them."""
    matrix = _matrix(model.like, model.places[4 * layer + which])
    quantise(matrix, x[first:last], narrow[first:last], steps[first:last])


@compiled
@no_type_check
def _normed(model, which, x, out):
    """X / √(mean x² + ε) · weight, or LayerNorm, which takes the mean off first, + bias."""
    size = x.shape[0]
    weight, bias = model.norms[which, 0], model.norms[which, 1]
    count = np.float32(size)
    mean = np.float32(0.0)
    if model.centred:
        mean = dot(x, model.ones, size) / count
    for i in range(size):
        out[i] = x[i] - mean
    scale = np.float32(1.0) / np.sqrt(dot(out, out, size) / count + model.eps)
    for i in range(size):
        out[i] = out[i] * scale * weight[i] + bias[i]


@compiled
@no_type_check
def _turn(head, cos, sin):
    """Rotate dimension i of a head with i + half of them (Su et al. 2021, equation 34)."""
    half = cos.shape[0]
    one, other = head[:half], head[half:]
    for i in range(half):
        first, second = one[i], other[i]
        one[i] = first * cos[i] - second * sin[i]
        other[i] = second * cos[i] + first * sin[i]


@compiled
@no_type_check
def _store(model, rows, layer, qkv, first, last):
    """Turn queries and keys among the heads first…last of q, k, v; put k and v in their slots."""
    size, kv_heads = model.head_size, model.kv_heads
    turning = model.heads + kv_heads
    for r in range(qkv.shape[0]):
        position = rows.lengths[r] - 1
        slot = rows.table[rows.owner[r], position]
        for head in range(first, last):
            values = qkv[r, head * size : (head + 1) * size]
            if head < turning and model.cos.shape[0]:
                _turn(values, model.cos[position], model.sin[position])
            at = head - model.heads
            if at >= kv_heads:
                _copy(values, rows.values[layer, slot, (at - kv_heads) * size :])
            elif at >= 0:
                _copy(values, rows.keys[layer, slot, at * size :])


@compiled
@no_type_check
def _copy(source, target):
    for i in range(source.shape[0]):
        target[i] = source[i]


@compiled
@no_type_check
def _add(source, target):
    for i in range(target.shape[0]):
        target[i] += source[i]


_CUBIC = np.float32(0.044715)
_TWICE = np.float32(-2.0 * np.sqrt(2.0 / np.pi))
_ONE = np.float32(1.0)


@compiled
@no_type_check
def _activate(model, inner, active, first, last):
    """silu(gate) · up, or gelu's tanh form: x (1 + tanh z) / 2 = x / (1 + e^-2z)."""
    width = active.shape[1]
    for r in range(active.shape[0]):
        source, target = inner[r, first:last], active[r, first:last]
        if model.gated:
            up = inner[r, width + first : width + last]
            for i in range(target.shape[0]):
                gate = source[i]
                target[i] = gate / (_ONE + exponential(-gate)) * up[i]
        else:
            for i in range(target.shape[0]):
                x = source[i]
                target[i] = x / (_ONE + exponential(_TWICE * (x + _CUBIC * x * x * x)))


@compiled
@no_type_check
def _product(model, layer, which, offset, x, narrow, steps, out, first, last, stream):
    """Outputs first…last of one of a layer's matrices, their biases (from `offset` on) added.

    They are added to the stream too, where it has rows.
    """
    matrix = _matrix(model.like, model.places[4 * layer + which])
    multiply(matrix, x, narrow, steps, out, first, last)
    for r in range(out.shape[0]):
        made = out[r, first:last]
        if model.biases.shape[1]:
            _add(model.biases[layer, offset + first :], made)
        if stream.shape[0]:
            _add(made, stream[r, first:last])


@compiled
@no_type_check
def _heard(model, rows, work, layer, thread, threads):
    """A thread's share of attention: of each head of keys and values all rows, of each row all
    queries that look at that head, so that what they see is read once.
    """
    size, group = model.head_size, model.heads // model.kv_heads
    count = work.x.shape[0] * group
    first, last = share(model.kv_heads * count, 1, thread, threads)
    scores = work.scores[thread]
    for head in range(model.kv_heads):
        mine = slice(head * size, (head + 1) * size)
        keys, values = rows.keys[layer, :, mine], rows.values[layer, :, mine]
        i, end = max(first - head * count, 0), min(last - head * count, count)
        while i < end:
            owner, some = rows.owner[i // group], i + 1
            while some < min(i + TOGETHER, end) and rows.owner[some // group] == owner:
                some += 1
            attend(
                work.qkv, keys, values, rows.table, owner, rows.lengths,
                (i, some, group, head * group * size), scores, model.ones, work.h,
            )  # fmt: skip
            i = some


@compiled
@no_type_check
def _layer(model, rows, work, layer, barrier, due, thread, threads):
    """One layer; returns how many arrivals the barrier has seen by then."""
    count = work.x.shape[0]
    hidden, mlp, size = work.x.shape[1], work.active.shape[1], model.head_size
    wide = work.qkv.shape[1]
    from_, to = share(count, 1, thread, threads)
    for r in range(from_, to):
        _normed(model, 2 * layer, work.x[r], work.h[r])
    _round(model, layer, QKV, work.h, work.narrow, work.steps, from_, to)
    due += threads
    meet(barrier, due)
    first, last = share(wide // size, 1, thread, threads)
    nothing = work.x[:0]
    _product(
        model, layer, QKV, 0, work.h, work.narrow, work.steps, work.qkv, first * size, last * size,
        nothing,
    )  # fmt: skip
    _store(model, rows, layer, work.qkv, first, last)
    due += threads
    meet(barrier, due)
    _heard(model, rows, work, layer, thread, threads)
    due += threads
    meet(barrier, due)
    _round(model, layer, OUT, work.h, work.narrow, work.steps, from_, to)
    due += threads
    meet(barrier, due)
    first, last = share(hidden, LINE, thread, threads)
    _product(
        model, layer, OUT, wide, work.h, work.narrow, work.steps, work.qkv, first, last, work.x
    )
    due += threads
    meet(barrier, due)
    for r in range(from_, to):
        _normed(model, 2 * layer + 1, work.x[r], work.h[r])
    _round(model, layer, UP, work.h, work.narrow, work.steps, from_, to)
    due += threads
    meet(barrier, due)
    bias = wide + hidden
    up_first, up_last = share(mlp, LINE, thread, threads)
    for at in range(0, work.inner.shape[1], mlp):
        _product(
            model, layer, UP, bias, work.h, work.narrow, work.steps, work.inner,
            at + up_first, at + up_last, nothing,
        )  # fmt: skip
    _activate(model, work.inner, work.active, up_first, up_last)
    due += threads
    meet(barrier, due)
    _round(model, layer, DOWN, work.active, work.narrow_active, work.steps_active, from_, to)
    due += threads
    meet(barrier, due)
    bias += work.inner.shape[1]
    _product(
        model, layer, DOWN, bias, work.active, work.narrow_active, work.steps_active,
        work.qkv, first, last, work.x,
    )  # fmt: skip
    due += threads
    meet(barrier, due)
    return due


@compiled
@no_type_check
def _summed(model, logits, sums, room, first, last):
    """The sums of the chunks that begin at tokens first…last, of each row."""
    for w in range(logits.shape[0]):
        for start in range(first, last, CHUNK):
            some = logits[w, start : start + CHUNK]
            count = some.shape[0]
            most = highest(some, count)
            for i in range(count):
                room[i] = exponential(some[i] - most)
            sums[w, start // CHUNK, 0] = most
            sums[w, start // CHUNK, 1] = dot(room, model.ones, count)


@compiled
@no_type_check
def _logarithms(logits, sums, first, last):
    """Tokens first…last of log softmax, in place."""
    for w in range(logits.shape[0]):
        most = np.float32(-np.inf)
        for chunk in range(sums.shape[1]):
            most = sums[w, chunk, 0] if sums[w, chunk, 0] > most else most
        total = np.float32(0.0)
        for chunk in range(sums.shape[1]):
            total += sums[w, chunk, 1] * exponential(sums[w, chunk, 0] - most)
        logarithm = np.float32(np.log(total))
        some = logits[w, first:last]
        for i in range(some.shape[0]):
            some[i] = (some[i] - most) - logarithm


def _made(fingerprint: str) -> Any:
    """The step; that it closes over `fingerprint` tells numba when another file has changed."""

    @no_type_check
    def step(model, rows, work, log_probs, barrier, thread, threads):
        fingerprint  # noqa: B018
        model, rows, work = lent(model, rows, work)
        log_probs, barrier = lend(log_probs), lend(barrier)
        due, last = 0, (model.places.shape[0] - 1) // 4
        for layer in range(last):
            due = _layer(model, rows, work, layer, barrier, due, thread, threads)
        wanted = rows.wanted.shape[0]
        from_, to = share(wanted, 1, thread, threads)
        for w in range(from_, to):
            _normed(model, 2 * last, work.x[rows.wanted[w]], work.h[w])
        head = _matrix(model.head, model.places[4 * last])
        quantise(head, work.h[from_:to], work.narrow[from_:to], work.steps[from_:to])
        due += threads
        meet(barrier, due)
        first, end = share(log_probs.shape[1], CHUNK, thread, threads)
        multiply(
            head, work.h[:wanted], work.narrow[:wanted], work.steps[:wanted], log_probs, first, end
        )
        _summed(model, log_probs, work.sums, work.scores[thread, 0], first, end)
        due += threads
        meet(barrier, due)
        _logarithms(log_probs, work.sums, first, end)
        due += threads
        meet(barrier, due)

    return kept(step)


step = _made(sources())
"""step(model, rows, work, log_probs, barrier, thread, threads): one thread's part.

The stream `work.x` is used up; when all have done, keys and values of each row are in its slot, and
log_probs float32 [wanted, vocab] is filled."""
