"""Every architecture with every option computes what the papers' equations say, on every path."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from tests.models import reference

from unrolled.models import ModelConfig, build

TOLERANCE = 1e-5
VOCAB = 29
OPTIONS = [
    dict(zip(("positions", "norm", "activation", "bias", "tie_embeddings"), values, strict=True))
    for values in itertools.product(
        ("rope", "learned", "sinusoidal"),
        ("rmsnorm", "layernorm"),
        ("swiglu", "gelu"),
        (False, True),
        (False, True),
    )
]
MEMORIES = ("cross-attention", "prefix")


def tiny(**options: Any) -> ModelConfig:
    values = {"hidden_size": 24, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2}
    return ModelConfig(vocab_size=VOCAB, max_positions=40, **{**values, **options})


def random_model(architecture: Any, config: ModelConfig, seed: int = 0) -> Any:
    """Weights of ordinary size everywhere, so that no term is too small to be seen."""
    model = build(architecture, config, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def draw(rows: int, time: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(VOCAB, (rows, time), generator=torch.Generator().manual_seed(seed))


def close(a: torch.Tensor, b: torch.Tensor | np.ndarray) -> None:
    torch.testing.assert_close(
        a.double(), torch.as_tensor(b).double(), rtol=TOLERANCE, atol=TOLERANCE
    )


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_a_decoder_computes_the_equations(options: dict[str, Any]) -> None:
    model = random_model("decoder", tiny(**options))
    tokens = draw(2, 7)
    for row, logits in zip(tokens, model(tokens), strict=True):
        close(logits, reference.decoder_logits(model, row.tolist()))


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_an_encoder_computes_the_equations(options: dict[str, Any]) -> None:
    model = random_model("encoder", tiny(**options))
    tokens = draw(2, 6)
    for row, logits in zip(tokens, model(tokens), strict=True):
        close(logits, reference.encoder_logits(model, row.tolist()))


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_an_encoder_decoder_computes_the_equations(options: dict[str, Any], memory: str) -> None:
    model = random_model("encoder-decoder", tiny(**options, memory=memory))
    source, tokens = draw(2, 5, 2), draw(2, 6)
    logits = model(source, tokens)
    for i in range(2):
        expected = reference.encoder_decoder_logits(model, source[i].tolist(), tokens[i].tolist())
        close(logits[i], expected)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_a_decoder_with_a_cache_agrees_with_one_without(options: dict[str, Any]) -> None:
    model = random_model("decoder", tiny(**options))
    tokens, cache = draw(3, 11), model.make_cache(3, 11)
    parts = [model(part, cache=cache) for part in tokens.split((4, 1, 1, 3, 2), dim=1)]
    close(torch.cat(parts, dim=1), model(tokens))


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_an_encoder_decoder_with_a_cache_and_padding_agrees_with_a_single_row(
    options: dict[str, Any], memory: str
) -> None:
    model = random_model("encoder-decoder", tiny(**options, memory=memory))
    source, tokens = draw(3, 9, 2), draw(3, 8)
    lengths = (9, 4, 1)
    real = torch.arange(9) < torch.tensor(lengths)[:, None]
    cache = model.encode(source, real, capacity=8)
    cached = torch.cat(
        [model.decode(part, cache) for part in tokens.split((1, 1, 4, 2), dim=1)], dim=1
    )
    together = model(source, tokens, real)
    for i, length in enumerate(lengths):
        alone = model(source[i : i + 1, :length], tokens[i : i + 1])[0]
        close(cached[i], alone)
        close(together[i], alone)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ["decoder", "lstm"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_a_padded_row_agrees_with_the_row_alone(
    options: dict[str, Any], architecture: str, side: str
) -> None:
    model = random_model(architecture, tiny(**options))
    tokens, lengths = draw(3, 9), (9, 5, 1)
    columns = torch.arange(9)
    starts = [9 - n if side == "left" else 0 for n in lengths]
    spans = zip(starts, lengths, strict=True)
    real = torch.stack([(columns >= start) & (columns < start + n) for start, n in spans])
    whole = model(tokens, attention_mask=real)
    for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        close(
            whole[i, start : start + length],
            model(tokens[i : i + 1, start : start + length])[0],
        )


@pytest.mark.parametrize("architecture", ["decoder", "lstm"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_left_padded_prompts_continue_in_the_cache_as_if_alone(
    options: dict[str, Any], architecture: str
) -> None:
    model = random_model(architecture, tiny(**options))
    tokens, lengths = draw(3, 12), (7, 3, 1)
    real = torch.arange(7) >= 7 - torch.tensor(lengths)[:, None]
    cache = model.make_cache(3, 12)
    parts = [model(tokens[:, :7], attention_mask=real, cache=cache)]
    parts += [model(tokens[:, t : t + 1], cache=cache) for t in range(7, 12)]
    cached = torch.cat(parts, dim=1)
    for i, length in enumerate(lengths):
        alone = model(tokens[i : i + 1, 7 - length :])[0]
        close(cached[i, 7 - length :], alone)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_an_encoder_does_not_look_at_padding(options: dict[str, Any]) -> None:
    for classes in (0, 3):
        model = random_model("encoder", tiny(**options, num_classes=classes))
        tokens, lengths = draw(3, 9), (9, 5, 2)
        real = torch.arange(9) < torch.tensor(lengths)[:, None]
        whole = model(tokens, attention_mask=real)
        for i, length in enumerate(lengths):
            alone = model(tokens[i : i + 1, :length])[0]
            close(whole[i] if classes else whole[i, :length], alone)


def test_a_classifier_reads_the_mean_of_the_hidden_states() -> None:
    model = random_model("encoder", tiny(num_classes=3))
    tokens = draw(2, 5)
    expected = model.classifier(model.hidden(tokens).mean(1))
    close(model(tokens), expected)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_any_number_of_key_value_heads_computes_the_equations(heads: int) -> None:
    model = random_model("decoder", tiny(num_kv_heads=heads))
    tokens = draw(1, 6)
    close(model(tokens)[0], reference.decoder_logits(model, tokens[0].tolist()))


def test_reordered_rows_of_a_cache_continue_their_parents() -> None:
    for architecture in ("decoder", "lstm"):
        model = random_model(architecture, tiny())
        tokens, cache = draw(3, 6), model.make_cache(3, 10)
        real = torch.arange(6) >= torch.tensor([0, 2, 5])[:, None]
        model(tokens, attention_mask=real, cache=cache)
        parents, new = torch.tensor([2, 0, 0, 1, 2]), draw(5, 1, 3)
        cache.reorder(parents)
        got = model(new, cache=cache)[:, 0]
        for row, parent in enumerate(parents.tolist()):
            start = (0, 2, 5)[parent]
            alone = torch.cat((tokens[parent, start:], new[row]))[None]
            close(got[row], model(alone)[0, -1])


def test_reordered_sources_stay_with_their_rows() -> None:
    for memory in MEMORIES:
        model = random_model("encoder-decoder", tiny(memory=memory, positions="learned"))
        source, tokens = draw(3, 6, 2), draw(3, 2)
        real = torch.arange(6) < torch.tensor([6, 4, 1])[:, None]
        cache = model.encode(source, real, capacity=4)
        model.decode(tokens, cache)
        parents, new = torch.tensor([1, 1, 2, 0]), draw(4, 1, 3)
        cache.reorder(parents)
        got = model.decode(new, cache)[:, 0]
        for row, parent in enumerate(parents.tolist()):
            length = (6, 4, 1)[parent]
            target = torch.cat((tokens[parent], new[row]))[None]
            close(got[row], model(source[parent : parent + 1, :length], target)[0, -1])


def test_an_lstm_computes_its_equations() -> None:
    model = random_model("lstm", tiny(num_layers=1))
    w = reference.weights_of(model)
    tokens = draw(1, 6)[0].tolist()
    hidden = model.config.hidden_size
    h, c = np.zeros(hidden), np.zeros(hidden)
    logits = []
    for token in tokens:
        z = w["lstm.weight_ih_l0"] @ w["embedding.weight"][token] + w["lstm.bias_ih_l0"]
        z = z + w["lstm.weight_hh_l0"] @ h + w["lstm.bias_hh_l0"]
        i, f, g, o = z.reshape(4, hidden)
        sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731 - the equation's own letter
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        logits.append(w["head.linear.weight"] @ h)
    close(model(torch.tensor([tokens]))[0], np.array(logits))
