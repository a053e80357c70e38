"""Are hops, dilution and gradients what they are by other means?"""

from __future__ import annotations

import math

import networkx
import pytest
import torch
from tests.graphs.examples import GRAPHS

from unrolled.errors import BadInput
from unrolled.graphs import Graph, GraphAttention, convert
from unrolled.graphs.draw import draw, draw_reach
from unrolled.graphs.reach import distances, gradient, hops, needle, reach


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=list(GRAPHS))
def test_hops_are_those_of_networkx(graph):
    theirs = convert.to_networkx(graph)
    found = distances(graph, torch.arange(graph.num_nodes))
    for j, reached in networkx.all_pairs_shortest_path_length(theirs):
        for i in range(graph.num_nodes):
            assert int(found[i, j]) == reached.get(i, -1)
    connected = networkx.is_strongly_connected(theirs)
    assert hops(graph) == (int(found.max()) if connected else -1)


def test_hops_of_a_window_grow_with_length_and_those_of_an_expander_hardly():
    assert [hops(Graph.sliding_window(n, 4)) for n in (11, 21, 41)] == [5, 10, 20]
    assert hops(Graph.expander(256, 8)) <= 5
    assert hops(Graph.bigbird(100, 3, 1, 0)) == 2


def test_the_needle_is_the_softmax_of_a_margin():
    power = math.exp(3.0)
    assert needle(Graph.complete(10)) == pytest.approx(power / (power + 9))
    causal = [power / (power + i) for i in range(10)]
    assert needle(Graph.causal(10)) == pytest.approx(sum(causal) / 10)
    assert needle(Graph([[], []], 3)) == 0


def test_the_gradient_is_exactly_zero_beyond_as_many_hops_as_there_are_layers():
    graph = Graph.sliding_window(21, 4)  # the last node is 2 positions a hop from the others
    for layers in (1, 2, 3):
        norms = gradient(graph, layers, 20)
        assert [norm > 0 for norm in norms] == [d <= 2 * layers for d in range(1, 21)]


def test_the_gradients_norm_is_that_of_the_jacobian():
    graph, hidden = Graph.causal(5), 8
    generator = torch.Generator().manual_seed(0)
    layer = GraphAttention(hidden, 4, bias=False)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=hidden**-0.5, generator=generator)
    start = torch.randn(5, hidden, generator=generator)

    def last(h):
        return (h + layer(torch.nn.functional.rms_norm(h, (hidden,)), graph))[-1]

    jacobian = torch.autograd.functional.jacobian(last, start)
    expected = jacobian.square().sum((0, 2)).sqrt().flip(0)[1:]
    got = torch.tensor(gradient(graph, 1, 4, hidden=hidden, probes=3000))
    torch.testing.assert_close(got, expected, rtol=0.1, atol=0)


def test_a_table_and_pictures(tmp_path):
    answers = reach([16, 32], layers=2, blocks=4)
    assert [(a.name, a.nodes) for a in answers[:2]] == [("dense", 16), ("dense", 32)]
    assert answers[0].edges == 256
    draw_reach(answers, 2, tmp_path / "reach.png")
    graph = Graph.complete(4)
    draw(graph, tmp_path / "a.svg", torch.rand(16), ["I", "eat", "red", "apples"])
    draw(Graph([[], []], 2), tmp_path / "b.png")
    assert "apples" in (tmp_path / "a.svg").read_text() or (tmp_path / "a.svg").stat().st_size
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("reach.png", "b.png"))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: reach([4]), "lengths must be above 8"),
        (lambda: reach([64], patterns=["star"]), "unknown pattern 'star'"),
        (lambda: draw(Graph.complete(40), "x.png"), "1 to 32 nodes"),
        (lambda: draw(Graph.complete(2), "x.txt"), "png or .svg"),
        (lambda: draw(Graph.complete(2), "x.png", None, ["a"]), "1 names for 2 nodes"),
    ],
)
def test_what_cannot_be_measured_or_drawn_is_refused(run, message):
    with pytest.raises(BadInput, match=message):
        run()
