"""Are graphs what they say, however they are made, and is a bad one refused by name?"""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.graphs.examples import GRAPHS, random_graph

from unrolled.errors import BadInput
from unrolled.graphs import Graph, convert

graphs = pytest.mark.parametrize("graph", GRAPHS.values(), ids=list(GRAPHS))


def edges(graph):
    return sorted(map(tuple, graph.edge_index.T.tolist()))


@pytest.mark.parametrize(
    ("graph", "heard"),
    [
        (Graph.complete(6), lambda i, j: i + j >= 0),
        (Graph.complete(6, self_loops=False), lambda i, j: i != j),
        (Graph.causal(6), lambda i, j: j <= i),
        (Graph.sliding_window(9, 3, causal=True), lambda i, j: 0 <= i - j < 3),
        (Graph.sliding_window(9, 4), lambda i, j: abs(i - j) <= 2),
        (Graph.sliding_window(5, 100), lambda i, j: i + j >= 0),
        (Graph.dilated(20, 3, 4, causal=True), lambda i, j: i - j in (0, 4, 8)),
        (Graph.global_tokens(8, 2), lambda i, j: i < 2 or j < 2 or i == j),
        (Graph.global_tokens(8, 2, causal=True), lambda i, j: j <= i and (j < 2 or i == j)),
        (
            Graph.bigbird(12, 2, 1, 0),
            lambda i, j: abs(i - j) <= 1 or i == 0 or j == 0,
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, Graph) else "",
)
def test_a_builder_has_exactly_the_edges_of_its_rule(graph, heard):
    n = graph.num_nodes
    expected = sorted((j, i) for i in range(n) for j in range(n) if heard(i, j))
    assert edges(graph) == expected
    assert torch.equal(graph.csr.columns, graph.source.int()), "builders are sorted already"


def test_the_sentence_of_the_set_has_twelve_edges_and_sixteen_with_self_loops():
    assert Graph.complete(4, self_loops=False).num_edges == 12
    assert Graph.complete(4).num_edges == 16
    assert Graph.complete(4).num_self_loops == 4


def test_random_edges_of_bigbird_are_the_same_for_a_longer_sequence():
    for causal in (False, True):
        short, long = (Graph.bigbird(n, 3, 1, 3, causal=causal, seed=5) for n in (30, 77))
        assert torch.equal(short.dense(), long.dense()[:30, :30])
    window = Graph.bigbird(77, 3, 1, 0, causal=True)
    assert Graph.bigbird(77, 3, 1, 3, causal=True).num_edges > window.num_edges
    assert edges(Graph.bigbird(77, 3, 1, 3, seed=1)) != edges(Graph.bigbird(77, 3, 1, 3, seed=2))


def test_an_expander_is_regular_symmetric_and_connected():
    graph = Graph.expander(100, 4, seed=3)
    assert torch.equal(graph.dense(), graph.dense().T)
    assert int(graph.in_degree.max()) <= 5
    assert networkx.is_strongly_connected(convert.to_networkx(graph))


@graphs
def test_rows_of_the_csr_are_the_neighbourhoods_and_the_transpose_is_of_the_reverse(graph):
    csr, back = graph.csr, graph.transposed
    order = torch.arange(graph.num_edges) if csr.order is None else csr.order
    for i in range(graph.num_nodes):
        heard = csr.columns[csr.starts[i] : csr.starts[i + 1]]
        assert sorted(graph.source[graph.target == i].tolist()) == heard.tolist()
        hearers = back.columns[back.starts[i] : back.starts[i + 1]]
        assert sorted(graph.target[graph.source == i].tolist()) == hearers.tolist()
    assert torch.equal(graph.source[order], csr.columns.long())
    assert torch.equal(graph.target[order], graph.rows.long())
    assert torch.equal(graph.target[order][back.order], back.columns.long())


@graphs
def test_other_libraries_and_back(graph):
    simple = Graph.from_dense(graph.dense())
    assert torch.equal(simple.dense(), graph.dense())
    weights = torch.randn(graph.num_edges)
    matrix = convert.to_scipy(graph, weights)
    dense = np.zeros(matrix.shape)
    for (j, i), w in zip(graph.edge_index.T.tolist(), weights.tolist(), strict=True):
        dense[j, i] += w
    np.testing.assert_allclose(matrix.toarray(), dense, atol=1e-6)
    again, kept = convert.from_scipy(scipy.sparse.csr_array(convert.to_scipy(simple)))
    assert edges(again) == edges(simple)
    assert torch.equal(kept, torch.ones(simple.num_edges, dtype=torch.float64))
    assert edges(convert.from_networkx(convert.to_networkx(graph))) == edges(graph)
    data = convert.to_pyg(graph, x=torch.zeros(graph.num_nodes, 1))
    assert torch.equal(convert.from_pyg(data).edge_index, graph.edge_index)
    assert graph.reversed().reversed().edge_index.equal(graph.edge_index)


def test_an_undirected_networkx_graph_goes_both_ways():
    graph = convert.from_networkx(networkx.Graph([("a", "b"), ("b", "c"), ("c", "c")]))
    assert edges(graph) == [(0, 1), (1, 0), (1, 2), (2, 1), (2, 2)]


def test_a_batch_has_no_edge_between_its_graphs():
    parts = [random_graph(4, 9), Graph.causal(3), Graph([[], []], 2)]
    mask = Graph.batch(parts).dense()
    assert torch.equal(mask, torch.block_diag(*(p.dense().int() for p in parts)).bool())
    assert Graph.batch([]).num_nodes == 0


@given(st.integers(1, 6), st.integers(0, 25), st.integers(0, 10**6))
def test_what_a_graph_says_of_itself_is_counted(n, count, seed):
    graph = random_graph(n, count, seed)
    pairs = edges(graph)
    assert graph.has_duplicates == (len(set(pairs)) < len(pairs))
    assert graph.num_self_loops == sum(j == i for j, i in pairs)
    everything = sorted((j, i) for i in range(n) for j in range(n))
    assert graph.is_complete == (pairs == everything)
    assert graph.is_causal == (pairs == [(j, i) for j, i in everything if j <= i])
    assert graph.in_degree.tolist() == [sum(i == t for _, t in pairs) for i in range(n)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Graph(torch.zeros(3, 4, dtype=torch.long), 4), r"\[2, E\].*not \[3, 4\]"),
        (lambda: Graph(torch.zeros(2, 4), 4), "whole numbers, not torch.float32"),
        (lambda: Graph([[0, 1], [1, 7]], 4), r"edge 1 has the target 7, and the nodes are 0…3"),
        (lambda: Graph([[-1], [1]], 4), "edge 0 has the source -1"),
        (lambda: Graph([[0, 1], [1]], 4), "ragged"),
        (lambda: Graph([[0], [0]], 0), "no nodes"),
        (lambda: Graph.from_dense(torch.ones(2, 3, dtype=torch.bool)), "as many of each"),
        (lambda: Graph.sliding_window(5, 0), "the window must be a whole number, at least 1"),
        (lambda: Graph.expander(5, 3), "even degree, not 3"),
        (lambda: Graph.complete(-1), "at least 0, not -1"),
        (lambda: convert.from_scipy(scipy.sparse.csr_array((2, 3))), "square"),
    ],
)
def test_a_bad_graph_is_refused_with_what_is_wrong(make, message):
    with pytest.raises(BadInput, match=message):
        make()
