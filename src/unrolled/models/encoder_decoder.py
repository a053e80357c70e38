"""An encoder–decoder: the source is read both ways, the target is written from left to right.

`memory="cross-attention"`: every decoder block attends to the encoder's output (Vaswani et al.
2017, section 3.2.3). `memory="prefix"`: the encoder's output is put before the target's embeddings,
and one causal attention sees both; while decoding it stays in the cache like any other prefix.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unrolled.errors import BadInput
from unrolled.models.attention import Sight, bidirectional
from unrolled.models.batch import Batch
from unrolled.models.cache import KeyValueCache
from unrolled.models.config import ModelConfig
from unrolled.models.decoder import Decoder
from unrolled.models.encoder import Encoder
from unrolled.models.stack import check_company, check_tokens
from unrolled.models.tree_cache import TreeCache


class EncoderDecoder(nn.Module):
    """Two stacks with one embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.crosses = config.memory == "cross-attention"
        self.encoder = Encoder(config)
        # The encoder's own head would predict masked tokens: here only its hidden states count.
        self.encoder.head = None
        self.decoder = Decoder(config, cross=self.crosses)
        self.decoder.stack.embedding.weight = self.encoder.stack.embedding.weight
        if config.tie_embeddings:
            self.decoder.head.linear.weight = self.encoder.stack.embedding.weight

    def encode(
        self,
        source: Int[Tensor, "batch source"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
        *,
        capacity: int,
    ) -> KeyValueCache:
        """Read the source into a cache that has room for `capacity` target tokens."""
        check_tokens(source, self.config, source.shape[1])
        check_company(source, self.config, source_mask)
        memory = self.encoder.hidden(source, attention_mask=source_mask)
        if self.crosses:
            cache = self.decoder.make_cache(len(source), capacity)
            cache.memory = self._remember(memory)
            cache.memory_mask = source_mask
            return cache
        width = source.shape[1]
        cache = self.decoder.make_cache(len(source), width + capacity)
        self.decoder.hidden(source[:, :0], attention_mask=source_mask, cache=cache, prefix=memory)
        return cache

    def branch(self, cache: KeyValueCache) -> TreeCache:
        """From here on rows may continue one another; `cache` is used up."""
        return TreeCache(cache)

    def _remember(
        self, memory: Float[Tensor, "batch source hidden"]
    ) -> list[tuple[Tensor, Tensor]]:
        return [cross.remember(memory) for cross in self.decoder.stack.crosses()]

    def decode(
        self, tokens: Int[Tensor, "batch time"], cache: KeyValueCache | TreeCache
    ) -> Float[Tensor, "batch time vocab"]:
        """Logits behind each of the newest target tokens, the earlier ones being in the cache."""
        check_tokens(tokens, self.config, self._reach(cache) + tokens.shape[1])
        check_company(tokens, self.config, cache=cache)
        if self.crosses:
            if isinstance(cache, TreeCache):
                sight = Sight(rows=cache.rows, bias=cache.memory_bias)
            else:
                sight = bidirectional(cache.memory_mask)
            hidden = self.decoder.hidden(
                tokens, cache=cache, memory=cache.memory, memory_sight=sight
            )
        else:
            hidden = self.decoder.hidden(tokens, cache=cache)
        logits: Tensor = self.decoder.head(hidden)
        return logits

    def _reach(self, cache: KeyValueCache | TreeCache) -> int:
        """Positions taken so far: rotary angles count a prefix, embedded positions do not."""
        if self.config.positions == "rope":
            return cache.reach
        if cache.next_position is None:
            return cache.length - int(cache.origin)
        return int((cache.next_position[:, None] - cache.origin).max())

    def hidden(
        self,
        source: Int[Tensor, "batch source"],
        tokens: Int[Tensor, "batch time"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """The decoder's hidden states for a whole target."""
        memory = self.encoder.hidden(source, attention_mask=source_mask)
        if self.crosses:
            return self.decoder.hidden(
                tokens, memory=self._remember(memory), memory_sight=bidirectional(source_mask)
            )
        mask = None
        if source_mask is not None:
            mask = torch.cat((source_mask, torch.ones_like(tokens, dtype=torch.bool)), dim=1)
        return self.decoder.hidden(tokens, attention_mask=mask, prefix=memory)

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        tokens: Int[Tensor, "batch time"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
    ) -> Float[Tensor, "batch time vocab"]:
        """Logits of the target token that follows each position (padding on the right)."""
        check_tokens(source, self.config, source.shape[1])
        check_company(source, self.config, source_mask)
        if len(source) != len(tokens):
            raise BadInput(f"{len(source)} rows of source and {len(tokens)} of target tokens")
        shared = not self.crosses and self.config.positions == "rope"
        check_tokens(tokens, self.config, tokens.shape[1] + (source.shape[1] if shared else 0))
        logits: Tensor = self.decoder.head(self.hidden(source, tokens, source_mask))
        return logits

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, summed over the batch's targets."""
        assert batch.source is not None
        hidden = self.hidden(batch.source, batch.tokens, batch.source_mask)
        return self.decoder.head.summed_loss(hidden, batch.targets)
