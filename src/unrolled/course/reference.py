"""What should a student's code answer? The same mathematics in NumPy, in 64 bits, written for
grading.

Attention: Vaswani et al. 2017, equation 1. Blocks with LayerNorm before each part and tanh-GELU:
Radford et al. 2019. Weights are dictionaries with PyTorch's names; a linear layer is x Wᵀ + b.
Nothing is shared with the solution or with `unrolled.models`: two ways to the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = Mapping[str, Array]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sizes:
    """A model's sizes, under the names of the set's configurations."""

    n_layer: int = 2
    n_head: int = 2
    n_embd: int = 8
    vocab_size: int = 11
    block_size: int = 10

    def config(self, embd: float = 0.0, hidden: float = 0.0, attn: float = 0.0) -> dict[str, Any]:
        """The configuration with its dropout probabilities."""
        return {**vars(self), "embd_pdrop": embd, "hidden_pdrop": hidden, "attn_pdrop": attn}


def below(weights: Weights, path: str) -> Weights:
    """The weights of the part at a path, under its own names."""
    return {k.removeprefix(path): w for k, w in weights.items() if k.startswith(path)}


def shapes(kind: str, s: Sizes, decoder: Sizes | None = None) -> Shapes:
    """Names and shapes of a part's weights; an EncoderDecoder's decoder has a token more."""
    width = s.n_embd
    if decoder is not None:
        larger = replace(decoder, vocab_size=decoder.vocab_size + 1)
        parts = {"encoder": shapes("Encoder", s), "decoder": shapes("Decoder", larger)}
        return {f"{p}.{k}": shape for p, found in parts.items() for k, shape in found.items()}
    if kind == "Embedding":
        return {
            "vocab_embeddings.weight": (s.vocab_size, width),
            "position_embeddings.weight": (s.block_size, width),
        }
    if kind == "GenericSelfAttention":
        return {
            f"{layer}.{what}": shape
            for layer in ("k", "v", "q", "c_proj")
            for what, shape in (("weight", (width, width)), ("bias", (width,)))
        }
    if kind == "TransformerBlock":
        norms = {f"{n}.{what}": (width,) for n in ("ln_1", "ln_2") for what in ("weight", "bias")}
        attention = {f"attn.{k}": v for k, v in shapes("GenericSelfAttention", s).items()}
        return {
            **norms,
            **attention,
            "mlp.c_fc.weight": (4 * width, width),
            "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (width, 4 * width),
            "mlp.c_proj.bias": (width,),
        }
    if kind == "Table":
        return {"weight": (s.vocab_size, s.vocab_size)}
    whole: Shapes = {
        f"transformer.embedding.{k}": shape for k, shape in shapes("Embedding", s).items()
    }
    for layer in range(s.n_layer):
        block = shapes("TransformerBlock", s)
        whole |= {f"transformer.h.{layer}.{k}": shape for k, shape in block.items()}
    whole |= {f"transformer.ln_f.{what}": (width,) for what in ("weight", "bias")}
    return {**whole, "lm_head.weight": (s.vocab_size, width)}


def draw(named: Shapes, rng: np.random.Generator) -> dict[str, Array]:
    """Weights at random, no two parts of one alike: biases and LayerNorms too."""
    weights = {}
    for name, shape in named.items():
        scale = 0.8 / np.sqrt(shape[-1]) if len(shape) == 2 and "embed" not in name else 0.6
        weights[name] = rng.normal(0, scale, shape).astype(np.float32)
        if ".ln_" in f".{name}" and name.endswith("weight"):
            weights[name] += 1
    return weights


def linear(weights: Weights, name: str, x: Array) -> Array:
    """The affine map of a layer."""
    out: Array = x @ weights[f"{name}.weight"].T
    return out + weights[f"{name}.bias"] if f"{name}.bias" in weights else out


def softmax(x: Array) -> Array:
    """Over the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def layer_norm(weights: Weights, name: str, x: Array) -> Array:
    """Mean 0 and variance 1 over the last axis, then scale and shift (Ba et al. 2016)."""
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return np.asarray(scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"])


def gelu(x: Array) -> Array:
    """The tanh form of GELU (Hendrycks & Gimpel 2016)."""
    return np.asarray(x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


def embedding(weights: Weights, idx: Array, stand_in: bool = False) -> Array:
    """(B, T) to (B, T, n_embd)."""
    tokens = weights["vocab_embeddings.weight"][idx]
    if stand_in:
        return np.asarray(tokens)
    return np.asarray(tokens + weights["position_embeddings.weight"][: idx.shape[1]])


def attention(weights: Weights, x: Array, mask: Array, heads: int, stand_in: bool = False) -> Array:
    """(B, T, n_embd) with a mask (B, T, T); one head after the other."""
    if stand_in:
        return linear(weights, "c_proj", mask @ x / mask.sum(-1, keepdims=True))
    q, k, v = (linear(weights, name, x) for name in "qkv")
    size = x.shape[-1] // heads
    parts = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        scores = np.einsum("bid,bjd->bij", q[..., own], k[..., own]) / np.sqrt(size)
        weighted = softmax(np.where(mask == 0, -np.inf, scores))
        parts.append(np.einsum("bij,bjd->bid", weighted, v[..., own]))
    return linear(weights, "c_proj", np.concatenate(parts, axis=-1))


def block(
    weights: Weights, x: Array, mask: Array, heads: int, stand_in: str | None = None
) -> Array:
    """A block, with a stand-in for its attention ("attention") or for all of it ("block")."""
    inner = below(weights, "attn.")
    if stand_in == "block":
        return np.asarray(x + attention(inner, x, mask, heads, stand_in=True))
    normed = layer_norm(weights, "ln_1", x)
    x = x + attention(inner, normed, mask, heads, stand_in == "attention")
    wide = gelu(linear(weights, "mlp.c_fc", layer_norm(weights, "ln_2", x)))
    return np.asarray(x + linear(weights, "mlp.c_proj", wide))


def masks(kind: str, lengths: Array) -> Array:
    """(B, T, T): what the rows of each sequence may attend to, T the longest length."""
    longest = int(lengths.max())
    if kind == "GenericTransformer":
        return np.ones((len(lengths), longest, longest), np.int64)
    allowed = [
        [[j < n and (kind == "Encoder" or j <= i) for j in range(longest)] for i in range(longest)]
        for n in lengths.tolist()
    ]
    return np.array(allowed, np.int64)


def hidden(
    weights: Weights,
    kind: str,
    sizes: Sizes,
    idx: Array,
    cache: Array | None = None,
    stand_in: str | None = None,
) -> Array:
    """What comes out of the final LayerNorm, (B, P + T, n_embd); `idx` has no padding.

    Stand-ins: "parts" for embedding and blocks, "whole" for the Transformer itself.
    """
    x = embedding(below(weights, "transformer.embedding."), idx, stand_in is not None)
    x = x if cache is None else np.concatenate([cache, x], axis=1)
    if stand_in == "whole":
        return np.asarray(np.cumsum(x, axis=1) / np.arange(1, x.shape[1] + 1)[:, None])
    mask = masks(kind, np.full(len(x), x.shape[1]))
    part = "block" if stand_in == "parts" else None
    for layer in range(sizes.n_layer):
        x = block(below(weights, f"transformer.h.{layer}."), x, mask, sizes.n_head, part)
    return layer_norm(weights, "transformer.ln_f", x)


def logits(weights: Weights, hiddens: Array) -> Array:
    """(…, vocab_size), without bias."""
    return np.asarray(hiddens @ weights["lm_head.weight"].T)


def pair_logits(
    weights: Weights, sizes: tuple[Sizes, Sizes], prefix: Array, idx: Array, whole: bool = False
) -> Array:
    """An encoder–decoder's logits, (B, P + T, vocab_size); `whole` with stand-ins for both."""
    stand_in = "whole" if whole else None
    encoder, decoder = below(weights, "encoder."), below(weights, "decoder.")
    cache = hidden(encoder, "Encoder", sizes[0], prefix, stand_in=stand_in)
    return logits(decoder, hidden(decoder, "Decoder", sizes[1], idx, cache, stand_in))


def cross_entropy(predictions: Array, targets: Array) -> float:
    """Mean of -log p(target) over the targets that are not -1."""
    counted = targets >= 0
    rows = predictions[counted]
    shifted = rows - rows.max(-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return float(-log_probs[np.arange(len(rows)), targets[counted]].mean())
