"""Is the grader's reference right? Against PyTorch's attention, Hugging Face's GPT-2,
differences.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from unrolled.course import bench, reference
from unrolled.course.bench import Wrong
from unrolled.course.reference import Sizes

SIZES = Sizes(n_layer=3, n_head=2)


def drawn(kind: str, sizes: Sizes, seed: int = 0) -> reference.Weights:
    weights = reference.draw(reference.shapes(kind, sizes), np.random.default_rng(seed))
    return {name: w.astype(np.float64) for name, w in weights.items()}


@pytest.mark.parametrize("kind", ["Encoder", "Decoder"])
def test_attention_is_pytorchs(kind: str):
    weights, rng = drawn("GenericSelfAttention", SIZES), np.random.default_rng(1)
    x = rng.normal(size=(3, 5, 8))
    mask = reference.masks(kind, np.array([5, 1, 3]))
    q, k, v = (
        torch.from_numpy(reference.linear(weights, name, x)).view(3, 5, 2, 4).transpose(1, 2)
        for name in "qkv"
    )
    joined = F.scaled_dot_product_attention(q, k, v, torch.from_numpy(mask[:, None] == 1))
    expected = reference.linear(weights, "c_proj", joined.transpose(1, 2).reshape(3, 5, 8).numpy())
    np.testing.assert_allclose(reference.attention(weights, x, mask, 2), expected, atol=1e-12)


def test_a_decoder_is_gpt_2_of_hugging_face():
    from transformers import GPT2Config, GPT2LMHeadModel

    weights = drawn("Decoder", SIZES)
    config = GPT2Config(
        vocab_size=11, n_positions=10, n_embd=8, n_layer=3, n_head=2, tie_word_embeddings=False,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).double().eval()
    state = {
        "transformer.wte.weight": weights["transformer.embedding.vocab_embeddings.weight"],
        "transformer.wpe.weight": weights["transformer.embedding.position_embeddings.weight"],
        "lm_head.weight": weights["lm_head.weight"],
    }
    for name, w in weights.items():
        if ".attn.c_proj" in name or ".mlp." in name:
            state[name] = w.T  # its layers hold their weights transposed
        elif ".ln_" in name:
            state[name] = w
    for layer in range(3):
        own = f"transformer.h.{layer}.attn."
        for what in ("weight", "bias"):
            parts = [weights[f"{own}{name}.{what}"].T for name in "qkv"]
            state[f"{own}c_attn.{what}"] = np.concatenate(parts, axis=-1)
    tensors = {name: torch.from_numpy(w.copy()) for name, w in state.items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert (missing, unexpected) == ([], [])
    idx = np.random.default_rng(2).integers(0, 11, (2, 9))
    found = reference.logits(weights, reference.hidden(weights, "Decoder", SIZES, idx))
    expected = model(torch.from_numpy(idx)).logits.detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_cross_entropy_is_pytorchs():
    rng = np.random.default_rng(3)
    logits, targets = rng.normal(size=(3, 4, 5)) * 50, rng.integers(-1, 5, (3, 4))
    expected = F.cross_entropy(
        torch.from_numpy(logits).reshape(-1, 5), torch.from_numpy(targets).reshape(-1),
        ignore_index=-1,
    ).item()  # fmt: skip
    assert reference.cross_entropy(logits, targets) == pytest.approx(expected, rel=1e-12)


def test_the_masks_are_those_of_the_statement():
    assert reference.masks("Encoder", np.array([1, 2])).tolist() == [
        [[1, 0], [1, 0]], [[1, 1], [1, 1]],
    ]  # fmt: skip
    assert reference.masks("Decoder", np.array([1, 2])).tolist() == [
        [[1, 0], [1, 0]], [[1, 0], [1, 1]],
    ]  # fmt: skip


def test_the_chi_squared_test_errs_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(bench, "CHANCE", 0.05)
    rng, chances = np.random.default_rng(4), np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    refused = 0
    for _ in range(400):
        draws = rng.choice(7, 2000, p=chances)
        counts = np.bincount(draws, minlength=7)
        expected = stats.chisquare(counts, chances * 2000).pvalue < 0.05
        try:
            bench.distributed("it", draws, chances)
            found = False
        except Wrong:
            found = True
        assert found == expected
        refused += found
    assert stats.binomtest(refused, 400, 0.05).pvalue > 1e-3


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (3.0, "expected a tensor, got float"),
        (bench.Other("Liar"), "expected a tensor, got Liar"),
        (np.zeros((2, 2), np.float32), r"expected shape \(2,\), got \(2, 2\)"),
        (np.zeros(2), "expected float32, got float64"),
        (np.array([0, np.nan], np.float32), r"index \[1\] is not finite"),
        (np.array([1, 2.5], np.float32), r"expected 2, got 2.5 at index \[1\]; 1 of 2"),
    ],
)
def test_a_comparison_says_what_is_wrong(found: object, message: str):
    with pytest.raises(Wrong, match=message):
        bench.close("it", found, np.array([1.0, 2.0]))
    bench.close("it", np.array([1, 2.0001], np.float32), np.array([1.0, 2.0]))
