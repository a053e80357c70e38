"""Do both kernels compute the sum over the edges, to the last digits, with its gradient?"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graphs.examples import GRAPHS, draw_heads, plain_attention, random_graph

from unrolled.graphs import Graph, graph_attention
from unrolled.graphs.kernels import prefers_dense

KERNELS = ("sparse", "dense")
graphs = pytest.mark.parametrize("graph", GRAPHS.values(), ids=list(GRAPHS))
kernels = pytest.mark.parametrize("kernel", KERNELS)


def close(a, b, tolerance=1e-13):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@graphs
@kernels
def test_values_and_gradients_are_those_of_the_plain_sum(graph, kernel):
    q, k, v = (t.requires_grad_() for t in draw_heads(graph.num_nodes))
    out = graph_attention(q, k, v, graph, kernel=kernel)
    expected = plain_attention(q, k, v, graph)
    close(out, expected)
    above = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
    for got, wanted in zip(
        torch.autograd.grad(out, (q, k, v), above),
        torch.autograd.grad(expected, (q, k, v), above),
        strict=True,
    ):
        close(got, wanted)


@graphs
@kernels
def test_without_duplicates_it_is_masked_dense_attention(graph, kernel):
    if graph.has_duplicates:
        return
    q, k, v = draw_heads(graph.num_nodes)
    mask = graph.dense()
    dense = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    dense = dense.masked_fill(~mask.any(1, keepdim=True), 0.0)
    close(graph_attention(q, k, v, graph, kernel=kernel), dense)


@kernels
@pytest.mark.parametrize("name", ["causal window", "random, asymmetric", "one way only"])
def test_gradcheck(kernel, name):
    graph = GRAPHS[name]
    inputs = [t.requires_grad_() for t in draw_heads(graph.num_nodes, size=2)]
    assert torch.autograd.gradcheck(
        lambda q, k, v: graph_attention(q, k, v, graph, kernel=kernel), inputs
    )


def test_gradcheck_of_the_bias_of_edges():
    graph = GRAPHS["random, asymmetric"]
    inputs = [t.requires_grad_() for t in draw_heads(graph.num_nodes, size=2)]
    bias = torch.randn(2, graph.num_edges, dtype=torch.float64).requires_grad_()
    close(graph_attention(*inputs, graph, bias), plain_attention(*inputs, graph, bias))
    assert torch.autograd.gradcheck(
        lambda q, k, v, b: graph_attention(q, k, v, graph, b), [*inputs, bias]
    )


@kernels
@pytest.mark.parametrize("size", [1e2, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_far_too_large_for_exp_are_no_trouble(kernel, size, dtype):
    graph = GRAPHS["bigbird"]
    q, k, v = draw_heads(graph.num_nodes, dtype=dtype)
    q = q * size
    tolerance = 1e-11 if dtype == torch.float64 else 2e-2
    got = graph_attention(q, k, v, graph, kernel=kernel)
    close(got, plain_attention(q.double(), k.double(), v.double(), graph).to(dtype), tolerance)


@kernels
def test_scores_far_below_zero_are_no_trouble(kernel):
    graph = Graph.complete(5)
    q, k, v = draw_heads(5)
    q, k = q.abs() * 100, -k.abs() * 100
    close(graph_attention(q, k, v, graph, kernel=kernel), plain_attention(q, k, v, graph), 1e-11)


def test_a_bias_of_minus_infinity_takes_an_edge_away():
    graph = Graph.complete(4)
    q, k, v = draw_heads(4)
    bias = torch.zeros(graph.num_edges, dtype=torch.float64)
    bias[graph.source == 3] = -torch.inf
    fewer = Graph(graph.edge_index[:, graph.source != 3], 4)
    close(graph_attention(q, k, v, graph, bias), graph_attention(q, k, v, fewer, kernel="sparse"))
    bias[graph.target == 0] = -torch.inf
    out = graph_attention(q, k, v, graph, bias)
    assert out[:, 0].abs().max() == 0
    assert not out.isnan().any()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 30), st.integers(0, 2**20), st.sampled_from(KERNELS))
def test_renumbering_the_nodes_renumbers_the_answer(n, edges, seed, kernel):
    graph = random_graph(n, edges, seed)
    new = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    old = new.argsort()
    heads = draw_heads(n, seed=seed)
    out = graph_attention(*heads, graph, kernel=kernel)
    moved = graph_attention(*(t[:, old] for t in heads), graph.permuted(new), kernel=kernel)
    close(moved[:, new], out)


@kernels
def test_where_there_is_no_edge_the_jacobian_is_exactly_zero(kernel):
    graph = GRAPHS["random, asymmetric"]
    n = graph.num_nodes
    q, k, v = draw_heads(n)
    for place in (1, 2):

        def run(t, place=place):
            return graph_attention(
                *(t if p == place else x for p, x in enumerate((q, k, v))), graph, kernel=kernel
            )

        jacobian = torch.autograd.functional.jacobian(run, (q, k, v)[place])
        touched = jacobian.abs().amax(dim=(0, 2, 3, 5)) > 0
        assert not (touched & ~graph.dense()).any()
        if place == 2:
            assert torch.equal(touched, graph.dense())


@kernels
def test_an_isolated_node_hears_zero_and_a_duplicate_counts_twice(kernel):
    q, k, v = draw_heads(3)
    out = graph_attention(q, k, v, Graph([[0, 0, 1], [2, 2, 2]], 3), kernel=kernel)
    assert out[:, :2].abs().max() == 0
    a = (q[:, 2] * k[:, 0]).sum(-1) / 3**0.5
    b = (q[:, 2] * k[:, 1]).sum(-1) / 3**0.5
    weight = (2 * a.exp() / (2 * a.exp() + b.exp()))[:, None]
    close(out[:, 2], weight * v[:, 0] + (1 - weight) * v[:, 1])


@kernels
def test_a_graph_without_edges_or_nodes_gives_zeros_with_gradients(kernel):
    for n in (0, 3):
        q, k, v = (t.requires_grad_() for t in draw_heads(n))
        out = graph_attention(q, k, v, Graph(torch.zeros(2, 0, dtype=torch.long), n), kernel=kernel)
        assert out.shape == (2, n, 3)
        assert out.abs().sum() == 0
        for t in torch.autograd.grad(out.sum(), (q, k, v)):
            assert t.abs().sum() == 0


@kernels
def test_the_same_input_gives_the_same_bits(kernel):
    graph = random_graph(50, 600)
    answers = []
    for _ in range(3):
        heads = [t.requires_grad_() for t in draw_heads(50, dtype=torch.float32)]
        out = graph_attention(*heads, graph, kernel=kernel)
        answers.append([out, *torch.autograd.grad(out.square().sum(), heads)])
    for other in answers[1:]:
        assert all(torch.equal(a, b) for a, b in zip(answers[0], other, strict=True))


def test_blocks_of_the_dense_kernel_join(monkeypatch):
    monkeypatch.setattr("unrolled.graphs.dense.BLOCK", 1)
    for graph in (Graph.causal(40), Graph.complete(40), random_graph(40, 300)):
        heads = [t.requires_grad_() for t in draw_heads(40)]
        outs = [graph_attention(*heads, graph, kernel=k) for k in KERNELS]
        close(*outs)
        for a, b in zip(*(torch.autograd.grad(o.sin().sum(), heads) for o in outs), strict=True):
            close(a, b)


def test_half_precision_is_computed_in_float32_and_no_edge_sized_tensor_of_rows_is_kept():
    graph = random_graph(30, 200)
    heads = draw_heads(30, dtype=torch.float32)
    halves = [t.bfloat16() for t in heads]
    out = graph_attention(*halves, graph)
    assert out.dtype == torch.bfloat16
    close(out, graph_attention(*(t.float() for t in halves), graph).bfloat16(), 0)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t), t)[1], lambda t: t):
        graph_attention(*(t.requires_grad_() for t in heads), graph, kernel="sparse")
    assert sum(t.numel() for t in saved) == 4 * heads[0].numel() + 2 * 30, "q, k, v, out and L"


@pytest.mark.parametrize("gradient", [False, True])
def test_the_choice_follows_the_numbers_of_nodes_edges_and_features_alone(gradient):
    assert prefers_dense(Graph.complete(1000), 64, gradient)
    assert prefers_dense(Graph.causal(1000), 64, gradient)
    assert not prefers_dense(Graph.sliding_window(1000, 64), 16, gradient)
    assert not prefers_dense(Graph([[0], [1]], 10**5), 16, gradient)
    small = Graph.sliding_window(100, 4)
    assert prefers_dense(small, 16, gradient), "calls cost more than the few pairs"
    assert not prefers_dense(small, 128, gradient)


def test_edges_lose_to_pairs_sooner_where_a_gradient_is_wanted():
    graph = Graph.from_dense(torch.arange(400**2).reshape(400, 400) % 20 < 7)
    assert prefers_dense(graph, 10**6, gradient=True)
    assert not prefers_dense(graph, 10**6, gradient=False)
