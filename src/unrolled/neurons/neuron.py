"""How does a threshold neuron run on data?

f(x) = 1 if w.x + b >= 0, else 0 (McCulloch and Pitts 1943), on NumPy arrays and torch tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from unrolled.errors import BadInput

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array")

EXACT = 2**53  # whole numbers below it, and their sums, are exact in binary64


@dataclass(frozen=True)
class ThresholdNeuron:
    """A neuron with whole weights that gives 1 where weights.x + bias >= 0, else 0.

    >>> ThresholdNeuron((1, 1), -2)(np.array([[0, 1], [1, 1]]))
    array([0, 1])

    Raises:
        BadInput: the weights are so large that sums would be rounded.
    """

    weights: tuple[int, ...]
    bias: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(self.weights))
        if self.largest >= EXACT:
            raise BadInput(
                f"the sum of |weights| and |bias| must stay below 2^53, got {self.largest}"
            )

    @property
    def largest(self) -> int:
        """The largest |weights.x + bias| over x in {0,1}^n is at most this."""
        return sum(map(abs, self.weights)) + abs(self.bias)

    def __call__(self, x: Array) -> Array:
        """The outputs, 0 and 1 in the type of x.

        Args:
            x: a NumPy array or torch tensor of any dtype, shape (..., n); any batch shape. The sums
                are exact for inputs 0 and 1 whatever the dtype.

        Returns:
            Same kind, dtype and device, shape (...).

        Raises:
            BadInput: the last axis isn't n long, or x is something else.
        """
        if isinstance(x, np.ndarray):
            self.check_shape(x.shape)
            wide = x.astype(np.result_type(x.dtype, np.int64))
            result = wide @ np.array(self.weights, dtype=wide.dtype) + self.bias >= 0
            return cast(Array, np.asarray(result).astype(x.dtype))
        if type(x).__module__.split(".")[0] == "torch":
            return cast(Array, self.run_torch(cast(Any, x)))
        raise BadInput(f"expected a NumPy array or a torch tensor, got {type(x).__name__}")

    def run_torch(self, x: torch.Tensor) -> torch.Tensor:
        """`__call__` on a tensor."""
        import torch

        self.check_shape(tuple(x.shape))
        wide = x.to(torch.float64 if x.is_floating_point() else torch.int64)
        weights = torch.tensor(self.weights, dtype=wide.dtype, device=x.device)
        return ((wide * weights).sum(dim=-1) + self.bias >= 0).to(x.dtype)

    def check_shape(self, shape: Sequence[int]) -> None:
        """Refuse inputs whose last axis doesn't fit the weights."""
        if not shape or shape[-1] != len(self.weights):
            raise BadInput(
                f"expected inputs of shape (..., {len(self.weights)}), got {tuple(shape)}"
            )

    def to_linear(self) -> torch.nn.Linear:
        """A linear layer n -> 1 that computes weights.x + bias; the neuron is `layer(x) >= 0`.

        float32 where that holds every sum exactly (below 2^24), float64 otherwise.
        """
        import torch

        dtype = torch.float32 if self.largest < 2**24 else torch.float64
        layer = torch.nn.Linear(len(self.weights), 1, dtype=dtype)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([self.weights], dtype=dtype))
            layer.bias.copy_(torch.tensor([self.bias], dtype=dtype))
        return layer
