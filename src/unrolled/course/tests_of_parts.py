"""Is each part of a Transformer right by itself? Embedding, attention, block: 4 of the 11
points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unrolled.course import reference
from unrolled.course.bench import Array, Bench, Wrong, close, tensor
from unrolled.course.reference import Sizes

SMALL = Sizes()


@dataclass(frozen=True)
class Test:
    """A question to a submission, worth points: all of them or none."""

    name: str
    part: str
    run: Callable[[Bench], None]
    hint: str
    public: bool = False
    points: float = 0.5
    built_on: tuple[str, ...] = ()
    """Parts that stand-ins can take the place of, so that their mistakes cost nothing here."""


def tokens(bench: Bench, *shape: int, vocab: int = SMALL.vocab_size) -> Array:
    """Tokens at random."""
    return bench.rng.integers(0, vocab, shape)


def full(x: Array) -> Array:
    """The mask (B, 1, T, T) that lets everyone attend to everyone."""
    return np.ones((x.shape[0], 1, x.shape[1], x.shape[1]), np.int64)


def embedding_values(bench: Bench) -> None:
    """Token plus position."""
    weights, idx = bench.make("Embedding", SMALL), tokens(bench, 2, 5)
    close("Embedding(idx)", bench.call("Embedding", idx), reference.embedding(weights, idx))


def embedding_shapes(bench: Bench) -> None:
    """Other batches and lengths, the longest too, 32-bit tokens, and gradients of both tables."""
    weights = bench.make("Embedding", SMALL)
    for batch, length in ((1, SMALL.block_size), (4, 1), (3, 7)):
        idx = tokens(bench, batch, length).astype(np.int32)
        close("Embedding(idx)", bench.call("Embedding", idx), reference.embedding(weights, idx))
    idx = tokens(bench, 3, 4)
    tables = [["vocab"], ["position"]]
    bench.gradients("Embedding", weights, tables, lambda w: reference.embedding(w, idx), idx)


def attention_values(bench: Bench) -> None:
    """Everyone attends to everyone."""
    weights = bench.make("GenericSelfAttention", SMALL)
    x = bench.rng.normal(size=(2, 4, 8))
    expected = reference.attention(weights, x, full(x)[:, 0], SMALL.n_head)
    found = bench.call("GenericSelfAttention", x, full(x))
    close("GenericSelfAttention(x, mask)", found, expected)


def attention_masks(bench: Bench) -> None:
    """Causal masks, ragged ones, any one; several numbers of heads."""
    for heads, kind in ((1, "Decoder"), (4, "Encoder"), (2, "any")):
        sizes = Sizes(n_head=heads)
        weights = bench.make("GenericSelfAttention", sizes)
        x = bench.rng.normal(size=(3, 6, 8)) * 2
        mask = reference.masks(kind, np.array([6, 2, 4]))
        if kind == "any":
            mask = np.maximum(bench.rng.integers(0, 2, mask.shape), np.eye(6, dtype=np.int64))
        expected = reference.attention(weights, x, mask, heads)
        found = bench.call("GenericSelfAttention", x, mask[:, None])
        close("GenericSelfAttention(x, mask)", found, expected)


def attention_gradients(bench: Bench) -> None:
    """Gradients of every layer, through a causal mask."""
    weights = bench.make("GenericSelfAttention", SMALL)
    x = bench.rng.normal(size=(2, 5, 8)).astype(np.float32)
    mask = reference.masks("Decoder", np.array([5, 5]))
    bench.gradients(
        "GenericSelfAttention", weights, [["q", "k.weight"], ["v"], ["c_proj"]],
        lambda w: reference.attention(w, x.astype(float), mask, SMALL.n_head), x, mask[:, None],
    )  # fmt: skip


def attention_dropout(bench: Bench) -> None:
    """Both dropouts, by what they do to the part's own answer without them."""
    half = 0.5
    x = np.repeat(bench.rng.normal(size=(1, 4, 8)), 400, axis=0)
    bench.make("GenericSelfAttention", SMALL, hidden=half)
    bench.subject.ask("seed", seed=bench.seed % (1 << 32))
    still = tensor("answer", bench.call("GenericSelfAttention", x, full(x)), x.shape)
    noisy = tensor("answer", bench.call("GenericSelfAttention", x, full(x), train=True), x.shape)
    gone = noisy == 0
    if abs(gone.mean() - half) > 5 * half / np.sqrt(gone.size):
        raise Wrong(f"hidden_pdrop 0.5: expected half of the answer to be 0, got {gone.mean():.3f}")
    close("what is kept, with hidden_pdrop 0.5", noisy[~gone], still[~gone] / (1 - half))
    bench.make("GenericSelfAttention", SMALL, attn=half)
    still = tensor("answer", bench.call("GenericSelfAttention", x, full(x)), x.shape)
    noisy = tensor("answer", bench.call("GenericSelfAttention", x, full(x), train=True), x.shape)
    spread = noisy.std(axis=0)
    if (spread < 1e-6).all():
        raise Wrong("attn_pdrop 0.5: expected answers that vary while training, got the same")
    far = np.abs(noisy.mean(axis=0) - still[0]) > 6 * spread / np.sqrt(len(x)) + 1e-5
    if far.any():
        raise Wrong("attn_pdrop 0.5: the mean over many draws is not the answer without dropout")


def block_values(bench: Bench) -> None:
    """The whole block."""
    weights = bench.make("TransformerBlock", SMALL, parts=("GenericSelfAttention",))
    x = bench.rng.normal(size=(2, 5, 8))
    mask = reference.masks("Decoder", np.array([5, 5]))
    standing = "attention" if bench.standing_in else None
    expected = reference.block(weights, x, mask, SMALL.n_head, standing)
    found = bench.call("TransformerBlock", x, mask[:, None])
    close("TransformerBlock(x, mask)", found, expected)


def block_gradients(bench: Bench) -> None:
    """Gradients of its LayerNorms, attention and feed-forward network."""
    weights = bench.make("TransformerBlock", SMALL, parts=("GenericSelfAttention",))
    x = bench.rng.normal(size=(2, 4, 8)).astype(np.float32)
    mask = reference.masks("Encoder", np.array([4, 3]))
    standing = "attention" if bench.standing_in else None
    bench.gradients(
        "TransformerBlock", weights, [["ln_1"], ["attn.c_proj"], ["ln_2", "mlp"]],
        lambda w: reference.block(w, x.astype(float), mask, SMALL.n_head, standing),
        x, mask[:, None],
    )  # fmt: skip


TESTS = (
    Test(
        "a token's vector plus its position's", "Embedding", embedding_values,
        "Embedding: look at what each table is asked for: one entry a token, one a position.",
        public=True,
    ),
    Test(
        "every batch, length and gradient", "Embedding", embedding_shapes,
        "Embedding: which dimension of idx are the positions counted along? Try one row alone.",
    ),
    Test(
        "values where everyone attends to everyone", "GenericSelfAttention", attention_values,
        "GenericSelfAttention: check, in order, how heads are cut, what the scores are divided by, "
        "which axis sums to one, and how the heads are joined again.", public=True,
    ),
    Test(
        "causal and ragged masks", "GenericSelfAttention", attention_masks,
        "GenericSelfAttention: which entries of the mask forbid, and what becomes of their scores?",
    ),
    Test(
        "gradients", "GenericSelfAttention", attention_gradients,
        "GenericSelfAttention: the values or their gradients are wrong; is anything detached?",
    ),
    Test(
        "dropout", "GenericSelfAttention", attention_dropout,
        "GenericSelfAttention: the statement names two places for dropout; is each there, once?",
    ),
    Test(
        "values", "TransformerBlock", block_values,
        "TransformerBlock: what does each residual connection go around, and where are the norms?",
        public=True, built_on=("GenericSelfAttention",),
    ),
    Test(
        "gradients", "TransformerBlock", block_gradients,
        "TransformerBlock: follow the gradient from the answer to each of the two LayerNorms.",
        built_on=("GenericSelfAttention",),
    ),
)  # fmt: skip
