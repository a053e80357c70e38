"""Is one step of message passing the sum that is written, for every aggregation?"""

from __future__ import annotations

import math

import pytest
import torch
from tests.graphs.examples import GRAPHS

from unrolled.errors import BadInput
from unrolled.graphs import Graph, message_passing

graphs = pytest.mark.parametrize("graph", GRAPHS.values(), ids=list(GRAPHS))


def plain(graph, h, message, how, weights):
    rows = []
    for i in range(graph.num_nodes):
        heard = [
            w * message(h[j], h[t])
            for (j, t), w in zip(graph.edge_index.T.tolist(), weights, strict=True)
            if t == i
        ]
        rows.append(
            torch.zeros_like(h[i])
            if not heard
            else {
                "sum": lambda x: x.sum(0),
                "mean": lambda x: x.mean(0),
                "max": lambda x: x.amax(0),
            }[how](torch.stack(heard))
        )
    return torch.stack(rows)


@graphs
@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_it_is_the_plain_sum_over_the_edges(graph, how):
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(graph.num_nodes, 3, generator=generator, dtype=torch.float64)
    weights = torch.rand(graph.num_edges, generator=generator, dtype=torch.float64)

    def message(source, target):
        return source * target.sin() - target

    got = message_passing(graph, h, message=message, aggregate=how, weights=weights)
    torch.testing.assert_close(got, plain(graph, h, message, how, weights), rtol=1e-13, atol=1e-13)


def test_the_problem_of_the_set():
    graph = Graph([[1, 2, 3], [0, 0, 0]], 4)
    h = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    out = message_passing(
        graph,
        h,
        message=lambda source, _: 2 * source,
        weights=torch.tensor([0.6, 0.2, 0.2], dtype=torch.float64),
        update=lambda h, heard: h.sum(-1, keepdim=True) + heard.clamp(min=0),
    )
    torch.testing.assert_close(out[0], torch.tensor([0.0, 0.8], dtype=torch.float64))


@graphs
def test_softmax_is_attention_weighted_by_scores(graph):
    h = torch.randn(graph.num_nodes, 2, generator=torch.Generator().manual_seed(1)).double()
    got = message_passing(
        graph,
        h,
        message=lambda source, target: ((source * target).sum(-1), source),
        aggregate="softmax",
    )
    for i in range(graph.num_nodes):
        j = graph.source[graph.target == i].tolist()
        powers = [math.exp(float(h[i] @ h[s])) for s in j]
        expected = sum((p / sum(powers) * h[s] for p, s in zip(powers, j, strict=True)), 0 * h[i])
        torch.testing.assert_close(got[i], expected, rtol=1e-13, atol=1e-13)


def test_all_nodes_read_the_same_snapshot():
    ring = Graph([[0, 1, 2], [1, 2, 0]], 3)
    h = torch.tensor([[1.0], [2.0], [3.0]])
    assert message_passing(ring, h).flatten().tolist() == [3.0, 1.0, 2.0]
    assert h.flatten().tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("how", ["sum", "mean", "max", "softmax"])
def test_gradients_flow_through_everything(how):
    graph = GRAPHS["random, asymmetric"]
    h = torch.randn(graph.num_nodes, 2, dtype=torch.float64).requires_grad_()
    weights = torch.rand(graph.num_edges, dtype=torch.float64).requires_grad_()

    def run(h, weights):
        def message(source, target):
            return ((source * target).sum(-1), source) if how == "softmax" else source * target

        return message_passing(
            graph, h, message=message, aggregate=how, weights=weights, update=torch.mul
        )

    assert torch.autograd.gradcheck(run, (h, weights))


def test_an_aggregation_of_ones_own_and_features_without_width():
    graph = Graph([[0, 1], [2, 2]], 3)
    h = torch.tensor([2.0, 3.0, 5.0])

    def product(messages, graph):
        return torch.ones(graph.num_nodes).scatter_reduce(0, graph.target, messages, "prod")

    assert message_passing(graph, h, aggregate=product).tolist() == [1.0, 1.0, 6.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"h": torch.tensor([[0.0], [math.nan], [0.0]])}, "node 1 hold NaN"),
        ({"h": torch.zeros(2, 1)}, "each of the 3 nodes"),
        ({"h": torch.zeros(3, 1, dtype=torch.long)}, "real numbers"),
        ({"weights": torch.zeros(3)}, "weights must have a row for each of the 2 edges"),
        ({"aggregate": "median"}, "not 'median'"),
        ({"aggregate": "softmax"}, "scores, messages"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    given = {"h": torch.zeros(3, 1), **arguments}
    with pytest.raises(BadInput, match=message):
        message_passing(Graph([[0, 1], [2, 2]], 3), given.pop("h"), **given)
