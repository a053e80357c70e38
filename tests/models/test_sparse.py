"""Does a Transformer with sparse attention look exactly where its pattern says, on every path?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
import torch
from tests.models.test_values import close, draw, random_model, tiny

from unrolled.errors import BadInput
from unrolled.models import ModelConfig, build
from unrolled.models import attention as attention_module
from unrolled.models.attention import Sight
from unrolled.models.batch import Batch
from unrolled.models.export_hf import find_layout
from unrolled.models.export_onnx import export_onnx
from unrolled.models.pattern import Pattern
from unrolled.models.store import CONFIG, FORMAT, WEIGHTS, load, save

PATTERNS = ("window:3", "bigbird:2,1,2")
patterns = pytest.mark.parametrize("attention", PATTERNS)
positions = pytest.mark.parametrize("positions", ["rope", "learned"])


def masked(model: Any, tokens: torch.Tensor, causal: bool) -> torch.Tensor:
    """The same weights through the ordinary attention under a mask written out."""
    pattern = model.config.pattern
    assert pattern is not None
    n = tokens.shape[1]
    mask = pattern.graph(n, causal).dense()[None, None]
    where = torch.arange(n)
    hidden = model.stack(model.stack.embed(tokens, where), Sight(mask), where)
    logits: torch.Tensor = model.head(hidden)
    return logits


@patterns
@positions
def test_a_sparse_model_is_the_dense_one_under_its_mask(attention: str, positions: str) -> None:
    with torch.no_grad():
        for architecture, causal in (("decoder", True), ("encoder", False)):
            model = random_model(architecture, tiny(attention=attention, positions=positions))
            tokens = draw(3, 17)
            close(model(tokens), masked(model, tokens, causal))


@patterns
@positions
def test_decoding_with_a_cache_agrees_with_the_whole_sequence(
    attention: str, positions: str
) -> None:
    with torch.no_grad():
        model = random_model("decoder", tiny(attention=attention, positions=positions))
        tokens = draw(2, 15)
        whole = model(tokens)
        cache = model.make_cache(2, 15)
        steps = [model(tokens[:, a:b], cache=cache) for a, b in ((0, 6), (6, 7), (7, 12), (12, 15))]
        close(torch.cat(steps, dim=1), whole)


@pytest.mark.parametrize(("attention", "most"), [("window:3", 3), ("bigbird:2,1,2", 2 + 1 + 2)])
@pytest.mark.parametrize("pad", [0, 2])
def test_a_step_behind_a_long_cache_reads_the_keys_of_its_edges_alone(
    attention: str, most: int, pad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was cached and isn't looked at is spoiled: reading it would show."""
    read = []
    real = attention_module.F.scaled_dot_product_attention
    monkeypatch.setattr(
        attention_module.F,
        "scaled_dot_product_attention",
        lambda q, k, v, **more: (read.append(k.shape[2]), real(q, k, v, **more))[1],
    )
    with torch.no_grad():
        model = random_model("decoder", tiny(attention=attention))
        tokens, past = draw(2, 40), 36
        mask = torch.ones(2, 40, dtype=torch.bool)
        mask[0, :pad] = False
        padding = mask if pad else None
        whole = model(tokens, attention_mask=padding)
        cache = model.make_cache(2, 40)
        first = None if padding is None else padding[:, :past]
        model(tokens[:, :past], attention_mask=first, cache=cache)
        read.clear()
        pattern = model.config.pattern
        assert pattern is not None
        edges = pattern.graph(40, True).edge_index
        unseen = torch.ones(past, dtype=torch.bool)
        for shift in (pad, 0):
            seen = edges[0, edges[1] == past - shift] + shift
            unseen[seen[seen < past]] = False
        cache.keys[:, :, :, :past][:, :, :, unseen] = torch.nan
        cache.values[:, :, :, :past][:, :, :, unseen] = torch.nan
        step = model(tokens[:, past : past + 1], cache=cache)
        close(step, whole[:, past : past + 1])
        assert len(seen) <= most
        assert read == [int((~unseen).sum()) + 1] * model.config.num_layers


@patterns
@positions
def test_padding_on_the_left_changes_nothing_with_or_without_a_cache(
    attention: str, positions: str
) -> None:
    with torch.no_grad():
        model = random_model("decoder", tiny(attention=attention, positions=positions))
        tokens, pad = draw(2, 12), 4
        alone = model(tokens[:1, pad:])
        mask = torch.ones(2, 12, dtype=torch.bool)
        mask[0, :pad] = False
        padded = model(tokens, attention_mask=mask)
        close(padded[:1, pad:], alone)
        close(padded[1:], model(tokens[1:]))
        cache = model.make_cache(2, 12)
        first = model(tokens[:, :7], attention_mask=mask[:, :7], cache=cache)
        rest = [model(tokens[:, i : i + 1], cache=cache) for i in range(7, 12)]
        close(torch.cat((first, *rest), dim=1)[0, pad:], alone[0])
        close(torch.cat((first, *rest), dim=1)[1], padded[1])


@patterns
def test_packed_documents_are_as_if_each_stood_alone(attention: str) -> None:
    with torch.no_grad():
        for architecture in ("decoder", "encoder"):
            model = random_model(architecture, tiny(attention=attention))
            tokens = draw(2, 13)
            documents = torch.tensor([[1] * 5 + [2] * 8, [1] * 9 + [2] * 4])
            where = torch.tensor([[*range(5), *range(8)], [*range(9), *range(4)]])
            packed = model(tokens, documents=documents, positions=where)
            for row, cut in ((0, 5), (1, 9)):
                parts = [model(tokens[row : row + 1, a]) for a in (slice(cut), slice(cut, None))]
                close(packed[row], torch.cat(parts, dim=1)[0])


def test_an_encoder_does_not_look_at_padding() -> None:
    with torch.no_grad():
        model = random_model("encoder", tiny(attention="bigbird:2,1,2"))
        tokens = draw(1, 12)
        mask = torch.arange(12)[None] < 8
        close(model(tokens, attention_mask=mask)[:, :8], model(tokens[:, :8]))


@patterns
def test_the_loss_and_its_gradient_are_those_under_the_mask(attention: str) -> None:
    model = random_model("decoder", tiny(attention=attention)).double()
    tokens = draw(2, 14)
    targets = draw(2, 14, seed=3)
    targets[:, :5] = -100  # so that the last layer makes no queries of the first columns
    loss = model.loss(Batch(tokens, targets))
    logits = masked(model, tokens, True)
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="sum"
    )
    torch.testing.assert_close(loss, expected)
    weights = list(model.parameters())
    got, wanted = (
        torch.autograd.grad(value, weights, allow_unused=True) for value in (loss, expected)
    )
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_whole_sequences_go_through_the_kernels_of_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    real = attention_module.graph_attention
    monkeypatch.setattr(
        attention_module, "graph_attention", lambda *a: (used.append(a[3]), real(*a))[1]
    )
    with torch.no_grad():
        model = random_model("decoder", tiny(attention="window:3"))
        model(draw(2, 20))
    assert [graph.num_edges for graph in used] == [3 * 20 - 3] * 2


@patterns
def test_the_pattern_is_saved_and_loaded(attention: str, tmp_path: Any) -> None:
    model = random_model("decoder", tiny(attention=attention))
    save(model, tmp_path / WEIGHTS)
    config = {"format": FORMAT, "architecture": "decoder", "model": asdict(model.config)}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    other: Any = load(tmp_path)
    assert other.config.attention == attention
    with torch.no_grad():
        assert torch.equal(other(draw(1, 9)), model(draw(1, 9)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("full", None), ("window:128", Pattern(128)), ("bigbird:64,2,3", Pattern(64, 2, 3))],
)
def test_a_pattern_is_read(text: str, expected: Pattern | None) -> None:
    assert Pattern.parse(text) == expected


@pytest.mark.parametrize("text", ["", "window", "window:0", "window:-1", "bigbird:3", "local:4"])
def test_another_word_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(BadInput, match="full, window:W or bigbird"):
        ModelConfig(attention=text)


def test_what_has_no_sparse_attention_refuses_it(tmp_path: Any) -> None:
    config = tiny(attention="window:3")
    with pytest.raises(BadInput, match="needs a Transformer"):
        build("lstm", config)
    with pytest.raises(BadInput, match="cross-attention"):
        build("encoder-decoder", tiny(attention="window:3", memory="prefix"))
    model = build("decoder", config)
    with pytest.raises(BadInput, match="window:3"):
        find_layout(model)
    with pytest.raises(BadInput, match="window:3"):
        export_onnx(model, tmp_path)
