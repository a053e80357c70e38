"""Which weights do the parts of a Transformer have, and how are they drawn?

`config` has `n_layer`, `n_head`, `n_embd`, `vocab_size`, `block_size` and the dropout probabilities
`embd_pdrop`, `hidden_pdrop`, `attn_pdrop`. Each class leaves its `forward` to the one derived from
it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from gtgpt.utils import CfgNode


class DummyEmbedding(nn.Module):
    """Tables of tokens (vocab_size, n_embd) and of positions (block_size, n_embd)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.vocab_embeddings = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embeddings = nn.Embedding(config.block_size, config.n_embd)


class DummyMultiHeadedSelfAttention(nn.Module):
    """Keys, values, queries and the projection of the concatenated heads, (n_embd, n_embd) each."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        if config.n_embd % config.n_head:
            raise ValueError(
                f"n_embd must be a multiple of n_head, got {config.n_embd} and {config.n_head}"
            )
        self.n_head, self.n_embd = config.n_head, config.n_embd
        self.k = nn.Linear(config.n_embd, config.n_embd)
        self.v = nn.Linear(config.n_embd, config.n_embd)
        self.q = nn.Linear(config.n_embd, config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.attn_dropout = nn.Dropout(config.attn_pdrop)
        self.hidden_dropout = nn.Dropout(config.hidden_pdrop)


class DummyBlock(nn.Module):
    """Attention and a feed-forward network of four times the width, a LayerNorm for each."""

    def __init__(self, config: Any, attn_mechanism: Any) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = attn_mechanism(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = nn.ModuleDict(
            {
                "c_fc": nn.Linear(config.n_embd, 4 * config.n_embd),
                "c_proj": nn.Linear(4 * config.n_embd, config.n_embd),
                "act": nn.GELU(approximate="tanh"),
                "dropout": nn.Dropout(config.hidden_pdrop),
            }
        )

    def mlpf(self, x: torch.Tensor) -> torch.Tensor:
        """The feed-forward network with its dropout, (..., n_embd) to (..., n_embd)."""
        for part in ("c_fc", "act", "c_proj", "dropout"):
            x = self.mlp[part](x)
        return x


class DummyTransformer(nn.Module):
    """Embedding, blocks, the final LayerNorm and the output layer, with their initial weights."""

    @staticmethod
    def get_default_config() -> CfgNode:
        """Sizes to be filled in (None), and dropout of 0.1 everywhere."""
        sizes = dict.fromkeys(("n_layer", "n_head", "n_embd", "vocab_size", "block_size"))
        return CfgNode(**sizes, embd_pdrop=0.1, hidden_pdrop=0.1, attn_pdrop=0.1)

    def __init__(self, config: Any, block: Any, embedding: Any) -> None:
        super().__init__()
        missing = [name for name, value in vars(config).items() if value is None]
        if missing:
            raise ValueError(f"the configuration must say {', '.join(missing)}")
        self.transformer = nn.ModuleDict(
            {
                "embedding": embedding(config),
                "h": nn.ModuleList([block(config) for _ in range(config.n_layer)]),
                "ln_f": nn.LayerNorm(config.n_embd),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.apply(_draw)
        for name, weight in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.n_layer))

    def configure_optimizers(self, train_config: Any) -> list[dict[str, Any]]:
        """Groups for an optimizer: weights of linear layers decay, the rest does not."""
        linear = {id(module.weight) for module in self.modules() if isinstance(module, nn.Linear)}
        parameters = list(self.parameters())
        return [
            {
                "params": [p for p in parameters if id(p) in linear],
                "weight_decay": train_config.weight_decay,
            },
            {"params": [p for p in parameters if id(p) not in linear], "weight_decay": 0.0},
        ]


def _draw(module: nn.Module) -> None:
    """GPT-2's initial weights: normal(0, 0.02), no bias, LayerNorm the identity."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
