"""How does a processor train in float32? What stands between the products is compiled, a pass each.

    with fused():            a training step's forward pass; outside it PyTorch's own operations
        loss = model.loss(batch)
    loss.backward()

PyTorch turns, splits, joins, copies and scales in passes over memory of their own, and its
attention takes two to four times as long as its products must. What is fused has a first derivative
by `backward` and no other (`first_order`): that is why it must be asked for. With
`torch.utils.checkpoint` the backward pass, which makes things again, must stand inside too.
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

_works = True
"""False once compiling has failed in this process."""
_on: ContextVar[bool] = ContextVar("fused", default=False)


@contextmanager
def fused() -> Iterator[None]:
    """Let a model's float32 arithmetic on a processor be compiled, where numba is there."""
    before = _on.set(_works and no_numba() is None)
    try:
        yield
    finally:
        _on.reset(before)


def is_on(where: Tensor | torch.device | None) -> bool:
    """Whether that is asked for, and this tensor, or one on this device, can be taken."""
    if torch.compiler.is_compiling() or not _on.get():
        return False
    if not isinstance(where, Tensor):
        return where is None or where.type == "cpu"
    plain = type(where) in (Tensor, torch.nn.Parameter) and not where.is_neg()
    fits = where.device.type == "cpu" and where.dtype == torch.float32 and where.numel() > 0
    return plain and fits and not torch.is_autocast_enabled("cpu")


def get_ready(tell: Callable[[str], object]) -> None:
    """Compile, or read what was kept; say so when it takes long, or why it can't be done."""
    global _works
    reason = no_numba()
    if reason is None:
        line = "compiling the kernels for this machine: once, some seconds"
        saying = Timer(PATIENCE, tell, (line,))
        saying.daemon = True
        saying.start()
        try:
            import unrolled.kernels.elements
            import unrolled.kernels.sequences  # noqa: F401
        except Exception as error:  # whatever numba or the disk has: PyTorch can do it all
            _works, reason = False, f"the kernels can't be compiled ({error})"
        finally:
            saying.cancel()
    if reason is not None:
        tell(f"attention by PyTorch, which is slower: {reason}")


def run(
    kernel: Any,
    job: np.dtype[Any],
    pieces: int,
    numbers: dict[str, Any],
    arrays: dict[str, Tensor],
) -> None:
    """Let PyTorch's threads do a job: its numbers, and the arrays whose addresses it names.

    Raises `RuntimeError` under the transforms of `torch.func`, whose tensors have no addresses, and
    `ValueError` for arrays that are not plain memory of the kinds that kernels read.
    """
    from unrolled.kernels import openmp

    if torch._C._are_functorch_transforms_active():
        raise RuntimeError(f"what is compiled can't be vectorised: {INSTEAD}")

    filled = np.zeros(1, job)
    for name, number in numbers.items():
        filled[name] = number
    for name, array in arrays.items():
        plain = array.device.type == "cpu" and array.is_contiguous() and not array.is_neg()
        if not plain or array.dtype not in (torch.float32, torch.int32):
            raise ValueError(f"{name} can't be read by a kernel: {array.dtype} on {array.device}")
        filled[name] = array.data_ptr()
    openmp.run(kernel, filled, pieces, torch.get_num_threads())
