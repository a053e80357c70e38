"""What does a language model lose? Cross-entropy from hidden states, without keeping the logits.

With a vocabulary of v tokens and n targets the logits are n × v numbers; the usual way writes them,
their log-softmax and the gradient of both to memory. Here a chunk of rows at a time is turned, in
place, from logits into the gradient softmax(z) - onehot(target), used in both products, dropped.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrolled.first_order import first_order

SMALLEST_CHUNK = 256
"""Rows at a time: enough to keep the products fast, few enough to stay in the cache."""


class _SummedCrossEntropy(torch.autograd.Function):
    """Makes the gradients along with the value, so that only they live until the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Float[Tensor, "rows hidden"],
        weight: Float[Tensor, "vocab hidden"],
        targets: Int[Tensor, " rows"],
        recording: bool,
    ) -> Float[Tensor, ""]:
        """The sum; the logits are at least float32 even where the product is not."""
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=dtype, device=hidden.device)
        learns = recording and any(ctx.needs_input_grad)
        to_hidden = torch.empty_like(hidden) if learns else None
        to_weight = torch.zeros_like(weight) if learns else None
        # Each chunk adds to the weight's whole gradient, so it must be worth that pass.
        size = max(SMALLEST_CHUNK, 2 * weight.shape[1])
        for start in range(0, len(hidden), size):
            rows, target = hidden[start : start + size], targets[start : start + size, None]
            chunk = (rows @ weight.T).to(dtype)
            top = chunk.amax(-1, keepdim=True)
            wanted = chunk.gather(1, target)
            mass = chunk.sub_(top).exp_().sum(-1, keepdim=True)
            total += (mass.log() + top - wanted).sum()
            if to_hidden is not None and to_weight is not None:
                chunk.div_(mass).scatter_add_(1, target, torch.full_like(wanted, -1.0))
                to_hidden[start : start + size] = chunk @ weight
                to_weight += chunk.T @ rows
        if to_hidden is not None and to_weight is not None:
            ctx.save_for_backward(to_hidden, to_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *above: Float[Tensor, ""]) -> tuple[Tensor, Tensor, None, None]:
        """The kept gradients times the one from above."""
        to_hidden, to_weight = ctx.saved_tensors
        return to_hidden * above[0], to_weight * above[0], None, None


_summed = first_order(
    _SummedCrossEntropy,
    "the chunked loss",
    "differentiate torch.nn.functional.cross_entropy of the model's logits instead",
)


def summed_cross_entropy(
    hidden: Float[Tensor, "rows hidden"],
    weight: Float[Tensor, "vocab hidden"],
    targets: Int[Tensor, " rows"],
) -> Float[Tensor, ""]:
    """Σ over rows of -log softmax(W h)[target], in nats."""
    # Inside the function gradients are always off, and an input that needs one says so even when
    # nobody records: whether this is an evaluation must be told.
    recording = torch.is_grad_enabled()
    return _summed(hidden, weight, targets, recording)
