"""Who hears whom? A directed graph: edges from source to target, sorted once for the kernels.

`edge_index` is [2, E], row 0 the source v_j and row 1 the target v_i of a message, as in PyTorch
Geometric (Fey and Lenssen 2019). N(v_i) is the set of sources of the edges that end in v_i. In
attention the target is the query and the source the key: an edge j → i means "i looks at j".

* Edges keep the caller's order: weights and edge features are in that order.
* An edge listed twice carries two messages, and counts twice in every sum, mean and softmax.
* A self-loop i → i lets a node hear itself; none is ever added or removed silently.
* A node that no edge ends in is isolated: it gets the zero message under every aggregation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.graphs import builders
from unrolled.graphs.builders import EdgeIndex


class CSR(NamedTuple):
    """Edges grouped by one end: those of node i are columns[starts[i]:starts[i + 1]]."""

    starts: Int[Tensor, " nodes_and_one"]
    columns: Int[Tensor, " edges"]
    order: Int[Tensor, " edges"] | None
    """Which edge stands at each place; None: they stand in the same order already."""

    def sorted(self, values: Tensor) -> Tensor:
        """Values of edges along the last axis, in this order."""
        return values if self.order is None else values.index_select(-1, self.order)


class Graph:
    """A directed graph that is not changed after it is made.

    Args:
        edge_index: whole numbers [2, E]; row 0 source, row 1 target.
        num_nodes: number of nodes; they are 0…num_nodes - 1.

    Raises:
        BadInput: another shape or type, or an index out of range (named).
    """

    def __init__(self, edge_index: Tensor | Sequence[Sequence[int]], num_nodes: int) -> None:
        builders.at_least("num_nodes", num_nodes, 0)
        if num_nodes >= 2**31:
            raise BadInput(f"a graph has fewer than 2^31 nodes, not {num_nodes}")
        self.edge_index = checked(edge_index, num_nodes)
        self.num_nodes = num_nodes

    def __repr__(self) -> str:
        return f"Graph({self.num_nodes} nodes, {self.num_edges} edges)"

    @property
    def num_edges(self) -> int:
        """Number of directed edges, self-loops and duplicates counted."""
        return self.edge_index.shape[1]

    @property
    def source(self) -> Int[Tensor, " edges"]:
        """Where each edge begins, in the caller's order."""
        return self.edge_index[0]

    @property
    def target(self) -> Int[Tensor, " edges"]:
        """Where each edge ends, in the caller's order."""
        return self.edge_index[1]

    @cached_property
    def num_self_loops(self) -> int:
        """How many edges end where they begin."""
        return int((self.source == self.target).sum())

    @cached_property
    def in_degree(self) -> Int[Tensor, " nodes"]:
        """How many edges end in each node."""
        return torch.bincount(self.target, minlength=self.num_nodes)

    @cached_property
    def density(self) -> float:
        """Edges by pairs of nodes: 1 for the complete graph with self-loops."""
        return self.num_edges / max(self.num_nodes, 1) ** 2

    @cached_property
    def csr(self) -> CSR:
        """Edges by target, sources in order: row i is N(v_i). Its order refers to the caller's."""
        keys = builders.keys_of(self.edge_index, self.num_nodes)
        if self.num_edges < 2 or bool((keys[1:] >= keys[:-1]).all()):
            return CSR(starts(self.in_degree), self.source.int(), None)
        order = torch.argsort(keys, stable=True)
        return CSR(starts(self.in_degree), self.source[order].int(), order)

    @cached_property
    def transposed(self) -> CSR:
        """Edges by source, targets in order. Its order refers to that of `csr`."""
        sources = self.csr.columns
        order = torch.argsort(sources, stable=True)
        degree = torch.bincount(sources, minlength=self.num_nodes)
        return CSR(starts(degree), self.rows[order], order)

    @cached_property
    def rows(self) -> Int[Tensor, " edges"]:
        """The target of each edge, in the order of `csr`."""
        nodes = torch.arange(self.num_nodes, dtype=torch.int32, device=self.edge_index.device)
        return nodes.repeat_interleave(self.in_degree, output_size=self.num_edges)

    @cached_property
    def has_duplicates(self) -> bool:
        """Whether an edge is listed more than once."""
        keys = self.rows.long() * self.num_nodes + self.csr.columns
        return bool((keys[1:] == keys[:-1]).any())

    @cached_property
    def is_complete(self) -> bool:
        """Whether every node hears every node, itself included, once."""
        return self.num_edges == self.num_nodes**2 and not self.has_duplicates

    @cached_property
    def is_causal(self) -> bool:
        """Whether node i hears exactly 0…i, once each."""
        right = self.num_edges == self.num_nodes * (self.num_nodes + 1) // 2
        return right and bool((self.source <= self.target).all()) and not self.has_duplicates

    def dense(self) -> Bool[Tensor, "target source"]:
        """The attention mask: True at [i, j] where i hears j. Duplicates become one."""
        mask = torch.zeros(
            self.num_nodes, self.num_nodes, dtype=torch.bool, device=self.edge_index.device
        )
        mask[self.target, self.source] = True
        return mask

    def to(self, device: torch.device | str) -> Graph:
        """The same graph on another device."""
        return Graph(self.edge_index.to(device), self.num_nodes)

    def reversed(self) -> Graph:
        """Every edge turned round."""
        return Graph(self.edge_index.flip(0), self.num_nodes)

    def permuted(self, new: Int[Tensor, " nodes"]) -> Graph:
        """Node i becomes node new[i]; edges keep their order."""
        return Graph(new[self.edge_index], self.num_nodes)

    @classmethod
    def from_edges(cls, edges: Iterable[tuple[int, int]], num_nodes: int) -> Graph:
        """From pairs (source, target)."""
        pairs = list(edges)
        if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
            raise BadInput("edges are pairs (source, target)")
        return cls([[j for j, _ in pairs], [i for _, i in pairs]], num_nodes)

    @classmethod
    def from_dense(cls, mask: Tensor) -> Graph:
        """From an attention mask [target, source]: True where a query may look at a key."""
        if mask.ndim != 2 or mask.shape[0] != mask.shape[1] or mask.dtype != torch.bool:
            raise BadInput(
                "an attention mask holds truth values [target, source], as many of each, not "
                f"{mask.dtype} {list(mask.shape)}"
            )
        return cls(mask.nonzero().T.flip(0), len(mask))

    @classmethod
    def complete(cls, n: int, self_loops: bool = True) -> Graph:
        """Every node hears every node: n² edges, n (n - 1) without self-loops."""
        return cls(builders.complete(n, self_loops), n)

    @classmethod
    def causal(cls, n: int) -> Graph:
        """Position i hears 0…i."""
        return cls(builders.causal(n), n)

    @classmethod
    def sliding_window(cls, n: int, window: int, *, causal: bool = False) -> Graph:
        """Near positions only; see `builders.sliding_window`."""
        return cls(builders.sliding_window(n, window, causal), n)

    @classmethod
    def dilated(cls, n: int, window: int, dilation: int, *, causal: bool = False) -> Graph:
        """A window with gaps; see `builders.sliding_window`."""
        return cls(builders.sliding_window(n, window, causal, dilation), n)

    @classmethod
    def global_tokens(cls, n: int, count: int, *, causal: bool = False) -> Graph:
        """The first `count` nodes hear and are heard by all; see `builders.global_tokens`."""
        return cls(builders.global_tokens(n, count, causal), n)

    @classmethod
    def bigbird(
        cls,
        n: int,
        window: int,
        num_global: int,
        num_random: int,
        *,
        causal: bool = False,
        seed: int = 0,
    ) -> Graph:
        """Window, global tokens and random edges; see `builders.bigbird`."""
        return cls(builders.bigbird(n, window, num_global, num_random, causal, seed), n)

    @classmethod
    def expander(cls, n: int, degree: int, *, seed: int = 0) -> Graph:
        """A random regular graph, both ways, with self-loops; see `builders.expander`."""
        return cls(builders.expander(n, degree, seed), n)

    @classmethod
    def batch(cls, graphs: Sequence[Graph]) -> Graph:
        """Graphs side by side, their nodes numbered on, with no edge between them."""
        if not graphs:
            return cls(torch.zeros(2, 0, dtype=torch.long), 0)
        first = [0]
        for graph in graphs:
            first.append(first[-1] + graph.num_nodes)
        edges = [graph.edge_index + start for graph, start in zip(graphs, first, strict=False)]
        return cls(torch.cat(edges, dim=1), first[-1])


def starts(degree: Int[Tensor, " nodes"]) -> Int[Tensor, " nodes_and_one"]:
    """Where each row begins, and the end: 32 bits, which the kernels are fastest with."""
    if int(degree.sum()) >= 2**31:
        raise BadInput(f"the kernels take fewer than 2^31 edges, not {int(degree.sum())}")
    first = torch.zeros(1, dtype=torch.int32, device=degree.device)
    joined: Tensor = torch.cat((first, degree.cumsum(0).int()))
    return joined


def checked(edge_index: Any, num_nodes: int) -> EdgeIndex:
    """The edges as int64 [2, E]; refuses what isn't, naming the first index out of range."""
    if not isinstance(edge_index, Tensor):
        try:
            rows = [list(row) for row in edge_index]
            edge_index = torch.tensor(rows, dtype=None if any(rows) else torch.long)
        except (TypeError, ValueError, RuntimeError):
            raise BadInput("edge_index must be whole numbers [2, E], not ragged rows") from None
    if edge_index.ndim != 2 or edge_index.shape[0] != 2:
        raise BadInput(
            "edge_index must be [2, E], row 0 sources and row 1 targets, not "
            f"{list(edge_index.shape)}"
        )
    if edge_index.is_floating_point() or edge_index.is_complex() or edge_index.dtype == torch.bool:
        raise BadInput(f"edge_index must hold whole numbers, not {edge_index.dtype}")
    edge_index = edge_index.long()
    wrong = ((edge_index < 0) | (edge_index >= num_nodes)).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        raise BadInput(
            f"edge {column} has the {('source', 'target')[row]} {int(edge_index[row, column])}, "
            f"and the nodes are 0…{num_nodes - 1}"
            if num_nodes
            else f"edge {column} has an end, and the graph has no nodes"
        )
    edges: EdgeIndex = edge_index.contiguous()
    return edges
