"""A decoder: each position sees itself and what precedes it, and predicts the next token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unrolled.models.attention import Sight, causal
from unrolled.models.batch import IGNORED, Batch
from unrolled.models.block import Memory
from unrolled.models.cache import KeyValueCache
from unrolled.models.config import ModelConfig
from unrolled.models.sparse import sparse_sight
from unrolled.models.stack import Head, Stack, check_company, check_tokens
from unrolled.models.tree_cache import TreeCache

if TYPE_CHECKING:
    from unrolled.models.packed import PackedDecoder


class Decoder(nn.Module):
    """Causal Transformer language model; with `cross`, the decoder half of an encoder–decoder."""

    def __init__(self, config: ModelConfig, *, cross: bool = False) -> None:
        super().__init__()
        self.config = config
        self.stack = Stack(config, cross=cross)
        self.head = Head(config, self.stack.embedding)

    def make_cache(self, batch: int, capacity: int) -> KeyValueCache:
        """An empty cache on the model's device and in its number format."""
        weight = self.stack.embedding.weight
        return KeyValueCache(self.config, batch, capacity, dtype=weight.dtype, device=weight.device)

    def branch(self, cache: KeyValueCache) -> KeyValueCache | TreeCache:
        """From here on rows may continue one another; `cache` is used up."""
        return TreeCache(cache) if self.config.pattern is None else cache

    def packed(self, weights: str, **options: Any) -> PackedDecoder:
        """The decoder with its matrices in a format of `kernels`, run by a compiled step.

        Raises `BadInput` for an unknown format, and for a model or machine that it doesn't run on.
        """
        from unrolled.models.packed import PackedDecoder

        return PackedDecoder.of(self, weights, **options)

    def hidden(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch all"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
        positions: Int[Tensor, "batch time"] | None = None,
        cache: KeyValueCache | TreeCache | None = None,
        prefix: Float[Tensor, "batch source hidden"] | None = None,
        memory: list[Memory] | None = None,
        memory_sight: Sight | None = None,
        start: int = 0,
    ) -> Float[Tensor, "batch tail hidden"]:
        """Hidden states after the last norm, one a token, from token `start` on.

        `attention_mask` is False at padding, on whichever side. `prefix` are hidden states put
        before the tokens' embeddings and seen by all of them; its own mask, where it has padding,
        stands in front of the tokens' in `attention_mask` [batch, source + time].
        """
        offset = 0 if prefix is None else prefix.shape[1]
        width = offset + tokens.shape[1]
        past = 0 if cache is None else cache.length
        if cache is not None:
            cache.extend(width, attention_mask)
        if isinstance(cache, TreeCache):
            positions, sight = cache.positions, Sight(rows=cache.rows, bias=cache.mask)
        else:
            if cache is not None:
                attention_mask = None if cache.real is None else cache.real[:, : cache.length]
            if positions is None:
                positions = place(width, past, attention_mask, tokens.device)
            pattern = self.config.pattern
            if pattern is None:
                sight = causal(width, past, attention_mask, documents, tokens.device)
            else:
                sight = sparse_sight(
                    pattern, positions, attention_mask, documents, causal=True, past=past
                )
        own = positions[..., offset:]
        # A prefix carries its own embedded positions, so the tokens count from 0 again; rotary
        # angles run on, since they place a query against the prefix's keys.
        origin = prefix_positions(offset, attention_mask) if cache is None else cache.origin
        if isinstance(cache, KeyValueCache) and prefix is not None:
            origin = cache.origin = prefix_positions(offset, attention_mask)
        x = self.stack.embed(tokens, own - origin)
        if prefix is not None:
            x = torch.cat((prefix, x), dim=1)
        hidden: Tensor = self.stack(
            x, sight, positions, cache, memory, memory_sight, offset + start
        )
        return hidden

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
        positions: Int[Tensor, "batch time"] | None = None,
        cache: KeyValueCache | TreeCache | None = None,
        start: int = 0,
    ) -> Float[Tensor, "batch tail vocab"]:
        """Logits of the token that follows each position, from position `start` on.

        Raises `BadInput` for tokens of the wrong shape or outside the vocabulary, for more
        positions than the model has, and for masks, documents or a cache that don't fit them.
        """
        past = 0 if cache is None else cache.reach
        check_tokens(tokens, self.config, past + tokens.shape[1])
        check_company(tokens, self.config, attention_mask, documents, positions, cache)
        hidden = self.hidden(
            tokens,
            attention_mask=attention_mask,
            documents=documents,
            positions=positions,
            cache=cache,
            start=start,
        )
        logits: Tensor = self.head(hidden)
        return logits

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, summed over the batch's targets."""
        # Padding stands on the right, where a causal query never looks: no mask is needed.
        start = first_target(batch.targets)
        hidden = self.hidden(
            batch.tokens, documents=batch.documents, positions=batch.positions, start=start
        )
        return self.head.summed_loss(hidden, batch.targets[:, start:])


def first_target(targets: Int[Tensor, "batch time"]) -> int:
    """The first column that a row has something to predict at."""
    wanted = (targets != IGNORED).any(0)
    return int(wanted.int().argmax())


def prefix_positions(
    offset: int, real: Bool[Tensor, "batch all"] | None
) -> int | Int[Tensor, "batch 1"]:
    """How many of the first `offset` columns are real, row by row where that differs."""
    return offset if real is None else real[:, :offset].sum(1, keepdim=True)


def place(
    width: int, past: int, real: Bool[Tensor, "batch all"] | None, device: torch.device
) -> Int[Tensor, "*batch time"]:
    """Positions of `width` new columns behind `past` ones, padding not counted."""
    if real is None:
        return torch.arange(past, past + width, device=device)
    return (real.long().cumsum(1) - 1).clamp(min=0)[:, past : past + width]
