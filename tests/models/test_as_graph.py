"""Is every attention of our models found to be message passing, and one that isn't found out?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.models.test_values import draw, random_model, tiny

from unrolled.errors import BadInput
from unrolled.models import attention as attention_module
from unrolled.models import build
from unrolled.models.as_graph import layers_equivalent
from unrolled.models.attention import attend
from unrolled.models.batch import Batch


def batch(rows: int = 2) -> Batch:
    targets = draw(rows, 9, seed=3)
    targets[:, :3] = -100  # so that the last layer asks nothing for the first columns
    return Batch(draw(rows, 9), targets)


def pairs() -> Batch:
    mask = torch.arange(7)[None] < torch.tensor([5, 7])[:, None]
    return Batch(draw(2, 9), draw(2, 9, seed=3), source=draw(2, 7, seed=4), source_mask=mask)


@pytest.mark.parametrize("positions", ["rope", "learned", "sinusoidal"])
@pytest.mark.parametrize(
    ("attention", "edges"), [("full", 45), ("window:3", 24), ("bigbird:2,1,1", None)]
)
def test_a_decoder_hears_along_its_causal_graph(
    positions: str, attention: str, edges: int | None
) -> None:
    model = random_model("decoder", tiny(positions=positions, attention=attention))
    found = layers_equivalent(model, batch())
    assert [layer.name for layer in found] == [f"stack.blocks.{i}.attention" for i in (0, 1)]
    for layer in found:
        assert layer.same, layer
        assert bool((layer.graph.source <= layer.graph.target).all())
        assert edges in (None, layer.graph.num_edges)


def test_packed_documents_are_graphs_apart() -> None:
    model = random_model("decoder", tiny())
    documents = torch.tensor([[1] * 4 + [2] * 5])
    where = torch.tensor([[*range(4), *range(5)]])
    packed = Batch(draw(1, 9), draw(1, 9), documents=documents, positions=where)
    for layer in layers_equivalent(model, packed):
        assert layer.same
        assert layer.graph.num_edges == 4 * 5 // 2 + 5 * 6 // 2


@pytest.mark.parametrize("memory", ["cross-attention", "prefix"])
def test_an_encoder_decoder_hears_its_source_too(memory: str) -> None:
    model = random_model("encoder-decoder", tiny(memory=memory))
    found = layers_equivalent(model, pairs())
    assert all(layer.same for layer in found)
    crosses = [layer.graph for layer in found if layer.name.endswith("cross")]
    assert len(crosses) == (2 if memory == "cross-attention" else 0)
    for graph in crosses:
        assert graph.num_nodes == 7 + 9
        assert graph.num_edges == 5 * 9, "5 real tokens of the source, heard by 9"
        assert graph.num_self_loops == 0


def test_attention_that_is_something_else_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def warmer(queries: Any, *rest: Any) -> torch.Tensor:
        return attend(queries * 1.001, *rest)

    model = random_model("decoder", tiny())
    monkeypatch.setattr(attention_module, "attend", warmer)
    assert not any(layer.same for layer in layers_equivalent(model, batch()))


def test_the_model_itself_is_left_as_it_is() -> None:
    model = random_model("decoder", tiny())
    before = model(draw(1, 9))
    layers_equivalent(model, batch())
    assert torch.equal(model(draw(1, 9)), before)


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(BadInput, match="LSTMModel has no attention"):
        layers_equivalent(build("lstm", tiny()), batch())
