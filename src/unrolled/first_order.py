"""How does a hand-written backward pass refuse to be differentiated again? In one sentence, always.

A backward pass written by hand takes what it saved for constants, so the derivative of it would be
silently wrong. PyTorch's `once_differentiable` sees that only where the gradient from above varies;
that grad mode is on inside the backward pass (`create_graph=True`) is seen in every case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor


def first_order(function: Any, name: str, instead: str) -> Callable[..., Tensor]:
    """`function.apply`, with a first derivative by the backward pass and nothing else.

    What it returns raises `RuntimeError` for all else that may be asked of it: a second derivative
    (`create_graph=True`, whatever is above), forward mode, and the transforms of `torch.func`.

    Args:
        function: a subclass of `torch.autograd.Function`; its `backward` and `jvp` are replaced.
        name: what has no second derivative, as the message says it.
        instead: what to differentiate instead.
    """
    message = f"{name} has no second derivative, and a first one by backward() alone: {instead}"
    backward = function.backward

    def refuse(*_: Any) -> NoReturn:
        raise RuntimeError(message)

    def once(ctx: Any, *above: Any) -> Any:
        return refuse() if torch.is_grad_enabled() else backward(ctx, *above)

    function.backward, function.jvp = staticmethod(once), staticmethod(refuse)

    def apply(*inputs: Any) -> Tensor:
        # PyTorch's own message speaks of `setup_context`, which nobody who reads it can add.
        if torch._C._are_functorch_transforms_active():
            refuse()
        result: Tensor = function.apply(*inputs)
        return result

    return apply
