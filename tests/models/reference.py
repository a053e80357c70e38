"""The decoder and encoder–decoder written out in NumPy float64, a loop for every sum of the papers.

It shares nothing with the package but the names of the weights: what it computes, it computes from
the equations, position by position and head by head.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray


def everything(query: int, key: int) -> bool:
    """Every position is seen: no mask."""
    return query >= 0 and key >= 0


class Reference:
    """Evaluates the blocks of one stack from its weights."""

    def __init__(self, weights: dict[str, Array], prefix: str, config: Any) -> None:
        self.w, self.at, self.config = weights, prefix, config

    def linear(self, name: str, x: Array) -> Array:
        y = x @ self.w[f"{self.at}{name}.weight"].T
        bias = self.w.get(f"{self.at}{name}.bias")
        return y if bias is None else y + bias

    def norm(self, name: str, x: Array) -> Array:
        weight, bias = self.w[f"{self.at}{name}.weight"], self.w.get(f"{self.at}{name}.bias", 0.0)
        out = np.empty_like(x)
        for t, row in enumerate(x):
            if self.config.norm == "layernorm":
                row = row - row.mean()
            out[t] = row / math.sqrt((row**2).mean() + self.config.norm_eps) * weight + bias
        return out

    def embed(self, tokens: list[int], origin: int = 0) -> Array:
        c = self.config
        x = np.array([self.w[f"{self.at}embedding.weight"][t] for t in tokens])
        for t in range(len(tokens)):
            p = origin + t
            if c.positions == "learned":
                x[t] += self.w[f"{self.at}position_embedding.weight"][p]
            if c.positions == "sinusoidal":
                x[t] *= math.sqrt(c.hidden_size)
                for i in range(0, c.hidden_size, 2):
                    angle = p / 10_000 ** (i / c.hidden_size)
                    x[t, i] += math.sin(angle)
                    x[t, i + 1] += math.cos(angle)
        return x

    def turn(self, head: Array, position: int) -> Array:
        if self.config.positions != "rope":
            return head
        d, out = len(head), head.copy()
        for i in range(d // 2):
            angle = position / self.config.rope_theta ** (2 * i / d)
            a, b = head[i], head[i + d // 2]
            out[i] = a * math.cos(angle) - b * math.sin(angle)
            out[i + d // 2] = b * math.cos(angle) + a * math.sin(angle)
        return out

    def attention(self, q: Array, k: Array, v: Array, sees: Any) -> Array:
        """q [query, heads, d], k and v [key, kv heads, d]; sees(query, key) -> bool."""
        out, group = np.zeros_like(q), q.shape[1] // k.shape[1]
        for t in range(len(q)):
            for h in range(q.shape[1]):
                keys = [s for s in range(len(k)) if sees(t, s)]
                scores = [q[t, h] @ k[s, h // group] / math.sqrt(q.shape[2]) for s in keys]
                weights = np.exp(np.array(scores) - max(scores))
                weights /= weights.sum()
                out[t, h] = sum(w * v[s, h // group] for w, s in zip(weights, keys, strict=True))
        return out.reshape(len(q), -1)

    def block(self, i: int, x: Array, positions: list[int], sees: Any, memory: Any) -> Array:
        c, b = self.config, f"blocks.{i}."
        d, heads, kv = c.head_size, c.num_heads, c.kv_heads
        qkv = self.linear(f"{b}attention.qkv", self.norm(f"{b}attention_norm", x))
        qkv = qkv.reshape(len(x), heads + 2 * kv, d)
        q, k, v = qkv[:, :heads], qkv[:, heads : heads + kv], qkv[:, heads + kv :]
        for t, p in enumerate(positions):
            for h in range(heads):
                q[t, h] = self.turn(q[t, h], p)
            for h in range(kv):
                k[t, h] = self.turn(k[t, h], p)
        x = x + self.linear(f"{b}attention.out", self.attention(q, k, v, sees))
        if memory is not None:
            q = self.linear(f"{b}cross.query", self.norm(f"{b}cross_norm", x))
            kv_ = self.linear(f"{b}cross.key_value", memory).reshape(len(memory), 2 * kv, d)
            mixed = self.attention(
                q.reshape(len(x), heads, d), kv_[:, :kv], kv_[:, kv:], everything
            )
            x = x + self.linear(f"{b}cross.out", mixed)
        inner = self.linear(f"{b}mlp.up", self.norm(f"{b}mlp_norm", x))
        if c.activation == "swiglu":
            gate, up = inner[:, : c.mlp_size], inner[:, c.mlp_size :]
            inner = gate / (1 + np.exp(-gate)) * up
        else:
            tanh = np.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3))
            inner = 0.5 * inner * (1 + tanh)
        return x + self.linear(f"{b}mlp.down", inner)

    def run(self, x: Array, sees: Any, memory: Any = None) -> Array:
        for i in range(self.config.num_layers):
            x = self.block(i, x, list(range(len(x))), sees, memory)
        return self.norm("norm", x)


def weights_of(model: Any) -> dict[str, Array]:
    """Every weight in float64, tied ones under each of their names."""
    named = model.named_parameters(remove_duplicate=False)
    return {name: p.detach().double().numpy() for name, p in named}


def decoder_logits(model: Any, tokens: list[int]) -> Array:
    """Logits of a decoder for one row."""
    w = weights_of(model)
    reference = Reference(w, "stack.", model.config)
    hidden = reference.run(reference.embed(tokens), lambda t, s: s <= t)
    return hidden @ w["head.linear.weight"].T


def encoder_logits(model: Any, tokens: list[int]) -> Array:
    """Logits of a masked language model for one row."""
    w = weights_of(model)
    reference = Reference(w, "stack.", model.config)
    return reference.run(reference.embed(tokens), everything) @ w["head.linear.weight"].T


def encoder_decoder_logits(model: Any, source: list[int], tokens: list[int]) -> Array:
    """Logits of an encoder–decoder for one pair."""
    w, c = weights_of(model), model.config
    encoder = Reference(w, "encoder.stack.", c)
    memory = encoder.run(encoder.embed(source), everything)
    decoder = Reference(w, "decoder.stack.", c)
    x = decoder.embed(tokens)
    if c.memory == "cross-attention":
        hidden = decoder.run(x, lambda t, s: s <= t, memory)
    else:
        hidden = decoder.run(np.concatenate((memory, x)), lambda t, s: s <= t)[len(source) :]
    return hidden @ w["decoder.head.linear.weight"].T
