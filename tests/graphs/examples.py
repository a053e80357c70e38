"""Graphs of every kind, and attention written out plainly to compare with."""

from __future__ import annotations

import torch

from unrolled.graphs import Graph


def random_graph(n: int, edges: int, seed: int = 0) -> Graph:
    """Directed, with duplicates and isolated nodes, in no order."""
    generator = torch.Generator().manual_seed(seed)
    return Graph(torch.randint(n, (2, edges), generator=generator), n)


GRAPHS: dict[str, Graph] = {
    "complete": Graph.complete(11),
    "complete without self-loops": Graph.complete(11, self_loops=False),
    "causal": Graph.causal(12),
    "window": Graph.sliding_window(13, 4),
    "causal window": Graph.sliding_window(13, 4, causal=True),
    "dilated": Graph.dilated(17, 4, 3),
    "global tokens": Graph.global_tokens(12, 2),
    "bigbird": Graph.bigbird(20, 3, 2, 2),
    "causal bigbird": Graph.bigbird(20, 3, 2, 2, causal=True),
    "expander": Graph.expander(20, 4),
    "batch": Graph.batch([Graph.causal(5), Graph.complete(1), Graph.sliding_window(7, 2)]),
    "random, asymmetric": random_graph(15, 40),
    "one way only": Graph([[0, 0, 1], [1, 2, 2]], 4),
    "one node": Graph.complete(1),
}


def plain_attention(q, k, v, graph: Graph, bias=None, scale=None):
    """Edge by edge, node by node, as the sum is written; an edge listed twice comes twice."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    rows = []
    for i in range(graph.num_nodes):
        edges = (graph.target == i).nonzero().flatten()
        j = graph.source[edges]
        scores = (k[..., j, :] * q[..., i : i + 1, :]).sum(-1) * scale
        if bias is not None:
            scores = scores + bias[..., edges]
        weights = scores.softmax(-1) if len(j) else scores
        rows.append((weights[..., None] * v[..., j, :]).sum(-2))
    return torch.stack(rows, dim=-2)


def draw_heads(n: int, heads: int = 2, size: int = 3, seed: int = 0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(heads, n, size, generator=generator, dtype=dtype) for _ in range(3)]
