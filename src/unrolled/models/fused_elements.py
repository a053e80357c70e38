"""The gate and the norm of a block, each one pass over memory there and one back.

The formulas stand in `kernels.elements`.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled.first_order import first_order
from unrolled.models.fused import INSTEAD, run


class _Gate(torch.autograd.Function):
    """Nothing but the product is saved."""

    @staticmethod
    def forward(ctx: Any, product: Float32[Tensor, "*rows both"]) -> Float32[Tensor, "*rows inner"]:
        """`kernels.elements.gate`."""
        from unrolled.kernels import elements

        product = product.contiguous()
        out = product.new_empty(*product.shape[:-1], product.shape[-1] // 2)
        ctx.sizes = {"rows": out.numel() // out.shape[-1], "width": out.shape[-1]}
        pieces = elements.pieces(ctx.sizes["rows"])
        run(elements.gate, elements.GATE, pieces, ctx.sizes, {"product": product, "out": out})
        ctx.save_for_backward(product)
        return out

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> Tensor:
        """`kernels.elements.gate_back`."""
        from unrolled.kernels import elements

        (product,) = ctx.saved_tensors
        gradient = torch.empty_like(product)
        arrays = {"product": product, "above": above[0].resolve_neg().contiguous(), "out": gradient}
        pieces = elements.pieces(ctx.sizes["rows"])
        run(elements.gate_back, elements.GATE, pieces, ctx.sizes, arrays)
        return gradient


class _Norm(torch.autograd.Function):
    """Saved are x and the weight; the scale of a row is made again."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float32[Tensor, "*rows width"],
        weight: Float32[Tensor, " width"],
        eps: float,
    ) -> Float32[Tensor, "*rows width"]:
        """`kernels.elements.norm`."""
        from unrolled.kernels import elements

        x = x.contiguous()
        out = torch.empty_like(x)
        rows, width = x.numel() // len(weight), len(weight)
        ctx.numbers = {"rows": rows, "width": width, "eps": eps}
        arrays = {"x": x, "weight": weight, "out": out}
        run(elements.norm, elements.NORM, elements.pieces(rows), ctx.numbers, arrays)
        ctx.save_for_backward(x, weight)
        return out

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, Tensor, None]:
        """`kernels.elements.norm_back`; the pieces' shares of the weight's gradient are summed."""
        from unrolled.kernels import elements

        x, weight = ctx.saved_tensors
        gradient = torch.empty_like(x)
        pieces = elements.pieces(ctx.numbers["rows"])
        shares = x.new_empty(pieces, len(weight))
        arrays = {
            "x": x, "weight": weight, "above": above[0].resolve_neg().contiguous(),
            "out": gradient, "to_weight": shares,
        }  # fmt: skip
        run(elements.norm_back, elements.NORM, pieces, ctx.numbers, arrays)
        return gradient, shares.sum(0), None


_gate = first_order(_Gate, "the compiled gate", INSTEAD)
_norm = first_order(_Norm, "the compiled norm", INSTEAD)


def fused_gate(product: Float32[Tensor, "*rows both"]) -> Float32[Tensor, "*rows inner"]:
    """silu(a) b of a and b side by side."""
    if product.shape[-1] % 2:
        raise ValueError(f"two halves can't be of {product.shape[-1]} numbers")
    return _gate(product)


def fused_norm(
    x: Float32[Tensor, "*rows width"], weight: Float32[Tensor, " width"], eps: float
) -> Float32[Tensor, "*rows width"]:
    """RMSNorm of each row."""
    if weight.shape != x.shape[-1:] or weight.dtype != x.dtype:
        raise ValueError(f"a weight {list(weight.shape)} of {weight.dtype} for {list(x.shape)}")
    return _norm(x, weight, eps)
