"""What does training a small model on a CPU wait for beside its products? Passes over memory.

Autograd takes the output of a product apart and puts the parts' gradients together again, one
pass over memory for each formula, many of them in short pieces. Here the backward pass is written
by hand and its results go straight to where the gradient of the product is wanted.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from unrolled.first_order import first_order


def recording(x: Tensor) -> bool:
    """Whether plain training on a CPU is what goes on."""
    return (
        not torch.compiler.is_compiling()
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and not torch._C._are_functorch_transforms_active()
    )


@cache
def pairs_first(turning: int, heads: int, head: int) -> Int[Tensor, " outputs"]:
    """The order of a product's outputs in which what is turned together stands side by side.

    Of `heads` heads, the first `turning` are turned. Scores are sums over a head's dimensions: they
    are the same in any order of those.
    """
    order = torch.arange(heads * head).view(heads, head)
    order[:turning] = order[:turning].view(turning, 2, -1).transpose(1, 2).flatten(1)
    return order.flatten()


def _complex(x: Float[Tensor, "*all width"]) -> Complex[Tensor, "*all half"]:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


class _Turned(torch.autograd.Function):
    """Turning a pair of dimensions by an angle (Su et al. 2021, equation 34) is a complex product.

    All heads lie in one row, so that the loop over memory is a long one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        product: Float[Tensor, "batch time outputs"],
        turn: Complex[Tensor, "*batch time half"],
        heads: int,
        kv_heads: int,
    ) -> tuple[Tensor, ...]:
        """Queries, keys and values."""
        turn = turn.repeat(*(1,) * (turn.ndim - 1), heads + kv_heads)
        width = 2 * turn.shape[-1]
        turned = torch.empty_like(product, dtype=torch.float32)
        torch.mul(_complex(product[..., :width].float()), turn, out=_complex(turned[..., :width]))
        turned[..., width:] = product[..., width:]
        ctx.save_for_backward(turn.conj_physical())
        each = turned.to(product.dtype).unflatten(2, (heads + 2 * kv_heads, -1)).transpose(1, 2)
        queries, keys, values = each.split((heads, kv_heads, kv_heads), dim=1)
        return queries, keys, values

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None, None]:
        """Turned the other way."""
        (back,) = ctx.saved_tensors
        parts = [x.transpose(1, 2).flatten(2).contiguous() for x in above]
        widths = [x.shape[2] for x in parts]
        shape = (*parts[0].shape[:2], sum(widths))
        to_product = torch.empty(shape, dtype=torch.float32)
        queries, keys, values = to_product.split(widths, dim=2)
        half = widths[0] // 2
        torch.mul(_complex(parts[0].float()), back[..., :half], out=_complex(queries))
        torch.mul(_complex(parts[1].float()), back[..., half:], out=_complex(keys))
        values.copy_(parts[2])
        return to_product.to(parts[0].dtype), None, None, None


_turned = first_order(_Turned, "a rotation in training on a CPU", "differentiate it in float64")


def turned_heads(
    product: Float[Tensor, "batch time outputs"],
    rotary: tuple[Float[Tensor, "*batch time half"], Float[Tensor, "*batch time half"]],
    heads: int,
    kv_heads: int,
) -> tuple[
    Float[Tensor, "batch heads time head"],
    Float[Tensor, "batch kv_heads time head"],
    Float[Tensor, "batch kv_heads time head"],
]:
    """Turned queries, turned keys, and values; `product` comes in the order of `pairs_first`."""
    queries, keys, values = _turned(product, torch.complex(*rotary), heads, kv_heads)
    return queries, keys, values


class _Gated(torch.autograd.Function):
    """Both halves of the gradient are written to one place."""

    @staticmethod
    def forward(ctx: Any, inner: Float[Tensor, "*rows twice"]) -> Float[Tensor, "*rows width"]:
        """The formula."""
        gate, up = inner.chunk(2, dim=-1)
        open_ = torch.nn.functional.silu(gate)
        ctx.save_for_backward(inner, open_)
        return open_ * up

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> Tensor:
        """To the gate by PyTorch's own formula, to what it lets through by a product."""
        inner, open_ = ctx.saved_tensors
        gate, up = inner.chunk(2, dim=-1)
        to_inner = torch.empty_like(inner)
        to_gate, to_up = to_inner.chunk(2, dim=-1)
        torch.mul(above[0], open_, out=to_up)
        torch.mul(above[0], up, out=to_gate)
        torch.ops.aten.silu_backward.grad_input(to_gate, gate, grad_input=to_gate)
        return to_inner


_gated = first_order(_Gated, "SwiGLU in training on a CPU", "differentiate it in float64")


def gated(inner: Float[Tensor, "*rows twice"]) -> Float[Tensor, "*rows width"]:
    """silu(gate) · up of the two halves (Shazeer 2020, equation 6)."""
    return _gated(inner)


class _Normed(torch.autograd.Function):
    """With r = 1/√(mean(x²) + ε): y = w ∘ rx, ∂L/∂x = r(G ∘ w - rx · mean(G ∘ w ∘ rx))."""

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "*rows width"], weight: Float[Tensor, " width"], eps: float
    ) -> Float[Tensor, "*rows width"]:
        """Zhang and Sennrich 2019, equation (4)."""
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ratio = x * inverse
        ctx.save_for_backward(ratio, inverse, weight)
        out: Tensor = ratio * weight
        return out

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, Tensor, None]:
        """The formula above; to the weight, the sum over rows of G ∘ rx."""
        ratio, inverse, weight = ctx.saved_tensors
        both = above[0] * ratio
        mean = (both @ weight).div_(-len(weight)).unsqueeze(-1)
        to_x = (above[0] * weight).addcmul_(ratio, mean).mul_(inverse)
        return to_x, both.flatten(0, -2).sum(0), None


_normed = first_order(_Normed, "RMSNorm in training on a CPU", "differentiate it in float64")


def normed(
    x: Float[Tensor, "*rows width"], weight: Float[Tensor, " width"], eps: float
) -> Float[Tensor, "*rows width"]:
    """Weighted x / √(mean(x²) + ε)."""
    return _normed(x, weight, eps)
