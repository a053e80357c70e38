"""What do encoder and decoder share? Embedding, positions, blocks, the last norm, and the loss."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unrolled.errors import BadInput
from unrolled.models.attention import CrossAttention, Rotary, Sight, rotary_table
from unrolled.models.batch import IGNORED
from unrolled.models.block import Block, Memory, make_norm
from unrolled.models.cache import KeyValueCache
from unrolled.models.config import ModelConfig
from unrolled.models.cross_entropy import summed_cross_entropy
from unrolled.models.linear import Linear
from unrolled.models.tree_cache import TreeCache


class Stack(nn.Module):
    """Tokens to hidden states; who looks at whom is the caller's choice (`Sight`)."""

    cos: Tensor
    sin: Tensor
    waves: Tensor

    def __init__(self, config: ModelConfig, *, cross: bool = False) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.max_positions, config.hidden_size)
        elif config.positions == "sinusoidal":
            self.register_buffer("waves", sinusoids(config), persistent=False)
        else:
            cos, sin = rotary_table(config)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, cross=cross) for _ in range(config.num_layers))
        self.norm = make_norm(config)

    def embed(
        self, tokens: Int[Tensor, "batch time"], positions: Int[Tensor, "*batch time"]
    ) -> Float[Tensor, "batch time hidden"]:
        """Token embeddings, plus positions where those are added to the stream."""
        x: Tensor = self.embedding(tokens)
        if self.config.positions == "learned":
            x = x + self.position_embedding(positions)
        elif self.config.positions == "sinusoidal":
            # Scaled as in Vaswani et al. 2017, section 3.4, so that the waves don't drown it.
            x = x * math.sqrt(self.config.hidden_size) + self.waves[positions]
        out: Tensor = self.dropout(x)
        return out

    def rotary(self, positions: Int[Tensor, "*batch time"]) -> Rotary | None:
        """The rotation of each position, or None where positions are embedded."""
        if self.config.positions != "rope":
            return None
        return self.cos[positions], self.sin[positions]

    def forward(
        self,
        x: Float[Tensor, "batch time hidden"],
        sight: Sight,
        positions: Int[Tensor, "*batch time"],
        cache: KeyValueCache | TreeCache | None = None,
        memory: list[Memory] | None = None,
        memory_sight: Sight | None = None,
        start: int = 0,
    ) -> Float[Tensor, "batch tail hidden"]:
        """All blocks and the last norm, from column `start` on: what precedes it is only context.

        The last layer makes nothing but keys and values of the context.
        """
        rotary = self.rotary(positions)
        last = len(self.blocks) - 1
        for layer, block in enumerate(self.blocks):
            source = None if memory is None else memory[layer]
            from_ = start if layer == last else 0
            x = block(x, sight, rotary, cache, layer, source, memory_sight, from_)
        out: Tensor = self.norm(x)
        return out

    def crosses(self) -> Iterator[CrossAttention]:
        """The cross-attention of each block, in a stack that has them."""
        for module in self.modules():
            if isinstance(module, CrossAttention):
                yield module


def sinusoids(config: ModelConfig) -> Float[Tensor, "positions hidden"]:
    """Sines and cosines of geometric wavelengths (Vaswani et al. 2017, section 3.5)."""
    pairs = torch.arange(0, config.hidden_size, 2, dtype=torch.float64)
    angle = torch.outer(
        torch.arange(config.max_positions, dtype=torch.float64),
        10_000.0 ** (-pairs / config.hidden_size),
    )
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1).float()


class Head(nn.Module):
    """Hidden states to logits; `tied` uses the embedding's matrix."""

    def __init__(self, config: ModelConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.linear = Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.linear.weight = embedding.weight

    def forward(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of every token."""
        logits: Tensor = self.linear(hidden)
        return logits

    def summed_loss(
        self, hidden: Float[Tensor, "batch time hidden"], targets: Int[Tensor, "batch time"]
    ) -> Float[Tensor, ""]:
        """Cross-entropy in nats, summed over the targets; logits are made for those alone."""
        hidden, targets = hidden.flatten(0, 1), targets.flatten()
        wanted = (targets != IGNORED).nonzero().squeeze(1)
        if len(wanted) < len(targets):
            hidden, targets = hidden.index_select(0, wanted), targets.index_select(0, wanted)
        return summed_cross_entropy(hidden, self.linear.weight, targets)


def initialise(model: nn.Module, generator: torch.Generator, num_layers: int) -> None:
    """Draw all weights: normal, variance 1 / (3 · inputs), which is GPT-2's 0.02 at width 768.

    Products that write to the residual stream are divided by √(2 · layers) (Radford et al. 2019,
    section 2.3), so that the stream's variance does not grow with depth. An LSTM's forget gates
    start open, at bias 1 (Jozefowicz et al. 2015).
    """
    for name, parameter in model.named_parameters():
        if "bias" in name.rpartition(".")[2]:
            nn.init.zeros_(parameter)
        elif parameter.ndim < 2:
            nn.init.ones_(parameter)
        else:
            std = (3 * parameter.shape[1]) ** -0.5
            if name.endswith(("out.weight", "down.weight")):
                std /= math.sqrt(2 * num_layers)
            nn.init.normal_(parameter, std=std, generator=generator)
    for module in model.modules():
        if isinstance(module, nn.LSTM):
            for layer in range(module.num_layers):
                # PyTorch stacks the gates as input, forget, candidate, output, with two biases.
                gates = module.get_parameter(f"bias_ih_l{layer}").data.chunk(4)
                gates[1].fill_(1.0)


def check_tokens(tokens: Tensor, config: ModelConfig, end: int) -> None:
    """Refuse, by name, what would fail deep inside: wrong shape, type, length or token."""
    if tokens.ndim != 2 or tokens.is_floating_point():
        raise BadInput(
            f"tokens must be whole numbers [batch, time], not {tokens.dtype} {list(tokens.shape)}"
        )
    if tokens.numel() == 0:
        raise BadInput(f"tokens are empty: shape {list(tokens.shape)}")
    if end > config.max_positions:
        raise BadInput(
            f"{end} positions asked of a model of max_positions {config.max_positions}; "
            "shorten the input or train with a larger --model.max-positions"
        )
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= config.vocab_size:
        wrong = low if low < 0 else high
        raise BadInput(f"token {wrong} is outside the vocabulary 0…{config.vocab_size - 1}")


def check_company(
    tokens: Tensor,
    config: ModelConfig,
    attention_mask: Tensor | None = None,
    documents: Tensor | None = None,
    positions: Tensor | None = None,
    cache: KeyValueCache | TreeCache | None = None,
) -> None:
    """Refuse, by name, what goes with the tokens and doesn't fit them."""
    shape = list(tokens.shape)
    beside = {"attention_mask": attention_mask, "documents": documents, "positions": positions}
    for name, value in beside.items():
        kind = "truth values" if name == "attention_mask" else "whole numbers"
        if value is None:
            continue
        if list(value.shape) != shape or (value.dtype == torch.bool) != (kind == "truth values"):
            raise BadInput(f"{name} must be {kind} {shape}, not {value.dtype} {list(value.shape)}")
    if cache is not None and cache.batch != len(tokens):
        raise BadInput(f"the cache holds {cache.batch} rows and {len(tokens)} came")
    if cache is not None and documents is not None:
        raise BadInput("a cache holds one document a row: leave documents out")
    # While decoding, a row that has ended may be all padding; a whole row may not.
    if cache is None and attention_mask is not None and not bool(attention_mask.any(1).all()):
        raise BadInput("attention_mask leaves a row without a single real token")
    if positions is not None:
        low, high = int(positions.min()), int(positions.max())
        if low < 0 or high >= config.max_positions:
            wrong = low if low < 0 else high
            raise BadInput(f"position {wrong} is outside 0…{config.max_positions - 1}")
