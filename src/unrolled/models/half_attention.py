"""How does a CPU train attention in bfloat16? By four batched products, the probabilities kept.

PyTorch's fused kernel is the better one in float32, where it never writes the score matrix. In
bfloat16 its gradient takes a CPU 8 ms where these products take 1 (46 rows × 2 heads × 88² scores);
the price is the matrix of probabilities, which lives until the backward pass.
With S = QKᵀ/√d + bias, P = softmax(S), O = PV (Vaswani et al. 2017, equation 1) and G = ∂L/∂O:
∂L/∂V = PᵀG, ∂L/∂P = GVᵀ, ∂L/∂S = P ∘ (∂L/∂P - rowsum(P ∘ ∂L/∂P)), and from there Q and K.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unrolled.first_order import first_order


class _HalfAttention(torch.autograd.Function):
    """Heads are rows here: one batched product serves them all."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Float[Tensor, "rows query head"],
        keys: Float[Tensor, "rows key head"],
        values: Float[Tensor, "rows key head"],
        bias: Float[Tensor, "_rows _query _key"],
    ) -> Float[Tensor, "rows query head"]:
        """The scores stay in float32 up to the softmax: a score of 20 would be off by 0.06."""
        scale = 1 / math.sqrt(queries.shape[2])
        scores = torch.baddbmm(bias, queries.float(), keys.float().transpose(1, 2), alpha=scale)
        probabilities = scores.softmax(-1).to(queries.dtype)
        ctx.save_for_backward(queries, keys, values, probabilities)
        return torch.bmm(probabilities, values)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """The formulas at the head of this file."""
        queries, keys, values, probabilities = ctx.saved_tensors
        to_values = torch.bmm(probabilities.transpose(1, 2), above[0])
        to_scores = torch.bmm(above[0], values.transpose(1, 2))
        to_scores = torch.ops.aten._softmax_backward_data(
            to_scores, probabilities, -1, probabilities.dtype
        )
        to_scores *= 1 / math.sqrt(queries.shape[2])
        to_keys = torch.bmm(to_scores.transpose(1, 2), queries)
        return torch.bmm(to_scores, keys), to_keys, to_values, None


_attention = first_order(
    _HalfAttention,
    "attention in bfloat16 on a CPU",
    "differentiate it in float32 (training.precision float32)",
)


def half_attention(
    queries: Float[Tensor, "batch heads query head"],
    keys: Float[Tensor, "batch kv_heads key head"],
    values: Float[Tensor, "batch kv_heads key head"],
    mask: Bool[Tensor, "_rows 1 _query key"] | None,
) -> Float[Tensor, "batch heads query head"]:
    """softmax(QKᵀ/√d) V in bfloat16; `mask` is True where a query may look."""
    heads = queries.shape[1]
    if keys.shape[1] != heads:
        keys, values = (t.repeat_interleave(heads // t.shape[1], dim=1) for t in (keys, values))
    rows = [t.bfloat16().flatten(0, 1) for t in (queries, keys, values)]
    bias = torch.zeros(1, 1, 1, device=queries.device)
    if mask is not None:
        # Finite, so that a padded query that sees nothing has a softmax without NaN.
        bias = bias.masked_fill(~mask[:, 0], -1e30)
        if len(bias) > 1:
            bias = bias.repeat_interleave(heads, dim=0)
    with torch.autocast("cpu", enabled=False):
        mixed = _attention(*rows, bias)
    out: Tensor = mixed.unflatten(0, (len(queries), heads))
    return out
