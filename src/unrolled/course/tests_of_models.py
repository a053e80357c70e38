"""Are the models put together right, and sampled right? The other 7 of the 11 points."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.course import reference
from unrolled.course.bench import (
    Array,
    Bench,
    Wrong,
    close,
    distributed,
    kind_of,
    scalar,
    several,
    tensor,
)
from unrolled.course.reference import Sizes, Weights
from unrolled.course.tests_of_parts import SMALL, Test, tokens

PARTS = ("GenericSelfAttention", "TransformerBlock", "Embedding")
BLOCKS = ("TransformerBlock", "Embedding")
ODD = Sizes(vocab_size=7, block_size=12)
PAIR = (Sizes(n_layer=1), Sizes(n_layer=1, vocab_size=6))
LARGER = (PAIR[0], Sizes(n_layer=1, vocab_size=7))
"""With the token that EncoderDecoder adds: an odd number, as the chi-squared test wants."""
DRAWS = 2000


def transformer(bench: Bench) -> tuple[Weights, str | None]:
    """A GenericTransformer's weights, and what stands in for its parts."""
    weights = bench.make("GenericTransformer", SMALL, parts=BLOCKS)
    return weights, "parts" if bench.standing_in else None


def transformer_logits(bench: Bench) -> None:
    """Logits, no loss."""
    weights, standing = transformer(bench)
    idx = tokens(bench, 2, 6)
    found, loss = several(bench.call("GenericTransformer", idx), 2)
    hidden = reference.hidden(weights, "GenericTransformer", SMALL, idx, None, standing)
    close("logits", found, reference.logits(weights, hidden))
    if loss is not None:
        raise Wrong(f"loss: expected None without targets, got {kind_of(loss)}")


def transformer_loss(bench: Bench) -> None:
    """The loss of the model's own logits, with targets that are -1."""
    transformer(bench)
    idx, targets = tokens(bench, 3, 6), tokens(bench, 3, 6)
    targets[0, 2:], targets[2, :3] = -1, -1
    found, loss = several(bench.call("GenericTransformer", idx, targets=targets), 2)
    own = tensor("logits", found, (3, 6, SMALL.vocab_size)).astype(float)
    scalar("loss", loss, reference.cross_entropy(own, targets))


def transformer_cache(bench: Bench) -> None:
    """The cache before the tokens, what is hidden, and the loss after a cache."""
    weights, standing = transformer(bench)
    idx, targets = tokens(bench, 2, 4), tokens(bench, 2, 4)
    targets[1, 3] = -1
    cache = bench.rng.normal(size=(2, 3, 8)).astype(np.float32)
    expected = reference.hidden(weights, "GenericTransformer", SMALL, idx, cache, standing)
    found = bench.call("GenericTransformer", idx, hidden_cache=cache, return_hidden=True)
    close("with return_hidden", found, expected)
    answer = bench.call("GenericTransformer", idx, targets=targets, hidden_cache=cache)
    found, loss = several(answer, 2)
    close("logits after a cache", found, reference.logits(weights, expected))
    scalar("loss after a cache", loss, reference.cross_entropy(found[:, 2:-1], targets))


def mask_of(bench: Bench, kind: str, lengths: list[int]) -> None:
    """Compare a mask."""
    found = bench.call(kind, np.array(lengths), method="get_attention_mask")
    expected = reference.masks(kind, np.array(lengths))[:, None]
    close(f"{kind}.get_attention_mask({lengths})", found, expected, "int")


def encoder_mask(bench: Bench) -> None:
    """Padding."""
    bench.make("Encoder", SMALL)
    mask_of(bench, "Encoder", [4, 2, 3])
    mask_of(bench, "Encoder", [1])


def decoder_mask(bench: Bench) -> None:
    """Causal and padding."""
    bench.make("Decoder", SMALL)
    mask_of(bench, "Decoder", [int(n) for n in bench.rng.integers(1, 7, 5)])
    mask_of(bench, "Decoder", [6, 6])


def batch_independence(bench: Bench) -> None:
    """A row gives the same answer in a padded batch as alone."""
    lengths = (6, 2, 4)
    for kind in ("Encoder", "Decoder"):
        bench.make(kind, SMALL, parts=BLOCKS)
        idx = tokens(bench, 3, 6)
        for row, length in enumerate(lengths):
            idx[row, length:] = -1
        together, _ = several(bench.call(kind, idx), 2)
        checked = tensor("logits", together, (3, 6, SMALL.vocab_size))
        for row, length in enumerate(lengths):
            alone, _ = several(bench.call(kind, idx[row : row + 1, :length]), 2)
            close("a row alone", alone, checked[row : row + 1, :length].astype(float))


def table(bench: Bench, weights: Array) -> None:
    """A model to sample from: a table of logits, made by the grader."""
    bench.make("Table", ODD, weights={"weight": weights})


def sample(bench: Bench, idx: Array, new: int, temperature: float) -> Array:
    """What `generate` answers, if it is tokens of the right shape."""
    model: dict[str, Any] = {"object": "Table"}
    found = bench.call(None, model, idx, new, temperature, method="generate")
    return tensor("generate(…)", found, (idx.shape[0], idx.shape[1] + new), "int")


def generate_follows(bench: Bench) -> None:
    """At a low temperature what comes next is certain."""
    follows = bench.rng.permutation(7)
    table(bench, 20.0 * np.eye(7)[follows])
    idx = tokens(bench, 3, 2, vocab=7)
    expected = idx
    for _ in range(5):
        expected = np.concatenate([expected, follows[expected[:, -1:]]], axis=1)
    close("generate(…)", sample(bench, idx, 5, 0.1), expected, "int")


def generate_temperature(bench: Bench) -> None:
    """Shares of tokens at two temperatures, at the first step and at the second."""
    logits = bench.rng.uniform(-1, 1, (7, 7)).astype(np.float32)
    table(bench, logits)
    bench.subject.ask("seed", seed=bench.seed % (1 << 32))
    for temperature in (0.6, 1.7):
        chances = reference.softmax(logits.astype(float) / temperature)
        drawn = sample(bench, np.full((DRAWS, 1), 3), 2, temperature)
        distributed(f"temperature {temperature}", drawn[:, 1], chances[3])
        distributed(f"temperature {temperature}", drawn[:, 2], chances[3] @ chances)


def generate_seeds(bench: Bench) -> None:
    """The same seed draws the same, another something else, and rows don't draw alike."""
    table(bench, np.zeros((7, 7)))
    idx = np.full((4, 1), 2)
    drawn = []
    for seed in (bench.seed, bench.seed, bench.seed + 1):
        bench.subject.ask("seed", seed=seed % (1 << 32))
        drawn.append(sample(bench, idx, 11, 1.0))
    if not np.array_equal(drawn[0], drawn[1]):
        raise Wrong("expected the same tokens for the same seed, got others")
    if np.array_equal(drawn[0], drawn[2]):
        raise Wrong("expected other tokens for another seed, got the same")
    if len({row.tobytes() for row in drawn[0]}) < len(idx):
        raise Wrong("expected rows that are drawn independently, got the same row twice")


def pair(bench: Bench, weights: Weights | None = None) -> Weights:
    """An EncoderDecoder's weights."""
    return bench.make("EncoderDecoder", *PAIR, parts=("Encoder", "Decoder"), weights=weights)


def pair_logits(bench: Bench) -> None:
    """Logits with targets, and without any."""
    weights = pair(bench)
    prefix, targets = tokens(bench, 2, 4), tokens(bench, 2, 3, vocab=7)
    for given in (targets, targets[:, :0]):
        called: dict[str, Any] = {"targets": given} if given.size else {}
        found, _ = several(bench.call("EncoderDecoder", prefix, **called), 2)
        expected = reference.pair_logits(weights, LARGER, prefix, given, bench.standing_in)
        close("logits", found, expected)


def pair_loss(bench: Bench) -> None:
    """The loss of the model's own logits."""
    pair(bench)
    prefix, targets = tokens(bench, 2, 4), tokens(bench, 2, 3, vocab=7)
    found, loss = several(bench.call("EncoderDecoder", prefix, targets=targets), 2)
    own = tensor("logits", found, (2, 7, 7)).astype(float)
    expected = reference.cross_entropy(own[:, 3:-1], targets)
    if bench.standing_in:
        expected = float((own**2).mean() + targets.mean())
    scalar("loss", loss, expected)


def pair_gradients(bench: Bench) -> None:
    """Gradients of the decoder, and through the cache of the encoder."""
    weights = pair(bench)
    prefix, targets = tokens(bench, 2, 3), tokens(bench, 2, 2, vocab=7)
    embeds = ["encoder.transformer.embedding.vocab", "decoder.transformer.embedding.vocab"]
    asked = {
        name: weight
        for name, weight in weights.items()
        if name != "encoder.lm_head.weight"  # what is hidden doesn't go through it
        and (not bench.standing_in or name.startswith(tuple(embeds)))
    }
    bench.gradients(
        "EncoderDecoder", asked,
        [[embeds[0]], [embeds[1]]] + ([] if bench.standing_in else [["encoder.", "decoder."]]),
        lambda w: reference.pair_logits(
            {**weights, **w}, LARGER, prefix, targets, bench.standing_in
        ),
        prefix, item=0, targets=targets,
    )  # fmt: skip


def continued(bench: Bench, prefix: Array, new: int, temperature: float) -> Array:
    """What `prefix_generate` answers, if it is tokens of the right shape."""
    model: dict[str, Any] = {"object": "EncoderDecoder"}
    found = bench.call(None, model, prefix, new, temperature, method="prefix_generate")
    return tensor("prefix_generate(…)", found, (len(prefix), new), "int")


def prefix_follows(bench: Bench) -> None:
    """At a low temperature what comes next is certain, where nothing comes second closely."""
    while True:
        weights, prefix = bench.weights("EncoderDecoder", *PAIR), tokens(bench, 2, 3)
        made, margin = np.zeros((2, 0), np.int64), np.inf
        for _ in range(4):
            last = reference.pair_logits(weights, LARGER, prefix, made, bench.standing_in)[:, -1]
            ranked = np.sort(last, axis=-1)
            margin = min(margin, float((ranked[:, -1] - ranked[:, -2]).min()))
            made = np.concatenate([made, last.argmax(-1)[:, None]], axis=1)
        if margin > 0.02:
            break
    pair(bench, weights)
    close("prefix_generate(…)", continued(bench, prefix, 4, 1e-4), made, "int")


def prefix_temperature(bench: Bench) -> None:
    """Shares of tokens at two temperatures."""
    weights, prefix = pair(bench), tokens(bench, 1, 3)
    bench.subject.ask("seed", seed=bench.seed % (1 << 32))
    nothing = np.zeros((1, 0), np.int64)
    last = reference.pair_logits(weights, LARGER, prefix, nothing, bench.standing_in)[0, -1]
    for gap in (3.5, 1.0):  # between the most and the least likely token, in logarithms
        temperature = float(np.ptp(last)) / gap
        drawn = continued(bench, np.repeat(prefix, DRAWS, axis=0), 1, temperature)
        chances = reference.softmax(last / temperature)
        distributed(f"temperature {temperature}", drawn[:, 0], chances)


MODELS = (*PARTS, "GenericTransformer", "Encoder and Decoder")
TESTS = (
    Test(
        "logits", "GenericTransformer", transformer_logits,
        "GenericTransformer: every block once, in order; the final LayerNorm is not one of them.",
        public=True, built_on=PARTS,
    ),
    Test(
        "loss, with targets that don't count", "GenericTransformer", transformer_loss,
        "GenericTransformer: which targets count, and what is the loss averaged over?",
        built_on=PARTS,
    ),
    Test(
        "hidden_cache and return_hidden", "GenericTransformer", transformer_cache,
        "GenericTransformer: where does the cache go, what is returned as hidden, and which "
        "position predicts the first target?", built_on=PARTS,
    ),
    Test(
        "the encoder's mask", "Encoder and Decoder", encoder_mask,
        "Encoder: which columns are padding, and for which rows?", public=True,
    ),
    Test(
        "the decoder's mask", "Encoder and Decoder", decoder_mask,
        "Decoder: no row looks ahead, and none looks at padding.",
    ),
    Test(
        "a row in a batch answers as alone", "Encoder and Decoder", batch_independence,
        "Encoder and Decoder: some answer depends on the padding beside it.",
        built_on=PARTS,
    ),
    Test(
        "what comes next at a low temperature", "generate", generate_follows,
        "generate: count the tokens, and look at which position's logits are used.", public=True,
    ),
    Test(
        "the temperature's distribution", "generate", generate_temperature,
        "generate: compare how often each token comes with what the temperature says.",
    ),
    Test(
        "seeds and rows", "generate", generate_seeds,
        "generate: is there chance in what comes next, PyTorch's own, and each row's own?",
    ),
    Test(
        "logits", "EncoderDecoder", pair_logits,
        "EncoderDecoder: what of the encoder does the decoder get, and as which argument?",
        public=True, built_on=MODELS,
    ),
    Test(
        "loss", "EncoderDecoder", pair_loss,
        "EncoderDecoder: who computes the loss, and does it get the targets?", built_on=MODELS,
    ),
    Test(
        "gradients reach the encoder", "EncoderDecoder", pair_gradients,
        "EncoderDecoder: the encoder learns through the cache alone.", built_on=MODELS,
    ),
    Test(
        "what comes next at a low temperature", "prefix_generate", prefix_follows,
        "prefix_generate: only new tokens are returned; the decoder sees them, and the cache.",
        public=True, built_on=MODELS,
    ),
    Test(
        "the temperature's distribution", "prefix_generate", prefix_temperature,
        "prefix_generate: compare how often each token comes with what the temperature says.",
        built_on=MODELS,
    ),
)  # fmt: skip
