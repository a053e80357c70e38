"""Where in a real network does the gradient vanish or explode, in time or in depth?

Recurrent layers are unrolled step by step, so that dL/dh_t is the whole gradient at step t: the
fused kernels of `torch.nn` show only its direct part. Stacks of blocks (`ModuleList`) are read at
their outputs. Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrolled.errors import BadInput
from unrolled.recurrences.advice import Cell, Skip, for_exploding, for_stack, for_vanishing
from unrolled.recurrences.unroll import Recorder, is_recurrent

STEEP = 0.1  # a factor e^±0.1 a step: 0.9 or 1.1
FEW = 1e-3  # of the largest gradient: what lies below learns a thousand times slower


@dataclass(frozen=True)
class Track:
    """The gradient along one layer: of a recurrence over time, or of a block's output."""

    name: str
    norms: Float[np.ndarray, " time"]
    """||dL/dh_t||, over batch and hidden, at each step t."""
    cell: Cell | None = None
    """Of a recurrence, what advice rests on."""
    skip: Skip = "unknown"
    """Of a block, whether it has a residual connection."""

    @property
    def recurrent(self) -> bool:
        """Whether it is a recurrence over time, and no block's output."""
        return self.cell is not None

    @property
    def rate(self) -> float:
        """The factor by which the norm changes a step backwards in time, from a line through the
        logarithms; nan where there are fewer than 3 steps with a gradient.
        """
        t = np.flatnonzero(self.norms > 0)
        if len(t) < 3:
            return math.nan
        return math.exp(-float(np.polyfit(t, np.log(self.norms[t]), 1)[0]))


@dataclass(frozen=True)
class Weights:
    """One parameter tensor."""

    name: str
    norm: float
    gradient: float
    update_ratio: float
    """||learning rate * gradient|| / ||weights||: of a plain gradient step."""


@dataclass(frozen=True)
class Probe:
    """What one backward pass shows."""

    loss: float
    tracks: list[Track]
    weights: list[Weights]

    @property
    def advice(self) -> list[str]:
        """What is wrong and what usually helps, each with the number it rests on."""
        return [line for track in self.tracks for line in diagnose(track)] + depth(self.tracks)


def probe(
    model: nn.Module,
    batch: Any,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    *,
    learning_rate: float = 1e-3,
) -> Probe:
    """Gradient norms by time step and layer, and update-to-weight ratios.

    The model's weights, gradients and mode are left as they were.

    Args:
        model: any module; torch.nn.RNN, LSTM and GRU inside it are unrolled.
        batch: what it is called with: a tensor, or a mapping of keyword arguments.
        loss: of model and batch. Otherwise the model's own: `model.loss(batch)`, or the output's
            `.loss` (Hugging Face), or for a bare recurrent module half the squared norm of the last
            step's output.
        learning_rate: of the update-to-weight ratio.

    Raises:
        BadInput: the model has no loss of its own, nothing in it needs a gradient, or its weights
            are in shares (FSDP). Of a DDP model, this process's batch is measured alone.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module
    if any(hasattr(p, "full_tensor") for p in model.parameters()):
        raise BadInput(
            "the model's weights are in shares (FSDP), and are probed whole: save a checkpoint and "
            "open it in one process (`unrolled probe RUN`)"
        )
    before = {p: p.grad for p in model.parameters()}
    generator = torch.get_rng_state()
    for p in before:
        p.grad = None
    try:
        with torch.enable_grad(), Recorder(model) as recorder:
            value = evaluate(model, batch, loss)
            if not value.requires_grad:
                raise BadInput("the loss depends on no parameter that needs a gradient")
            value.backward()
        tracks = [
            Track(name, norms, recorder.cells.get(name), recorder.skips.get(name, "unknown"))
            for name, norms in recorder.gradient_norms()
        ]
        weights = [ratio(name, p, learning_rate) for name, p in model.named_parameters()]
    finally:
        torch.set_rng_state(generator)
        for p, gradient in before.items():
            p.grad = gradient
    return Probe(value.item(), tracks, weights)


def evaluate(
    model: nn.Module, batch: Any, loss: Callable[[nn.Module, Any], Tensor] | None
) -> Float[Tensor, ""]:
    """The loss to differentiate."""
    if loss is not None:
        return loss(model, batch)
    own = getattr(model, "loss", None)
    if callable(own):
        result: Tensor = own(batch)
        return result
    output = model(**batch) if isinstance(batch, Mapping) else model(batch)
    found = getattr(output, "loss", None)
    if isinstance(found, Tensor):
        return found
    if is_recurrent(model):
        last = output[0][:, -1] if model.batch_first else output[0][-1]
        half: Tensor = (last**2).sum() / 2
        return half
    raise BadInput("this model has no loss of its own: give probe(model, batch, loss=...)")


def ratio(name: str, parameter: nn.Parameter, learning_rate: float) -> Weights:
    """Norms of a parameter and of its gradient."""
    norm = float(parameter.detach().norm())
    gradient = 0.0 if parameter.grad is None else float(parameter.grad.norm())
    return Weights(name, norm, gradient, learning_rate * gradient / norm if norm else 0.0)


def diagnose(track: Track) -> list[str]:
    """Time: only recurrences have a rate a step."""
    rate, norms = track.rate, track.norms
    if track.cell is None or math.isnan(rate):
        return []
    if not np.isfinite(norms).all():
        return [f"{track.name}: the gradient overflows; clip it (training.clip_norm 1.0)"]
    top = norms.max()
    if math.log(rate) < -STEEP:
        first = np.flatnonzero(norms > FEW * top)[0]
        reach = (
            f"steps before t = {first} get less than 1/1000 of the largest"
            if first
            else f"the first step gets {norms[0] / top:.2g} of the largest"
        )
        return [
            f"{track.name}: the gradient vanishes, by a factor of {rate:.3g} a step backwards; "
            f"{reach}. {for_vanishing(track.cell)}"
        ]
    if math.log(rate) > STEEP:
        return [
            f"{track.name}: the gradient explodes, by a factor of {rate:.3g} a step backwards, to "
            f"{top:.3g} at t = {int(norms.argmax())}. {for_exploding(track.cell)}"
        ]
    return []


def depth(tracks: list[Track]) -> list[str]:
    """Depth: the blocks of each stack, first to last."""
    stacks: dict[str, list[Track]] = {}
    for track in tracks:
        if not track.recurrent:
            stacks.setdefault(track.name.rpartition(".")[0], []).append(track)
    found = []
    for name, blocks in stacks.items():
        first, last = (float(np.linalg.norm(blocks[k].norms)) for k in (0, -1))
        if len(blocks) < 2 or not first or not last:
            continue
        factor = (first / last) ** (1 / (len(blocks) - 1))
        if not 0.5 <= factor <= 2:
            what = "vanishes" if factor < 1 else "explodes"
            found.append(
                f"{name}: the gradient {what} from the last block to the first, by a factor of "
                f"{factor:.3g} a block. {for_stack([track.skip for track in blocks])}"
            )
    return found


# --- in the trainer ------------------------------------------------------------------------------


class UpdateWatch:
    """Gradient norms and what a step of the optimizer changes, by part of the model.

    Made between backward pass and step; `row` is called after the step.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parts: dict[str, list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                self.parts.setdefault(part(name), []).append(parameter)
        self.gradients = {
            name: norm([p.grad for p in group if p.grad is not None])
            for name, group in self.parts.items()
        }
        self.before = {
            name: [p.detach().clone() for p in group] for name, group in self.parts.items()
        }

    def row(self) -> dict[str, float]:
        """{"probe/gradient_norm/PART", "probe/update_ratio/PART"} of each part."""
        result = {}
        for name, group in self.parts.items():
            old = self.before[name]
            size = norm(old)
            changed = norm([p.detach() - q for p, q in zip(group, old, strict=True)])
            result[f"probe/gradient_norm/{name}"] = self.gradients[name]
            result[f"probe/update_ratio/{name}"] = changed / size if size else 0.0
        return result


def part(name: str) -> str:
    """The block of a parameter: its name up to the first number, or without the last word."""
    words = name.split(".")
    for k, word in enumerate(words):
        if word.isdigit():
            return ".".join(words[: k + 1])
    return ".".join(words[:-1]) or name


def norm(tensors: list[Tensor]) -> float:
    """The Euclidean norm of all of them together."""
    return float(torch.stack(torch._foreach_norm(tensors)).norm()) if tensors else 0.0
