"""How are few rows multiplied by a large matrix? The other way round: x Wᵀ = (W xᵀ)ᵀ.

A step of decoding has a row a beam. For 2 to 8 rows the BLAS that PyTorch brings for processors
reads W twice or more in x Wᵀ and once in W xᵀ: 30 against 15 ms for all products of SmolLM2-135M
at four rows (benchmarks/LOG.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

FEWEST, MOST = 2, 8
"""Rows between which the other way round is faster."""
LARGE = 2**16
"""Weights from which on it matters."""


class Linear(nn.Linear):
    """`torch.nn.Linear`, fast for few rows where no gradient is asked for."""

    def forward(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """X Wᵀ + b."""
        if (
            torch.compiler.is_compiling()
            or torch.is_grad_enabled()
            or self.weight.numel() < LARGE
            or self.weight.device.type != "cpu"
            or self.weight.dtype != torch.float32
            or not FEWEST <= input.numel() // self.in_features <= MOST
        ):
            return F.linear(input, self.weight, self.bias)
        out = (self.weight @ input.reshape(-1, self.in_features).T).T
        out = out if self.bias is None else out + self.bias
        return out.reshape(*input.shape[:-1], self.out_features)
