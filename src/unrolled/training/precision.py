"""In which number format, and compiled or not? Options that give way where they can't run."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.models.batch import Batch
from unrolled.models.fused import fused

Loss = Callable[[Batch], Tensor]
TRIALS = 8
"""Batches that both formats are timed on; the first one is not counted."""


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" takes a GPU where there is one."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise BadInput(
            f"training.device {name!r} can't be used here: take auto, cpu, or a GPU there is"
        ) from None
    return device


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bfloat16 products with float32 weights; else float32, compiled where it is a processor's."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return fused() if device.type == "cpu" else contextlib.nullcontext()


def faster_precision(
    loss: Loss, batches: Sequence[Batch], device: torch.device
) -> tuple[str, float]:
    """Time a step's forward and backward pass in both formats on each batch; the faster one wins.

    Returns its name and how many times faster it is, as the median over the batches but the first.
    They should be as different as a run's: a shape that comes again finds its kernels made, which
    gives bfloat16 more than it will have. Gradients made here are for the caller to drop; nothing
    else is changed.
    """
    ratios = []
    for batch in batches:
        seconds = {}
        for name in ("float32", "bfloat16"):
            start = time.perf_counter()
            with autocast(name, device):
                value = loss(batch)
            value.backward()
            value.item()
            seconds[name] = time.perf_counter() - start
        ratios.append(seconds["float32"] / seconds["bfloat16"])
    gain = median(ratios[1:])
    return ("bfloat16", gain) if gain > 1 else ("float32", 1 / gain)


def compiled(loss: Loss) -> Loss:
    """`loss` through torch.compile; at the first failure a warning, and from then on uncompiled."""
    fast = torch.compile(loss)
    state = {"works": True}

    def call(batch: Batch) -> Tensor:
        if state["works"]:
            try:
                return fast(batch)
            except Exception as error:
                state["works"] = False
                torch.compiler.reset()
                reason = str(error).strip().splitlines()
                warnings.warn(
                    f"torch.compile can't run here ({reason[0] if reason else error!r}); "
                    "training goes on uncompiled",
                    stacklevel=2,
                )
        return loss(batch)

    return call
