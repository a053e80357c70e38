"""Is a receipt true? Attention on graphs: the sum once more, by mpmath, node by node."""

from __future__ import annotations

from typing import Any

import mpmath
import torch
from hypothesis import strategies as st
from tests.receipts.truths.common import Document, plural

from unrolled.graphs import Equivalence, Graph, GraphAttention


def graph_questions() -> st.SearchStrategy[Any]:
    """A few nodes, edges between them, a width, heads and a seed of the weights."""
    ends = st.integers(0, 2)
    return st.tuples(
        st.lists(st.tuples(ends, ends), max_size=5),
        st.sampled_from([(1, 1), (2, 1), (2, 2)]),
        st.integers(0, 10**6),
    )


def graph_receipt(question: Any) -> Document | None:
    edges, (hidden, heads), seed = question
    torch.manual_seed(seed)
    layer = GraphAttention(hidden, heads, bias=bool(seed % 2)).double()
    graph = Graph.from_edges(edges, 3)
    h = torch.randn(3, hidden, dtype=torch.float64)
    return Equivalence(graph, layer, h, 0.0, 0.0).receipt().document()


def attention_holds(document: Document) -> bool:
    """Everything by the definition, in 60 digits."""
    given, answer = document["given"], document["answer"]
    assert set(given) == {"edges", "h", "heads", "scaled"}
    assert set(answer) == {"h", "within"}
    assert document["evidence"] == {}
    assert isinstance(given["scaled"], bool)
    edges, n = given["edges"], len(given["h"])
    assert all(type(e) is int and 0 <= e < n for edge in edges for e in edge)
    with mpmath.workdps(60):
        wanted = mpmath.mpf(answer["within"])
        for node in range(n):
            said = list(answer["h"][node])
            for head in given["heads"]:
                Q, K, V = (mpmath.matrix(head[name]) for name in "QKV")
                states = [mpmath.matrix(row) for row in given["h"]]
                sources = [j for j, i in edges if i == node]
                scale = mpmath.sqrt(Q.rows) if given["scaled"] else 1
                query = Q * states[node]
                powers = [
                    mpmath.exp(
                        sum(a * b for a, b in zip(query, K * states[j], strict=True)) / scale
                    )
                    for j in sources
                ]
                for row in range(V.rows):
                    values = [(V * states[j])[row] for j in sources]
                    new = sum(p * v for p, v in zip(powers, values, strict=True))
                    new = new / sum(powers) if powers else 0
                    if abs(mpmath.mpf(said.pop(0)) - new) > wanted:
                        return False
            assert not said
    loops = sum(j == i for j, i in edges)
    divided = "divided" if given["scaled"] else "not divided"
    assert document["claim"] == (
        f"Softmax message passing with {plural(len(given['heads']), 'head')} and scores {divided} "
        f"by sqrt(d), along {plural(len(edges), 'directed edge')} of {plural(n, 'node')}, {loops} "
        f"of them from a node to itself, gives these states to within {float(answer['within'])!r}."
    )
    return True
