"""What is one layer? Attention and an MLP, each on a normed copy, each added to the stream.

Pre-norm residual blocks (Xiong et al. 2020): x + Attention(norm(x)), then x + MLP(norm(x)); between
them, where there is a source, x + CrossAttention(norm(x)).
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unrolled.models.attention import CrossAttention, Rotary, SelfAttention, Sight
from unrolled.models.cache import KeyValueCache
from unrolled.models.config import ModelConfig
from unrolled.models.fused import is_on
from unrolled.models.fused_elements import fused_gate, fused_norm
from unrolled.models.linear import Linear
from unrolled.models.tree_cache import TreeCache

Memory = tuple[
    Float[Tensor, "_sources heads source head"], Float[Tensor, "_sources heads source head"]
]


class RMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm`, compiled where that is asked for."""

    def forward(self, x: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows hidden"]:
        """X / √(mean x² + ε), times the weight (Zhang and Sennrich 2019, equation 4)."""
        weight: Tensor | None = self.weight
        if weight is None or self.eps is None or not (is_on(x) and is_on(weight)):
            return super().forward(x)
        if weight.shape == x.shape[-1:] and weight.is_contiguous():
            return fused_norm(x, weight, self.eps)
        return super().forward(x)


def make_norm(config: ModelConfig) -> nn.Module:
    """RMSNorm or LayerNorm over the hidden size."""
    if config.norm == "rmsnorm":
        return RMSNorm(config.hidden_size, eps=config.norm_eps)
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.bias)


class MLP(nn.Module):
    """down(silu(gate(x)) · up(x)) (Shazeer 2020, equation 6) or down(gelu(up(x)))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.activation == "swiglu"
        width = config.mlp_size * (2 if self.gated else 1)
        self.up = Linear(config.hidden_size, width, bias=config.bias)
        self.down = Linear(config.mlp_size, config.hidden_size, bias=config.bias)

    def forward(self, x: Float[Tensor, "batch time hidden"]) -> Float[Tensor, "batch time hidden"]:
        """Position by position."""
        inner = self.up(x)
        if self.gated and is_on(inner):
            inner = fused_gate(inner)
        elif self.gated:
            gate, inner = inner.chunk(2, dim=-1)
            inner = F.silu(gate) * inner
        else:
            inner = F.gelu(inner, approximate="tanh")
        out: Tensor = self.down(inner)
        return out


class Block(nn.Module):
    """One layer of an encoder or a decoder; `cross` adds attention to a source."""

    def __init__(self, config: ModelConfig, *, cross: bool = False) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = SelfAttention(config)
        self.cross_norm = make_norm(config) if cross else None
        self.cross = CrossAttention(config) if cross else None
        self.mlp_norm = make_norm(config)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Float[Tensor, "batch time hidden"],
        sight: Sight,
        rotary: Rotary | None,
        cache: KeyValueCache | TreeCache | None = None,
        layer: int = 0,
        memory: Memory | None = None,
        memory_sight: Sight | None = None,
        start: int = 0,
    ) -> Float[Tensor, "batch tail hidden"]:
        """The stream after this layer, from column `start` on."""
        heard = self.attention(self.attention_norm(x), sight, rotary, cache, layer, start)
        x = x[:, start:] + self.dropout(heard)
        if self.cross is not None and self.cross_norm is not None and memory is not None:
            heard = self.cross(self.cross_norm(x), *memory, memory_sight or Sight())
            x = x + self.dropout(heard)
        out: Tensor = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return out
