"""How does a processor train in float32? What stands between the products is compiled, a pass each.

    with fused():            a training step's forward pass; outside it PyTorch's own operations
        loss = model.loss(batch)
    loss.backward()

PyTorch turns, splits, joins, copies and scales in passes over memory of their own, and its
attention takes two to four times as long as its products must. What is fused has a first derivative
by `backward` and no other (`first_order`): that is why it must be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Timer
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.kernels import no_numba

INSTEAD = "leave `unrolled.models.fused.fused()` out around the forward pass"
"""What to do for a derivative that there is not."""
PATIENCE = 1.5
"""Seconds until the first use says that it compiles; what was kept is read before."""

_on: ContextVar[bool] = ContextVar("fused", default=False)


@contextmanager
def fused() -> Iterator[None]:
    """Let a model's float32 arithmetic on a processor be compiled, where numba is there."""
    before = _on.set(no_numba() is None)
    try:
        yield
    finally:
        _on.reset(before)


def is_on(x: Tensor | None = None) -> bool:
    """Whether that is asked for, and this tensor can be taken."""
    if torch.compiler.is_compiling() or not _on.get():
        return False
    if x is None:
        return True
    fits = x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0
    return fits and not torch.is_autocast_enabled("cpu")


def get_ready(tell: Callable[[str], object]) -> None:
    """Compile, or read what was kept; say so when it takes long, or why it can't be done."""
    if (reason := no_numba()) is not None:
        tell(f"attention by PyTorch, which is slower: {reason}")
        return
    saying = Timer(PATIENCE, tell, ("compiling the kernels for this machine: once, some seconds",))
    saying.daemon = True
    saying.start()
    try:
        import unrolled.kernels.elements
        import unrolled.kernels.sequences  # noqa: F401
    finally:
        saying.cancel()


def run(
    kernel: Any,
    job: np.dtype[Any],
    pieces: int,
    numbers: dict[str, Any],
    arrays: dict[str, Tensor],
) -> None:
    """Let PyTorch's threads do a job: its numbers, and the arrays whose addresses it names.

    Raises `RuntimeError` under the transforms of `torch.func`, whose tensors have no addresses.
    """
    from unrolled.kernels import openmp

    if torch._C._are_functorch_transforms_active():
        raise RuntimeError(f"what is compiled can't be vectorised: {INSTEAD}")

    filled = np.zeros(1, job)
    for name, number in numbers.items():
        filled[name] = number
    for name, array in arrays.items():
        filled[name] = array.data_ptr()
    openmp.run(kernel, filled, pieces, torch.get_num_threads())
