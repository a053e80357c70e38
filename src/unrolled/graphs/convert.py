"""How do other libraries write the same graph? SciPy, PyTorch Geometric and networkx, both ways.

SciPy's matrix A has A[j, i] != 0 for an edge j → i, the convention of SciPy's and networkx's own
graph routines (and the transpose of an attention mask). Weights come and go in the graph's order.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.graphs.graph import Graph

Weights = Float[Tensor, " edges"]


def library(name: str) -> Any:
    """Another library, which a user of it has installed."""
    try:
        return import_module(name)
    except ImportError:
        raise BadInput(f"this conversion needs {name}: pip install {name}") from None


def from_scipy(matrix: Any) -> tuple[Graph, Weights]:
    """The graph of a square sparse matrix, and its entries as weights; A[j, i] is j → i."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise BadInput(f"an adjacency matrix is square, not {list(matrix.shape)}")
    entries = matrix.tocoo()
    rows = [torch.as_tensor(ends.astype("int64")) for ends in (entries.row, entries.col)]
    weights = torch.as_tensor(entries.data.astype("float64"))
    return Graph(torch.stack(rows), matrix.shape[0]), weights


def to_scipy(graph: Graph, weights: Weights | None = None) -> Any:
    """A `scipy.sparse.coo_array` with A[j, i] for j → i; entries 1 unless there are weights."""
    values = torch.ones(graph.num_edges) if weights is None else weights.detach()
    ends = (graph.source.cpu().numpy(), graph.target.cpu().numpy())
    sparse = library("scipy.sparse")
    return sparse.coo_array((values.cpu().numpy(), ends), shape=(graph.num_nodes,) * 2)


def from_pyg(data: Any) -> Graph:
    """The graph of a `torch_geometric.data.Data`."""
    if data.edge_index is None:
        raise BadInput("this Data has no edge_index")
    return Graph(data.edge_index, int(data.num_nodes))


def to_pyg(graph: Graph, **attributes: Tensor) -> Any:
    """A `torch_geometric.data.Data` with the given attributes (x=…, edge_attr=…)."""
    data = library("torch_geometric.data")
    return data.Data(edge_index=graph.edge_index, num_nodes=graph.num_nodes, **attributes)


def from_networkx(graph: Any) -> Graph:
    """Nodes are numbered in networkx's order; an undirected edge goes both ways.

    A multigraph's parallel edges stay parallel.
    """
    number = {node: i for i, node in enumerate(graph.nodes)}
    pairs = [(number[edge[0]], number[edge[1]]) for edge in graph.edges]
    if not graph.is_directed():
        pairs += [(i, j) for j, i in pairs if i != j]
    return Graph.from_edges(pairs, len(number))


def to_networkx(graph: Graph) -> Any:
    """A `networkx.MultiDiGraph` where an edge is listed twice, else a `DiGraph`."""
    networkx = library("networkx")
    result = networkx.MultiDiGraph() if graph.has_duplicates else networkx.DiGraph()
    result.add_nodes_from(range(graph.num_nodes))
    result.add_edges_from(graph.edge_index.T.tolist())
    return result
