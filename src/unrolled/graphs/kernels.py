"""How is attention on a graph computed fast? Scores and weights of edges alone, never [E, d].

For an edge j → i: s_ij = scale q_i·k_j + b_ij, a_ij = exp(s_ij - L_i) with L_i = log Σ_j exp(s_ij),
o_i = Σ_j a_ij v_j (Vaswani et al. 2017, equation 1, with the sum over N(v_i)). Scores are dot
products sampled at the edges (`sampled_addmm`), sums of values weighted bags of rows
(`embedding_bag`). The gradient recomputes a_ij from L (Dao et al. 2022, section 3.1): with g = ∂/∂o
and δ_i = g_i·o_i,

    ∂s_ij = a_ij (g_i·v_j - δ_i),   ∂q_i = scale Σ_j ∂s_ij k_j,
    ∂k_j = scale Σ_i ∂s_ij q_i,     ∂v_j = Σ_i a_ij g_i,

the last two over the transposed graph. What lives until then is q, k, v, o and L.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unrolled.first_order import first_order
from unrolled.graphs.dense import SAFE, dense_rows
from unrolled.graphs.graph import CSR, Graph


def sampled(
    left: Float[Tensor, "nodes head"],
    right: Float[Tensor, "nodes head"],
    graph: Graph,
    scale: float,
    plus: Float[Tensor, " edges"] | None,
) -> Float[Tensor, " edges"]:
    """The scaled left_i·right_j, + plus_ij, of each edge j → i in the CSR's order; into `plus`."""
    n, csr = graph.num_nodes, graph.csr
    values = left.new_zeros(graph.num_edges) if plus is None else plus
    if graph.num_edges > n * n:  # more entries than a matrix has places: duplicates alone
        ends = left.index_select(0, graph.rows), right.index_select(0, csr.columns)
        return values.add_((ends[0] * ends[1]).sum(-1), alpha=scale)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            csr.starts, csr.columns, values, (n, n), check_invariants=False
        )
    # Into the pattern itself: a result of its own would copy the indices too.
    torch.sparse.sampled_addmm(pattern, left, right.T, beta=1.0, alpha=scale, out=pattern)
    return values


def gathered(
    weights: Float[Tensor, " edges"], rows: Float[Tensor, "nodes head"], csr: CSR
) -> Float[Tensor, "nodes head"]:
    """Σ weights_ij rows_j over the edges of each node."""
    return F.embedding_bag(
        csr.columns,
        rows,
        csr.starts,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )


def exponentials(
    scores: Float[Tensor, " edges"], graph: Graph
) -> tuple[Float[Tensor, " edges"], Float[Tensor, " nodes"], Float[Tensor, " nodes"] | None]:
    """exp(scores - m), its sum over each node's edges, and m; None: m is 0 everywhere."""
    largest = None
    low, high = torch.aminmax(scores)
    if not (float(low) > -SAFE and float(high) < SAFE):
        largest = segments(scores, "max", graph).clamp(min=torch.finfo(scores.dtype).min)
        scores = scores - largest.index_select(0, graph.rows)
    power = scores.exp()
    return power, segments(power, "sum", graph), largest


def segments(values: Float[Tensor, " edges"], how: str, graph: Graph) -> Float[Tensor, " nodes"]:
    """The sum or the maximum of the values of each node's edges; 0 or -inf where there are none."""
    return torch.segment_reduce(values, how, offsets=graph.csr.starts.long(), axis=0, unsafe=True)


class _SparseAttention(torch.autograd.Function):
    """The formulas at the head of this file, a head of a sequence (a row) at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Float[Tensor, "rows nodes head"],
        k: Float[Tensor, "rows nodes head"],
        v: Float[Tensor, "rows nodes head"],
        bias: Float[Tensor, "rows edges"] | None,
        graph: Graph,
        scale: float,
    ) -> Float[Tensor, "rows nodes head"]:
        """The bias is in the order of the CSR."""
        out, logs = torch.empty_like(v), v.new_empty(v.shape[:2])
        for r in range(len(q)):
            scores = sampled(q[r], k[r], graph, scale, None if bias is None else bias[r].clone())
            power, total, largest = exponentials(scores, graph)
            # Without edges there is nothing to divide: the message is 0, and no gradient reads L.
            total.masked_fill_(total == 0, 1.0)
            torch.div(gathered(power, v[r], graph.csr), total[:, None], out=out[r])
            logs[r] = total.log_() if largest is None else total.log_().add_(largest)
        ctx.save_for_backward(q, k, v, bias, out, logs)
        ctx.graph, ctx.scale = graph, scale
        return out

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        """Row by row, so that only one row's edges are in memory at a time."""
        q, k, v, bias, out, logs = ctx.saved_tensors
        graph, scale = ctx.graph, ctx.scale
        g = above[0].contiguous()
        to_q, to_k, to_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        to_bias = torch.empty_like(bias) if ctx.needs_input_grad[3] else None
        delta = (g * out).sum(-1).neg_()
        for r in range(len(q)):
            known = logs[r].neg().index_select(0, graph.rows)
            if bias is not None:
                known += bias[r]
            weights = sampled(q[r], k[r], graph, scale, known).exp_()
            to_scores = sampled(g[r], v[r], graph, 1.0, delta[r].index_select(0, graph.rows))
            to_scores *= weights
            if to_bias is not None:
                to_bias[r] = to_scores
            to_v[r] = gathered(graph.transposed.sorted(weights), g[r], graph.transposed)
            to_q[r] = gathered(to_scores, k[r], graph.csr)
            to_k[r] = gathered(graph.transposed.sorted(to_scores), q[r], graph.transposed)
        return to_q.mul_(scale), to_k.mul_(scale), to_v, to_bias, None, None


_sparse_attention = first_order(
    _SparseAttention,
    "attention along the edges of a graph",
    "differentiate scaled_dot_product_attention under the graph's mask instead",
)

DENSE_NODES = 16384
"""With more, the mask alone is above 1 GB in float32, and the edges it is."""
CROSSOVER = 0.38
"""What a pair costs of what an edge costs: measured by benchmarks/graphs.py."""
WITH_GRADIENT = 0.33
"""The same where the gradient is wanted too: edges lose more by it than pairs."""
HEAD_START = 200_000
"""As many features of edges cost what calling the kernels of edges costs above those of pairs."""


def prefers_dense(graph: Graph, head_size: int, gradient: bool) -> bool:
    """Whether all pairs are cheaper than the edges alone, with or without a gradient to come.

    Decided by constants, not by a stopwatch: the same graph gives the same bits on every run.
    """
    n = graph.num_nodes
    edges = graph.num_edges + HEAD_START / head_size
    share = WITH_GRADIENT if gradient else CROSSOVER
    return n <= DENSE_NODES and edges >= share * n * n


def graph_attention(
    q: Float[Tensor, "*rows nodes head"],
    k: Float[Tensor, "*rows nodes head"],
    v: Float[Tensor, "*rows nodes head"],
    graph: Graph,
    bias: Float[Tensor, "*_rows edges"] | None = None,
    *,
    scale: float | None = None,
    kernel: Literal["auto", "sparse", "dense"] = "auto",
) -> Float[Tensor, "*rows nodes head"]:
    """softmax(scale QKᵀ + bias) V along the edges of the graph, differentiable once.

    Args:
        q: queries of every node, for any number of heads and sequences.
        k: keys.
        v: values.
        graph: who looks at whom; a node without edges gets 0.
        bias: added to the score of each edge, in the graph's order; -inf takes an edge away.
        scale: 1/√head unless given.
        kernel: "sparse" takes time and memory proportional to the edges, "dense" to the pairs;
            "auto" the faster one (`prefers_dense`). With a bias it is always "sparse".

    Half precision is computed in float32.
    """
    if graph.num_edges == 0:
        return v * 0.0 + (q + k) * 0.0
    dtype = v.dtype if v.dtype == torch.float64 else torch.float32
    rows = [t.to(dtype).reshape(-1, *t.shape[-2:]).contiguous() for t in (q, k, v)]
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    gradient = torch.is_grad_enabled() and any(t.requires_grad for t in rows)
    dense = kernel == "dense" or (kernel == "auto" and prefers_dense(graph, q.shape[-1], gradient))
    with torch.autocast(q.device.type, enabled=False):
        if dense and bias is None:
            out = dense_rows(rows[0], rows[1], rows[2], graph, scale)
        else:
            if bias is not None:
                bias = bias.to(dtype).expand(*q.shape[:-2], graph.num_edges)
                bias = graph.csr.sorted(bias).reshape(-1, graph.num_edges)
            out = _sparse_attention(*rows, bias, graph, scale)
    return out.reshape(v.shape).to(v.dtype)
