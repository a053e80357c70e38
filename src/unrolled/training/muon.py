"""How does Muon step? Along the orthogonalised momentum of each matrix (Jordan et al. 2024).

`torch.optim.Muon` orthogonalises one matrix after another in bfloat16. A processor without
instructions for that format takes as long over it as over the rest of a small model's step, and
the rounding lets equal sums of gradients end 5e-4 apart. Here a processor works in float32, on all
matrices of a shape at once; what is remembered is the same, so either reads the other's state.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrolled.training.parallel import share_like, whole

Coefficients = tuple[float, float, float]


class Muon(torch.optim.Muon):
    """`torch.optim.Muon`, its step scaled to AdamW's (Liu et al. 2025, section 2.2)."""

    def __init__(self, matrices: list[Tensor], weight_decay: float) -> None:
        super().__init__(matrices, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient; raises ValueError for a closure."""
        if closure is not None:
            raise ValueError("this optimizer calls no closure")
        for group in self.param_groups:
            held = [p for p in group["params"] if p.grad is not None]
            alike = defaultdict(list)
            for p in held:
                alike[p.shape].append(p)
            for shape, matrices in alike.items():
                stack = torch.stack([self._direction(p, group["momentum"]) for p in matrices])
                steps = orthogonalised(
                    stack, group["ns_coefficients"], group["ns_steps"], group["eps"]
                )
                rate = 0.2 * math.sqrt(max(shape)) * group["lr"]
                for p, step in zip(matrices, steps, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(share_like(step, p), alpha=-rate)

    def _direction(self, p: Tensor, momentum: float) -> Float[Tensor, "outputs inputs"]:
        """Nesterov's momentum; of a matrix in shares, the whole."""
        assert p.grad is not None
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p.grad)
        state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
        return whole(p.grad.lerp(state["momentum_buffer"], momentum))


def orthogonalised(
    stack: Float[Tensor, "matrices outputs inputs"],
    coefficients: Coefficients,
    steps: int,
    eps: float,
) -> Float[Tensor, "matrices outputs inputs"]:
    """Each matrix with its singular values drawn towards 1 (Newton-Schulz, Jordan et al. 2024).

    They begin as σ / ‖·‖_F and go σ ← a σ + b σ³ + c σ⁵ so many steps; singular vectors stay.
    """
    a, b, c = coefficients
    tall = stack.shape[1] > stack.shape[2]
    x = stack.transpose(1, 2) if tall else stack
    x = x.bfloat16() if x.is_cuda else x.to(torch.promote_types(x.dtype, torch.float32))
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.transpose(1, 2) if tall else x).to(stack.dtype)
