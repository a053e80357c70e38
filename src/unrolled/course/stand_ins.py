"""What takes the place of a student's part that is wrong, so that the parts built on it can be
graded?

Simple layers with the same weights and the same way of being called, which compute something else
than the set asks for: they give nothing away, and a whole that is put together right is right with
them. `unrolled.course.reference` has the same in NumPy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gtgpt.model import (
    DummyBlock,
    DummyEmbedding,
    DummyMultiHeadedSelfAttention,
    DummyTransformer,
)


class Attention(DummyMultiHeadedSelfAttention):
    """The projected mean of what may be attended to."""

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        """(B, T, n_embd), mask (B, 1, T, T), to (B, T, n_embd)."""
        mask = attention_mask.reshape(x.shape[0], x.shape[1], x.shape[1]).to(x.dtype)
        return self.c_proj(mask @ x / mask.sum(-1, keepdim=True))


class Block(DummyBlock):
    """What comes in plus the stand-in for attention: no LayerNorm, no feed-forward network."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, Attention)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        """(B, T, n_embd), mask (B, 1, T, T), to (B, T, n_embd)."""
        return x + self.attn(x, attention_mask)


class Embedding(DummyEmbedding):
    """The token's vector, whatever its position."""

    def forward(self, idx: torch.Tensor) -> Any:
        """(B, T) to (B, T, n_embd)."""
        return self.vocab_embeddings(idx)


class Transformer(DummyTransformer):
    """The running mean of cache and token vectors, and the output layer on it."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, Block, Embedding)
        self.block_size, self.vocab_size = config.block_size, config.vocab_size

    def forward(
        self,
        idx: torch.Tensor,
        targets: torch.Tensor | None = None,
        hidden_cache: torch.Tensor | None = None,
        return_hidden: bool = False,
    ) -> Any:
        """As `GenericTransformer.forward`; the loss is another than the set's."""
        x = self.transformer["embedding"](idx.clamp(min=0).long())
        if hidden_cache is not None:
            x = torch.cat((hidden_cache, x), dim=1)
        x = x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]
        if return_hidden:
            return x
        logits = self.lm_head(x)
        loss = None if targets is None else logits.square().mean() + targets.float().mean()
        return logits, loss


class Table(nn.Module):
    """A language model that is a table: the logits of what follows a token, (vocab_size,
    vocab_size).
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.vocab_size, config.vocab_size))
        self.block_size, self.vocab_size, self.config = config.block_size, config.vocab_size, config

    def forward(self, idx: torch.Tensor, targets: Any = None, **_: Any) -> Any:
        """(B, T) to logits of shape (B, T, vocab_size), and no loss."""
        return self.weight[idx.long()], None


PARTS = {
    "GenericSelfAttention": Attention,
    "TransformerBlock": Block,
    "Embedding": Embedding,
    "Encoder": Transformer,
    "Decoder": Transformer,
}
