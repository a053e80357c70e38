"""How is attention between nearly all pairs computed fast? A block of targets at a time.

The formulas are those of `kernels`, on blocks of the matrix of all pairs that stay in the cache.
With L_i appended to q_i and -1 to k_j, and δ_i to g_i and -1 to v_j, the products themselves
subtract: the gradient passes over a block only to take its exponential and to multiply.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrolled.first_order import first_order
from unrolled.graphs.graph import Graph

BLOCK = 2**17
"""Scores in a block: with their gradients 1 MB in float32."""
SAFE = 40.0
"""exp of scores within ± this, or of differences of such, neither overflows nor vanishes in
float32: no maximum is needed."""


def blocks(graph: Graph) -> Iterator[tuple[slice, slice]]:
    """Targets, and the sources they may hear: on a causal graph none that follow the block."""
    n = graph.num_nodes
    step = max(16, BLOCK // n)
    for start in range(0, n, step):
        stop = min(start + step, n)
        yield slice(start, stop), slice(0, stop if graph.is_causal else n)


def times_of(graph: Graph, dtype: torch.dtype) -> Tensor | None:
    """How often each edge is listed [target, source], kept with the graph; None: always once."""
    if graph.is_complete:
        return None
    kept: dict[torch.dtype, Tensor] = graph.__dict__.setdefault("times", {})
    if dtype not in kept:
        n = graph.num_nodes
        counts = torch.bincount(graph.target * n + graph.source, minlength=n * n)
        kept[dtype] = counts.view(n, n).to(dtype)
    return kept[dtype]


def powers(
    scores: Float[Tensor, "block sources"], times: Tensor | None, safe: bool
) -> tuple[Float[Tensor, "block sources"], Float[Tensor, "block one"] | None]:
    """exp(scores - m) by how often the edge is listed, in place, and m; None: m is 0.

    The exponential of -inf takes a CPU many times as long as a product with 0 does; that is only
    safe where no score is so large that its exponential, edge or not, overflows.
    """
    if safe:
        scores.exp_()
        return (scores if times is None else scores.mul_(times)), None
    if times is not None:
        scores += times.log()
    largest = scores.amax(-1, keepdim=True).clamp_(min=torch.finfo(scores.dtype).min)
    return scores.sub_(largest).exp_(), largest


class _DenseAttention(torch.autograd.Function):
    """A head of a sequence (a row) at a time, a block of targets at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Float[Tensor, "rows nodes head"],
        k: Float[Tensor, "rows nodes head"],
        v: Float[Tensor, "rows nodes head"],
        graph: Graph,
        scale: float,
    ) -> Float[Tensor, "rows nodes head"]:
        """Scores that can't be large need no maximum (Cauchy–Schwarz: |q·k| <= |q| |k|)."""
        times = times_of(graph, q.dtype)
        out, logs = torch.empty_like(v), v.new_empty(*v.shape[:2], 1)
        longest = [t.square().sum(-1).amax(-1).sqrt() for t in (q, k)]
        safe = (longest[0] * longest[1] * scale < SAFE).tolist()
        scaled = q * scale
        for r in range(len(q)):
            for i, j in blocks(graph):
                part = None if times is None else times[i, j]
                power, largest = powers(torch.mm(scaled[r, i], k[r, j].T), part, safe[r])
                total = power.sum(-1, keepdim=True)
                # Without edges there is nothing to divide: the message is 0, its gradient too.
                total.masked_fill_(total == 0, 1.0)
                torch.div(torch.mm(power, v[r, j]), total, out=out[r, i])
                logs[r, i] = total.log_() if largest is None else total.log_().add_(largest)
        ctx.save_for_backward(q, k, v, out, logs)
        ctx.graph, ctx.scale, ctx.safe = graph, scale, safe
        return out

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        """See the head of this file."""
        q, k, v, out, logs = ctx.saved_tensors
        graph, scale = ctx.graph, ctx.scale
        times = times_of(graph, q.dtype)
        g = above[0].contiguous()
        minus = q.new_full((*q.shape[:2], 1), -1.0)
        left, right = torch.cat((q * scale, logs), -1), torch.cat((k, minus), -1)
        above_delta = torch.cat((g, (g * out).sum(-1, keepdim=True)), -1)
        values = torch.cat((v, minus), -1)
        to_q, to_k, to_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for r in range(len(q)):
            for i, j in blocks(graph):
                weights = torch.mm(left[r, i], right[r, j].T)
                if times is not None and not ctx.safe[r]:
                    weights += times[i, j].log()
                weights.exp_()
                if times is not None and ctx.safe[r]:
                    weights *= times[i, j]
                to_v[r, j].addmm_(weights.T, g[r, i])
                weights *= torch.mm(above_delta[r, i], values[r, j].T)
                torch.mm(weights, k[r, j], out=to_q[r, i])
                to_k[r, j].addmm_(weights.T, q[r, i])
        return to_q.mul_(scale), to_k.mul_(scale), to_v, None, None


_dense_attention = first_order(
    _DenseAttention,
    "attention between all pairs of a graph",
    "differentiate scaled_dot_product_attention under the graph's mask instead",
)


def dense_rows(
    q: Float[Tensor, "rows nodes head"],
    k: Float[Tensor, "rows nodes head"],
    v: Float[Tensor, "rows nodes head"],
    graph: Graph,
    scale: float,
) -> Float[Tensor, "rows nodes head"]:
    """Softmax attention along the edges by way of all pairs; float32 or float64."""
    return _dense_attention(q, k, v, graph, scale)
