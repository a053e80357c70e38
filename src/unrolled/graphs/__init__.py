"""Attention is message passing: one core for graphs and Transformers (docs/graphs.md)."""

from unrolled.graphs.attention import GraphAttention
from unrolled.graphs.equivalent import Equivalence, equivalent
from unrolled.graphs.graph import Graph
from unrolled.graphs.kernels import graph_attention
from unrolled.graphs.passing import message_passing

__all__ = [
    "Equivalence",
    "Graph",
    "GraphAttention",
    "equivalent",
    "graph_attention",
    "message_passing",
]
