"""What does a step of decoding read and write? Arrays, under the names that its kernels use."""

from __future__ import annotations

from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba.extending import intrinsic

from unrolled.kernels.compiling import compiled
from unrolled.kernels.formats import Packed

CHUNK = 1024
"""Tokens whose exponentials are summed together: in an order that no number of threads changes."""


class Model(NamedTuple):
    """A decoder as the step reads it. Matrices stay where they are: only their addresses are here,
    so that one compiled function serves any number of layers.
    """

    like: Packed
    """Empty, but of the types of all matrices of the layers."""
    head: Packed
    """The same of the last one, which makes the logits."""
    places: np.ndarray
    """int64 [4 · layers + 1, 10]: of the values of each matrix the address and both sizes, of its
    scales the address and the size, of its groups the address and the first two sizes, of its
    factors the address and the size."""
    norms: np.ndarray
    """float32 [2 · layers + 1, 2, hidden]: weight and bias of each norm, in the order of use."""
    biases: np.ndarray
    """float32 [layers, all outputs of a layer's four matrices], or [layers, 0] without biases."""
    cos: np.ndarray
    """float32 [positions, head size / 2], or [0, …] where positions are in the embeddings."""
    sin: np.ndarray
    ones: np.ndarray
    """float32 [the longest of hidden size, positions and CHUNK]: a sum is a product with ones."""
    heads: int
    kv_heads: int
    head_size: int
    eps: np.float32
    centred: bool
    """LayerNorm, not RMSNorm."""
    gated: bool
    """SwiGLU, not GELU."""


class Rows(NamedTuple):
    """Where each row of a step stands."""

    keys: np.ndarray
    """float32 [layers, slots, kv heads · head size]; `values` likewise."""
    values: np.ndarray
    table: np.ndarray
    """int32 [sequences, positions]: the slots of each sequence's tokens."""
    owner: np.ndarray
    """int32 [rows]: which sequence of the table a row belongs to."""
    lengths: np.ndarray
    """int32 [rows]: how much of its sequence a row sees, itself included."""
    wanted: np.ndarray
    """int32: the rows whose log-probabilities are asked for."""


class Work(NamedTuple):
    """Room for what a step makes on its way."""

    x: np.ndarray
    """float32 [rows, hidden]: the embeddings come in here."""
    h: np.ndarray
    qkv: np.ndarray
    inner: np.ndarray
    """float32 [rows, outputs of W_up]."""
    active: np.ndarray
    """float32 [rows, inputs of W_down]."""
    narrow: np.ndarray
    """int16: h as the integer formats take it, and the steps of its groups (see `activations`)."""
    steps: np.ndarray
    narrow_active: np.ndarray
    steps_active: np.ndarray
    scores: np.ndarray
    """float32 [threads, TOGETHER, the longer of positions and CHUNK, and eight more]."""
    sums: np.ndarray
    """float32 [wanted, chunks of the vocabulary, 2]: highest logit, and sum of e^(logit - it)."""


@intrinsic
def lend(typing: Any, array: Any) -> Any:
    """The same array, whose references nobody counts: the caller keeps it while the step lasts.

    Each slice would count one up and one down, in memory that all threads share.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        answer = context.make_array(array)(context, builder, value=arguments[0])
        for part in ("meminfo", "parent"):
            setattr(answer, part, getattr(answer, part).type(None))
        return answer._getvalue()

    return array(array), generate


@compiled
@no_type_check
def lent_matrix(one):
    """The same for a matrix's."""
    return Packed(lend(one.values), lend(one.scales), lend(one.groups), lend(one.factors))


@compiled
@no_type_check
def lent(model, rows, work):
    """The same for all of a step's arrays."""
    like, head = lent_matrix(model.like), lent_matrix(model.head)
    model = Model(
        like, head, lend(model.places), lend(model.norms), lend(model.biases), lend(model.cos),
        lend(model.sin), lend(model.ones), model.heads, model.kv_heads, model.head_size,
        model.eps, model.centred, model.gated,
    )  # fmt: skip
    rows = Rows(
        lend(rows.keys), lend(rows.values), lend(rows.table), lend(rows.owner),
        lend(rows.lengths), lend(rows.wanted),
    )  # fmt: skip
    work = Work(
        lend(work.x), lend(work.h), lend(work.qkv), lend(work.inner), lend(work.active),
        lend(work.narrow), lend(work.steps), lend(work.narrow_active),
        lend(work.steps_active), lend(work.scores), lend(work.sums),
    )  # fmt: skip
    return model, rows, work
