"""Is GraphAttention the attention of torch, of PyTorch Geometric and of our own Transformer?"""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from tests.graphs.examples import GRAPHS, random_graph

from unrolled.errors import BadInput
from unrolled.graphs import Graph, GraphAttention, message_passing

graphs = pytest.mark.parametrize("graph", GRAPHS.values(), ids=list(GRAPHS))


def layer(**options):
    torch.manual_seed(0)
    return GraphAttention(12, 3, **options).double()


def features(graph, width=12):
    return torch.randn(graph.num_nodes, width, generator=torch.Generator().manual_seed(2)).double()


def close(a, b, tolerance=1e-13):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@graphs
@pytest.mark.parametrize("bias", [True, False])
def test_it_agrees_with_torch_in_both_directions(graph, bias):
    if graph.has_duplicates or bool((graph.in_degree == 0).any()):
        return
    torch.manual_seed(1)
    theirs = torch.nn.MultiheadAttention(12, 3, bias=bias, batch_first=True).double()
    h = features(graph)
    expected = theirs(h, h, h, attn_mask=~graph.dense(), need_weights=False)[0]
    ours = GraphAttention.from_torch(theirs)
    close(ours(h, graph), expected)
    back = ours.to_torch()
    close(back(h, h, h, attn_mask=~graph.dense(), need_weights=False)[0], expected)


@graphs
def test_it_agrees_with_pytorch_geometric_on_copied_weights(graph):
    from torch_geometric.nn import TransformerConv

    ours = layer()
    theirs = TransformerConv(12, 4, heads=3, root_weight=False).double()
    with torch.no_grad():
        ours.out.weight.copy_(torch.eye(12))
        ours.out.bias.zero_()
        for part, linear in enumerate((theirs.lin_query, theirs.lin_key, theirs.lin_value)):
            linear.weight.copy_(ours.qkv.weight.chunk(3)[part])
            linear.bias.copy_(ours.qkv.bias.chunk(3)[part])
    h = features(graph)
    close(ours(h, graph), theirs(h, graph.edge_index))


@pytest.mark.parametrize("groups", [3, 1])
def test_it_takes_over_the_attention_of_our_transformer(groups):
    from unrolled.models import ModelConfig
    from unrolled.models.attention import SelfAttention, Sight

    config = ModelConfig(vocab_size=5, hidden_size=12, num_heads=3, num_kv_heads=groups, bias=True)
    torch.manual_seed(3)
    theirs = SelfAttention(config).double()
    graph = Graph.causal(7)
    h = features(graph)
    expected = theirs(h[None], Sight(causal=True), None)[0]
    ours = GraphAttention.from_unrolled(theirs)
    close(ours(h, graph), expected)
    if groups == 3:
        other = SelfAttention(config).double()
        ours.to_unrolled(other)
        close(other(h[None], Sight(causal=True), None)[0], expected)
    else:
        with pytest.raises(BadInput, match="must be"):
            ours.to_unrolled(theirs)


@graphs
def test_it_is_one_step_of_message_passing_with_the_softmax_aggregation(graph):
    ours, h = layer(), features(graph)
    q, k, v = ours.heads(h, graph)
    node = torch.arange(graph.num_nodes)

    def message(j, i):
        return (q[:, i] * k[:, j]).sum(-1).T / 2.0, v[:, j].transpose(0, 1)

    # Nodes carry their numbers, so that a message can look up its queries, keys and values.
    heard = message_passing(
        graph,
        node.double(),
        message=lambda j, i: message(j.long(), i.long()),
        aggregate="softmax",
    )
    close(ours(h, graph), ours.out(heard.flatten(1)))


def test_weights_sum_to_one_and_are_those_of_torch():
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True).double()
    ours = GraphAttention.from_torch(theirs)
    graph = Graph.causal(6)
    h = features(graph)
    weights = ours.weights(h, graph)
    matrix = theirs(h, h, h, attn_mask=~graph.dense(), average_attn_weights=False)[1]
    close(weights, matrix[:, graph.target, graph.source].T)


def test_edge_features_add_to_the_scores_in_the_callers_order():
    ours = layer(edge_size=2)
    graph = random_graph(9, 30, seed=4)
    h = features(graph)
    edge = torch.randn(30, 2, dtype=torch.float64)
    out = ours(h, graph, edge)
    shuffle = torch.randperm(30)
    other = Graph(graph.edge_index[:, shuffle], 9)
    close(ours(h, other, edge[shuffle]), out)
    _, _, v = ours.heads(h, graph)
    weights = ours.weights(h, graph, edge)
    heard = torch.zeros(9, 3, 4, dtype=torch.float64).index_add(
        0, graph.target, weights[..., None] * v[:, graph.source].transpose(0, 1)
    )
    close(out, ours.out(heard.flatten(1)))
    ours(h, graph, edge).sum().backward()
    assert ours.edges.weight.grad.abs().sum() > 0


COMPILED = """
import torch
from unrolled.graphs import Graph, GraphAttention
torch.manual_seed(0)
layer, graph = GraphAttention(12, 3).double(), Graph.bigbird(20, 3, 2, 2)
h = torch.randn(20, 12, dtype=torch.float64, requires_grad=True)
compiled = torch.compile(layer, backend="eager")
for a, b in zip(*([o, *torch.autograd.grad(o.sin().sum(), h)] for o in (compiled(h, graph), layer(h, graph)))):
    assert (a - b).abs().max() < 1e-13
"""  # noqa: E501


def test_a_layer_compiled_by_torch_is_the_same():
    # In a process of its own: torch.compile can't read through the test run's type checks.
    subprocess.run([sys.executable, "-c", COMPILED], check=True)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: GraphAttention(10, 3), "num_heads must divide hidden_size: 10 / 3"),
        (lambda: GraphAttention(0, 1), "hidden_size must be a whole number, at least 1"),
        (lambda: layer()(torch.zeros(4, 11).double(), Graph.complete(4)), r"\[4, 12\]"),
        (lambda: layer()(torch.zeros(3, 12).double(), Graph.complete(4)), "each of the 4 nodes"),
        (lambda: layer()(torch.full((4, 12), math.nan).double(), Graph.complete(4)), "node 0"),
        (
            lambda: layer()(torch.zeros(2, 12).double(), Graph.complete(2), torch.zeros(4, 1)),
            "without edge_size",
        ),
        (lambda: layer(edge_size=1)(torch.zeros(2, 12).double(), Graph.complete(2)), "came|none"),
        (
            lambda: GraphAttention.from_torch(torch.nn.MultiheadAttention(4, 2, kdim=3)),
            "one width",
        ),
    ],
)
def test_what_does_not_fit_is_refused(run, message):
    with pytest.raises(BadInput, match=message):
        run()
