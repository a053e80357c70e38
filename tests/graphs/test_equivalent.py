"""Is the comparison of attention with message passing one that can fail, and its receipt true?"""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from tests.graphs.examples import GRAPHS
from tests.receipts.examples import changed

from unrolled.errors import BadInput
from unrolled.graphs import Graph, GraphAttention, equivalent, exercise
from unrolled.receipts import check


def mha(hidden=12, heads=3, **options):
    torch.manual_seed(0)
    return torch.nn.MultiheadAttention(hidden, heads, **options)


@pytest.mark.parametrize("name", [n for n, g in GRAPHS.items() if not g.has_duplicates])
def test_torch_attention_is_message_passing_on_every_graph(name):
    answer = equivalent(mha(), GRAPHS[name])
    assert answer.difference <= 1e-13
    assert answer.kernel_difference <= 1e-13
    assert answer.scaled


@pytest.mark.parametrize(
    "model",
    [
        GraphAttention(12, 3),
        torch.nn.TransformerEncoderLayer(12, 3),
        mha(bias=False, batch_first=True),
    ],
)
def test_any_module_with_such_attention_will_do(model):
    assert equivalent(model, Graph.causal(7)).difference <= 1e-13


def test_our_transformers_own_attention_is_message_passing():
    from unrolled.models import ModelConfig
    from unrolled.models.attention import SelfAttention, Sight

    config = ModelConfig(vocab_size=5, hidden_size=12, num_heads=3, num_kv_heads=1)
    layer = SelfAttention(config)
    double = SelfAttention(config).double()
    double.load_state_dict(layer.state_dict())

    def dense(h, mask):
        return double(h[None], Sight(mask[None, None]), None)[0]

    graph = Graph.bigbird(15, 3, 1, 1, causal=True)
    assert equivalent(layer, graph, dense=dense).difference <= 1e-13


def test_a_layer_that_is_something_else_is_found_out():
    layer = GraphAttention(12, 3)

    class Unscaled(torch.nn.Module):
        kv_heads, num_heads, head_size = 3, 3, 4

        def __init__(self):
            super().__init__()
            self.qkv, self.out = layer.qkv, layer.out

    def dense(h, mask):
        q, k, v = layer.double().heads(h, Graph.complete(len(h)))
        heard = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, scale=1.0)
        return layer.out(heard.transpose(0, 1).flatten(1))

    assert equivalent(Unscaled(), Graph.causal(6), dense=dense).difference > 1e-3
    assert equivalent(layer, Graph([[0], [1]], 2)).self_loops == "no node"


def test_the_receipt_holds_and_a_number_changed_in_it_is_refuted():
    answer = equivalent(mha(4, 2), Graph([[0, 1, 2, 2], [1, 2, 0, 2]], 4))
    document = answer.receipt().document()
    assert check.check(document) == document["claim"]
    assert "4 directed edges of 4 nodes, 1 of them from a node to itself" in document["claim"]
    assert document["answer"]["h"][3] == [0.0] * 4, "an isolated node hears 0"
    x = document["answer"]["h"][0][0]
    with pytest.raises(check.Refuted, match=r"answer.h\[0\]: off by"):
        check.check(changed(document, ("answer.h.0.0", x + 3e-12)))
    with pytest.raises(check.Refuted):
        check.check(changed(document, ("given.edges.0", [1, 0])))
    with pytest.raises(check.Refuted):
        check.check(changed(document, ("given.scaled", False)))
    for wrong in (("given.edges.0", [0, 4]), ("answer.within", 2), ("answer.h", [[0.0] * 4])):
        with pytest.raises(check.Malformed):
            check.check(changed(document, wrong))


def test_too_large_for_a_receipt_is_said():
    with pytest.raises(BadInput, match="too large for a receipt"):
        equivalent(mha(), Graph.complete(65)).receipt()


@pytest.mark.parametrize(
    ("model", "graph", "message"),
    [
        (torch.nn.Linear(2, 2), Graph.complete(2), "Linear has no"),
        (mha(), Graph([[0, 0], [1, 1]], 2), "an edge twice"),
    ],
)
def test_what_cannot_be_compared_is_refused(model, graph, message):
    with pytest.raises(BadInput, match=message):
        equivalent(model, graph)


def test_the_exercise_by_hand_is_the_exercise_by_message_passing():
    assert exercise.worked().result == (Fraction(0), Fraction(4, 5))
    assert exercise.by_message_passing() == pytest.approx([0.0, 0.8], abs=1e-15)
    assert exercise.worked().lines[-1].split() == ["h_1'", "[0,", "0.8]"]


def test_the_exercise_has_a_receipt_that_refutes_another_sum():
    receipt = exercise.receipt()
    assert "along 3 directed edges of 4 nodes" in receipt.check()
    assert receipt.answer["h"][0] == [-0.8, 0.8]
    receipt.answer["h"][0][1] = 0.8 + 1e-14
    with pytest.raises(check.Refuted):
        receipt.check()
