"""Attention from one product to the next: queries, keys and values side by side, to what was seen.

Turned, split, attended to and joined in one pass over memory (`kernels.sequences`).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled.first_order import first_order
from unrolled.models.fused import INSTEAD, run
from unrolled.models.spans import Spans

LONGEST = 4096
"""Positions of a row; beyond, a head's keys and the scores of 64 queries outgrow the caches."""


class _Attention(torch.autograd.Function):
    """Saved are the product itself, what was seen, and two numbers of each softmax."""

    @staticmethod
    def forward(
        ctx: Any,
        product: Float32[Tensor, "batch time width"],
        cos: Float32[Tensor, "tables time half"],
        sin: Float32[Tensor, "tables time half"],
        spans: Spans,
        sizes: dict[str, int],
    ) -> Float32[Tensor, "batch tail hidden"]:
        """`kernels.sequences.forward`."""
        from unrolled.kernels import sequences

        batch, time, _ = product.shape
        product, heads = product.contiguous(), sizes["heads"]
        out = product.new_empty(batch, time - sizes["start"], heads * sizes["size"])
        sums = product.new_empty(batch, heads, time, 2)
        sizes = sizes | {
            "rows": batch, "time": time, "tables": len(cos), "half": cos.shape[2],
            "spans": len(spans.first),
        }  # fmt: skip
        arrays = {"qkv": product, "cos": cos, "sin": sin, "out": out, "sums": sums}
        run(
            sequences.forward,
            sequences.JOB,
            batch * sizes["kv_heads"],
            sizes,
            arrays | spans._asdict(),
        )
        ctx.save_for_backward(product, cos, sin, out, sums, *spans)
        ctx.sizes = sizes
        return out

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None, None, None]:
        """`kernels.sequences.backward`."""
        from unrolled.kernels import sequences

        names = ("qkv", "cos", "sin", "out", "sums", "first", "end")
        arrays = dict(zip(names, ctx.saved_tensors, strict=True))
        gradient = torch.empty_like(arrays["qkv"])
        arrays |= {"above": above[0].resolve_neg().contiguous(), "to_qkv": gradient}
        pieces = ctx.sizes["rows"] * ctx.sizes["kv_heads"]
        run(sequences.backward, sequences.JOB, pieces, ctx.sizes, arrays)
        return gradient, None, None, None, None


_attention = first_order(_Attention, "compiled attention", INSTEAD)


def fused_attention(
    product: Float32[Tensor, "batch time width"],
    rotary: tuple[Tensor, Tensor] | None,
    spans: Spans,
    *,
    heads: int,
    kv_heads: int,
    size: int,
    start: int = 0,
) -> Float32[Tensor, "batch tail hidden"]:
    """softmax(QKᵀ/√d) V of `heads` queries, `kv_heads` keys and as many values of `size`.

    Queries and keys are turned by `rotary`, cosines and sines [*batch, time, pairs], where it is
    given; only queries from column `start` on are answered.
    """
    if rotary is None:
        cos = sin = product.new_empty(1, product.shape[1], 0)
    else:
        cos, sin = (t.contiguous().view(-1, *t.shape[-2:]) for t in rotary)
    batch, time, width = product.shape
    table = cos.shape[1:] in ((time, 0), (time, size // 2)) and len(cos) in (1, batch)
    table &= cos.shape == sin.shape and cos.dtype == sin.dtype == torch.float32
    runs = spans.first.shape == spans.end.shape in ((1, time), (batch, time))
    if (
        width != (heads + 2 * kv_heads) * size
        or heads % kv_heads
        or not (table and runs and 0 <= start < time)
    ):
        raise ValueError(f"sizes that don't fit: {product.shape}, {cos.shape}, {spans.first.shape}")
    sizes = {"start": start, "heads": heads, "kv_heads": kv_heads, "size": size}
    return _attention(product, cos, sin, spans, sizes)
