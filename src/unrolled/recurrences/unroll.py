"""What happens inside torch.nn.RNN, LSTM and GRU, step by step?

`Recorder` runs them one step at a time while it is entered, with the same weights and the same
results, and keeps every h_t, so that a backward pass leaves dL/dh_t. `jacobians` and `lyapunov`
look at dh_t/dh_{t-1} along a sequence: the exponents are the rates at which small differences grow
(Benettin et al. 1980, by QR; Engelken, Wolf and Abbott 2023 for trained networks).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unrolled.errors import BadInput
from unrolled.recurrences.advice import Cell, Skip, cell_of, skip_of

Hidden = tuple[Tensor, ...]  # (h,) or (h, c), each (batch, hidden)


def is_recurrent(module: nn.Module) -> bool:
    """Whether it is one of torch.nn's recurrent layers."""
    return isinstance(module, nn.RNNBase)


def cell(module: Any, layer: int, suffix: str = "") -> Callable[[Tensor, Hidden], Hidden]:
    """One step of one layer in one direction."""
    if module.proj_size:
        raise BadInput("LSTMs with projections (proj_size) can't be unrolled here")
    names = [f"{kind}_l{layer}{suffix}" for kind in ("weight_ih", "weight_hh")]
    names += [f"{kind}_l{layer}{suffix}" for kind in ("bias_ih", "bias_hh")] * module.bias
    weights = [getattr(module, name) for name in names]
    if module.mode == "LSTM":
        return lambda x, state: tuple(torch.lstm_cell(x, state, *weights))
    step: Any = {
        "GRU": torch.gru_cell,
        "RNN_TANH": torch.rnn_tanh_cell,
        "RNN_RELU": torch.rnn_relu_cell,
    }[module.mode]
    return lambda x, state: (step(x, state[0], *weights),)


class Recorder:
    """Use as a context manager around forward and backward pass of a model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.states: dict[str, list[Tensor]] = {}
        self.cells: dict[str, Cell] = {}
        self.outputs: dict[str, Tensor] = {}
        self.skips: dict[str, Skip] = {}
        self.undo: list[Callable[[], object]] = []

    def __enter__(self) -> Recorder:
        for name, module in self.model.named_modules():
            if is_recurrent(module):
                # In the instance's own dict it stands before the class's method.
                module.__dict__["forward"] = self._unrolled(name or module._get_name(), module)
                self.undo.append(partial(module.__dict__.pop, "forward"))
            elif isinstance(module, nn.ModuleList) and len(module) > 1:
                for k, block in enumerate(module):
                    handle = block.register_forward_hook(
                        self._keep(f"{name}.{k}"), with_kwargs=True
                    )
                    self.undo.append(handle.remove)
        return self

    def __exit__(self, *_: object) -> None:
        for undo in self.undo:
            undo()

    def _keep(self, name: str) -> Callable[..., None]:
        """A hook that keeps a block's output, if it is (batch, time, hidden)."""

        def hook(block: nn.Module, args: Any, named: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if isinstance(tensor, Tensor) and tensor.ndim == 3 and tensor.requires_grad:
                tensor.retain_grad()
                self.outputs[name] = tensor
                given = (x for x in (*args, *named.values()) if isinstance(x, Tensor))
                self.skips[name] = skip_of(block, next(given, None), tensor)

        return hook

    def _unrolled(self, name: str, module: Any) -> Callable[..., Any]:
        """A forward pass that says the same as the module's, one step at a time."""

        def forward(x: Any, state: Any = None) -> Any:
            lengths = None
            if isinstance(x, PackedSequence):
                enforced = x.sorted_indices is None
                x, lengths = pad_packed_sequence(x, batch_first=True)
            elif not module.batch_first:
                x = x.transpose(0, 1)
            first = initial(module, x, state)
            y, last = self._layers(name, module, x, first, lengths)
            if lengths is not None:
                out: Any = pack_padded_sequence(y, lengths, True, enforce_sorted=enforced)
            else:
                out = y if module.batch_first else y.transpose(0, 1)
            return out, (last if module.mode == "LSTM" else last[0])

        return forward

    def _layers(
        self, name: str, module: Any, x: Tensor, first: Hidden, lengths: Tensor | None
    ) -> tuple[Tensor, Hidden]:
        """Layer by layer: outputs (batch, time, directions * hidden), last states of all."""
        directions = 2 if module.bidirectional else 1
        finals: list[Hidden] = []
        for layer in range(module.num_layers):
            outputs = []
            for d in range(directions):
                start = tuple(part[layer * directions + d] for part in first)
                label = f"{name} layer {layer}" + (" backwards" if d else "")
                suffix = "_reverse" if d else ""
                step = cell(module, layer, suffix)
                self.cells[label] = cell_of(module, f"l{layer}{suffix}")
                y, final = self._run(label, step, x, start, lengths, backwards=bool(d))
                outputs.append(y)
                finals.append(final)
            x = torch.cat(outputs, dim=2)
            if module.dropout and module.training and layer < module.num_layers - 1:
                x = nn.functional.dropout(x, module.dropout)
        return x, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))

    def _run(
        self,
        label: str,
        step: Callable[[Tensor, Hidden], Hidden],
        x: Tensor,
        state: Hidden,
        lengths: Tensor | None,
        *,
        backwards: bool,
    ) -> tuple[Tensor, Hidden]:
        """One layer over time; rows that have ended keep their state and put out zeros."""
        time = x.shape[1]
        kept: list[Tensor] = [x.new_zeros(0)] * time
        outputs = list(kept)
        for t in reversed(range(time)) if backwards else range(time):
            new = step(x[:, t], state)
            if lengths is not None:
                alive = (t < lengths).to(x.device)[:, None]
                new = tuple(torch.where(alive, a, b) for a, b in zip(new, state, strict=True))
            if new[0].requires_grad:
                new[0].retain_grad()
            kept[t], state = new[0], new
            outputs[t] = new[0] if lengths is None else torch.where(alive, new[0], 0.0)
        self.states[label] = kept
        return torch.stack(outputs, dim=1), state

    def gradient_norms(self) -> Iterator[tuple[str, Float[np.ndarray, " time"]]]:
        """Name and ||dL/dh_t|| at each step; after the backward pass."""
        for name, states in self.states.items():
            found = [0.0 if h.grad is None else float(h.grad.norm()) for h in states]
            yield name, np.array(found)
        for name, tensor in self.outputs.items():
            if tensor.grad is not None:
                norms = tensor.grad.float().norm(dim=(0, 2))
                yield name, norms.detach().cpu().numpy().astype(np.float64)


def initial(module: Any, x: Tensor, state: Any) -> Hidden:
    """The states at step 0, (layers * directions, batch, hidden) each; zeros unless given."""
    count = module.num_layers * (2 if module.bidirectional else 1)
    parts = 2 if module.mode == "LSTM" else 1
    if state is None:
        return (x.new_zeros(count, x.shape[0], module.hidden_size),) * parts
    return tuple(state) if module.mode == "LSTM" else (state,)


# --- Jacobians -----------------------------------------------------------------------------------


def jacobians(
    module: nn.Module, x: Float[Tensor, "time input"], layer: int = 0
) -> Iterator[Float[Tensor, "state state"]]:
    """dh_t/dh_{t-1} (of (h, c) for an LSTM) along one sequence, exactly, by autograd.

    Raises:
        BadInput: no recurrent module of torch.nn; a bidirectional one; no such layer.
    """
    rnn: Any = module
    if not is_recurrent(module) or rnn.bidirectional or not 0 <= layer < rnn.num_layers:
        raise BadInput("expected a torch.nn.RNN, LSTM or GRU in one direction, with that layer")
    width, parts = rnn.hidden_size, 2 if rnn.mode == "LSTM" else 1
    with torch.no_grad():
        for below in range(layer):
            x = sequence(cell(rnn, below), x, parts, width)
    step = cell(rnn, layer)
    flat = x.new_zeros(parts * width)
    for row in x:

        def advance(v: Tensor, row: Tensor = row) -> Tensor:
            state = tuple(part[None] for part in v.split(width))
            return torch.cat([part[0] for part in step(row[None], state)])

        yield torch.func.jacrev(advance)(flat).detach()
        with torch.no_grad():
            flat = advance(flat)


def sequence(
    step: Callable[[Tensor, Hidden], Hidden], x: Float[Tensor, "time input"], parts: int, width: int
) -> Float[Tensor, "time hidden"]:
    """The outputs of a layer over one sequence."""
    state: Hidden = (x.new_zeros(1, width),) * parts
    outputs = []
    for row in x:
        state = step(row[None], state)
        outputs.append(state[0][0])
    return torch.stack(outputs)


def singular_values(
    module: nn.Module, x: Float[Tensor, "time input"], layer: int = 0
) -> Float[np.ndarray, "time state"]:
    """Singular values of each step's Jacobian, largest first."""
    found = [torch.linalg.svdvals(J.double()) for J in jacobians(module, x, layer)]
    return torch.stack(found).cpu().numpy()


def lyapunov(
    module: nn.Module, x: Float[Tensor, "time input"], layer: int = 0, warm_up: int = 0
) -> Float[np.ndarray, " state"]:
    """Lyapunov exponents along a sequence, largest first, in nats a step.

    Above 0: small differences, and gradients, grow; below 0, they die. The first `warm_up` steps
    align the directions and aren't counted.

    Raises:
        BadInput: as `jacobians`; no step left to count.
    """
    if not 0 <= warm_up < len(x):
        raise BadInput(f"a sequence of {len(x)} steps leaves none after a warm-up of {warm_up}")
    Q: Tensor | None = None
    total: Tensor | None = None
    for t, J in enumerate(jacobians(module, x, layer)):
        J = J.double()
        Q, R = torch.linalg.qr(J if Q is None else J @ Q)
        logs = R.diagonal().abs().clamp_min(math.exp(-700)).log()
        if t >= warm_up:
            total = logs if total is None else total + logs
    assert total is not None
    return (total / (len(x) - warm_up)).sort(descending=True).values.cpu().numpy()
