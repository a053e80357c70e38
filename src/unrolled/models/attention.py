"""Which positions look at which? One attention for every model: softmax(QKᵀ/√d) V.

Vaswani et al. 2017, equation (1) and section 3.2; grouped queries by Ainslie et al. 2023; rotary
positions by Su et al. 2021, equation (34), pairing dimension i with i + d/2 as Llama weights do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unrolled.graphs import Graph, graph_attention
from unrolled.models.cache import KeyValueCache
from unrolled.models.config import ModelConfig
from unrolled.models.fused import is_on
from unrolled.models.fused_attention import LONGEST, fused_attention
from unrolled.models.half_attention import half_attention
from unrolled.models.linear import Linear
from unrolled.models.spans import Spans, spans
from unrolled.models.tree_cache import Rows, TreeCache, attend_as_rows

KEEP_SCORES_BELOW = 1024
"""Keys; with fewer, training in bfloat16 on a CPU keeps the matrix of probabilities."""


@dataclass(frozen=True)
class Sight:
    """Who may look at whom, in the cheapest form that says it."""

    mask: Bool[Tensor, "_rows 1 query key"] | None = None
    """True where a query may look at a key; None: no limit beyond `causal`."""
    causal: bool = False
    """Query i looks at keys 0…i only (queries and keys are the same positions)."""
    rows: Rows | None = None
    """Which rows of queries ask the same row of keys; None: each its own."""
    bias: Float[Tensor, "sources _width key"] | None = None
    """With `rows`: 0 where a row may look at a key, -inf elsewhere."""
    graph: Graph | None = None
    """Sparse: the edges, of a row's positions or of all rows' together; then it says all."""
    spans: Spans | None = None
    """The same as mask or `causal`, where compiled attention is wanted and runs of keys say it."""
    columns: Int[Tensor, " key"] | None = None
    """The only keys that anybody looks at, those of the mask; None: all."""

    def explicit(self, time: int, device: torch.device) -> Bool[Tensor, "_rows 1 query key"] | None:
        """The mask, written out also where it is the causal one."""
        if not self.causal:
            return self.mask
        return torch.ones(1, 1, time, time, dtype=torch.bool, device=device).tril()

    def tail(self, start: int, time: int, device: torch.device) -> Sight:
        """What is left when the queries before column `start` of `time` are nobody's concern."""
        mask = self.explicit(time, device)
        return Sight(None if mask is None else mask[:, :, start:], columns=self.columns)


def bidirectional(
    attention_mask: Bool[Tensor, "batch key"] | None,
    documents: Int[Tensor, "batch key"] | None = None,
) -> Sight:
    """Every position looks at every real one of its own document."""
    if documents is not None:
        mask = documents[:, None, :, None] == documents[:, None, None, :]
        if attention_mask is not None:
            mask = mask & attention_mask[:, None, None, :]
        return Sight(mask)
    return Sight(None if attention_mask is None else attention_mask[:, None, None, :])


def causal(
    time: int,
    past: int,
    real: Bool[Tensor, "batch all"] | None,
    documents: Int[Tensor, "batch time"] | None = None,
    device: torch.device | None = None,
) -> Sight:
    """Every position looks at itself and what precedes it, padding and other documents excluded.

    `past` positions stand in the cache; `real` covers them and the new ones. A padded position
    still looks at itself, so that its (unused) softmax is not over nothing.
    """
    runs = spans(time, documents, real, causal=True) if is_on(device) and not past else None
    if real is None and documents is None:
        if past == 0:
            # Under torch.export, `time` is a symbol.
            return Sight(causal=bool(time > 1), spans=runs)
        if time == 1:
            return Sight()
    device = next((t.device for t in (real, documents) if t is not None), device)
    query = torch.arange(past, past + time, device=device)[:, None]
    key = torch.arange(past + time, device=device)[None]
    mask = (key <= query)[None, None]
    if documents is not None:
        mask = mask & (documents[:, None, :, None] == documents[:, None, None, :])
    if real is not None:
        mask = (mask & real[:, None, None, :]) | (key == query)
    return Sight(mask, spans=runs)


def rotary_table(
    config: ModelConfig,
) -> tuple[Float[Tensor, "positions half"], Float[Tensor, "positions half"]]:
    """Cosine and sine of position × frequency, for each pair of dimensions of a head."""
    frequency = rotary_frequencies(config)
    angle = torch.outer(torch.arange(config.max_positions, dtype=torch.float64), frequency)
    return angle.cos().float(), angle.sin().float()


def rotary_frequencies(config: ModelConfig) -> Float[Tensor, " half"]:
    """Radians a position, for each pair of dimensions (Su et al. 2021, section 3.2.2).

    With `rope_factor`, slow waves are slowed further by it, as Llama 3.1's published code does:
    those of few turns within the original length in full, those of many not at all.
    """
    pairs = torch.arange(0, config.head_size, 2, dtype=torch.float64)
    frequency = config.rope_theta ** (-pairs / config.head_size)
    if config.rope_factor == 1.0:
        return frequency
    turns = config.rope_original_positions * frequency / (2 * math.pi)
    low, high = config.rope_low_frequency, config.rope_high_frequency
    kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return frequency * (kept + (1 - kept) / config.rope_factor)


def rotate(
    x: Float[Tensor, "batch time heads head"],
    cos: Float[Tensor, "*batch time half"],
    sin: Float[Tensor, "*batch time half"],
) -> Float[Tensor, "batch time heads head"]:
    """Turn each pair of dimensions by its position's angle (Su et al. 2021, equation 34)."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x.dtype)


Rotary = tuple[Float[Tensor, "*batch time half"], Float[Tensor, "*batch time half"]]


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence on itself, with an optional cache."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads, self.kv_heads = config.num_heads, config.kv_heads
        self.head_size = config.head_size
        # One product makes queries, keys and values: a third of the passes over x.
        width = (self.num_heads + 2 * self.kv_heads) * self.head_size
        self.qkv = Linear(config.hidden_size, width, bias=config.bias)
        self.out = Linear(config.hidden_size, config.hidden_size, bias=config.bias)

    def forward(
        self,
        x: Float[Tensor, "batch time hidden"],
        sight: Sight,
        rotary: Rotary | None,
        cache: KeyValueCache | TreeCache | None = None,
        layer: int = 0,
        start: int = 0,
    ) -> Float[Tensor, "batch tail hidden"]:
        """Attend; with a cache, also to what it holds of this layer.

        Only from column `start` on: earlier positions are keys and values alone.
        """
        product = self.qkv(x)
        short = cache is None and x.shape[1] <= LONGEST
        if sight.spans is not None and short and is_on(product):
            mixed = fused_attention(
                product, rotary, sight.spans, heads=self.num_heads, kv_heads=self.kv_heads,
                size=self.head_size, start=start,
            )  # fmt: skip
            compiled: Tensor = self.out(mixed)
            return compiled
        heads = product.unflatten(-1, (-1, self.head_size))
        turning = self.num_heads + self.kv_heads
        queries_keys, values = heads.split((turning, self.kv_heads), dim=2)
        if rotary is not None:
            queries_keys = rotate(queries_keys, *rotary)
        queries, keys = queries_keys.transpose(1, 2).split((self.num_heads, self.kv_heads), dim=1)
        values = values.transpose(1, 2)
        if cache is not None:
            keys, values = cache.write(layer, keys, values)
        if start and sight.graph is None:
            queries = queries[:, :, start:]
            sight = sight.tail(start, x.shape[1], x.device)
        mixed = attend(queries, keys, values, sight)
        if start and sight.graph is not None:
            mixed = mixed[:, start:]
        out: Tensor = self.out(mixed)
        return out


class CrossAttention(nn.Module):
    """Multi-head attention of a target on an encoded source, which carries its own positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads, self.kv_heads = config.num_heads, config.kv_heads
        self.head_size = config.head_size
        width = 2 * self.kv_heads * self.head_size
        self.query = Linear(config.hidden_size, config.hidden_size, bias=config.bias)
        self.key_value = Linear(config.hidden_size, width, bias=config.bias)
        self.out = Linear(config.hidden_size, config.hidden_size, bias=config.bias)

    def remember(
        self, memory: Float[Tensor, "batch source hidden"]
    ) -> tuple[Float[Tensor, "batch heads source head"], Float[Tensor, "batch heads source head"]]:
        """Keys and values of the source, once for all target positions."""
        heads = self.key_value(memory).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
        keys, values = heads.split((self.kv_heads, self.kv_heads), dim=1)
        return keys, values

    def forward(
        self,
        x: Float[Tensor, "batch time hidden"],
        keys: Float[Tensor, "_sources heads source head"],
        values: Float[Tensor, "_sources heads source head"],
        sight: Sight,
    ) -> Float[Tensor, "batch time hidden"]:
        """Attend to the source."""
        queries = self.query(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
        mixed = attend(queries, keys, values, sight)
        out: Tensor = self.out(mixed)
        return out


def attend(
    queries: Float[Tensor, "batch heads query head"],
    keys: Float[Tensor, "_sources kv_heads key head"],
    values: Float[Tensor, "_sources kv_heads key head"],
    sight: Sight,
) -> Float[Tensor, "batch query hidden"]:
    """softmax(QKᵀ/√d) V with the heads put side by side again."""
    if sight.rows is not None:
        return attend_as_rows(queries, keys, values, sight.rows, sight.bias)
    if sight.graph is not None:
        return along_edges(queries, keys, values, sight.graph)
    if sight.columns is not None:
        keys, values = keys.index_select(2, sight.columns), values.index_select(2, sight.columns)
    half = torch.is_autocast_enabled("cpu") and queries.device.type == "cpu"
    if half and torch.is_grad_enabled() and keys.shape[2] < KEEP_SCORES_BELOW:
        mixed = half_attention(queries, keys, values, sight.explicit(keys.shape[2], keys.device))
    else:
        mixed = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=sight.mask,
            is_causal=sight.causal,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )
    return mixed.transpose(1, 2).flatten(2)


def along_edges(
    queries: Float[Tensor, "batch heads time head"],
    keys: Float[Tensor, "batch kv_heads time head"],
    values: Float[Tensor, "batch kv_heads time head"],
    graph: Graph,
) -> Float[Tensor, "batch time hidden"]:
    """The same on a graph of each row's positions, or of all rows' together."""
    rows, heads, time, _ = queries.shape
    if keys.shape[1] != heads:
        keys, values = (t.repeat_interleave(heads // t.shape[1], dim=1) for t in (keys, values))
    if graph.num_nodes == time:
        mixed = graph_attention(queries, keys, values, graph)
        return mixed.transpose(1, 2).flatten(2)
    together = [t.transpose(0, 1).flatten(1, 2) for t in (queries, keys, values)]
    mixed = graph_attention(together[0], together[1], together[2], graph)
    out: Tensor = mixed.unflatten(1, (rows, time)).permute(1, 2, 0, 3).flatten(2)
    return out
