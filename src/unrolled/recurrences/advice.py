"""What usually helps where a gradient vanishes or explodes, and isn't there already?

Remedies for recurrences: gates with a bias that keeps the state (Gers et al. 2000; Jozefowicz et
al. 2015), orthogonal weights (Saxe et al. 2014), clipping (Pascanu, Mikolov and Bengio 2013). For
stacks: residual connections (He et al. 2016) with the norm inside of them (Xiong et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

KEEPS = 1.0  # a bias of a gate from which on it keeps 3/4 of the state
NEAR = 0.1  # of the identity, in norm, is U^T U of orthogonal weights, trained a little
Gate = Literal["", "forget", "update"]
Skip = Literal["unknown", "none", "bare", "before", "after"]

# What autograd's nodes are called along a path that no weights stand on.
PLAIN = {"Add", "Sub", "Mul", "Div", "NativeDropout", "FusedDropout", "Clone", "ToCopy", "Alias"}
PLAIN |= {"View", "UnsafeView", "ReshapeAlias", "Transpose", "Permute", "T", "Slice", "Select"}
PLAIN |= {"Expand", "Unsqueeze", "Squeeze"}
ROOTS = {"Rsqrt", "Sqrt", "Pow"}  # a factor made of one of these is a norm written out


@dataclass(frozen=True)
class Cell:
    """What advice on a recurrent layer rests on."""

    gate: Gate
    """The gate that keeps the state: an LSTM's, a GRU's, or none."""
    bias: float
    """The mean of that gate's bias."""
    orthogonal: bool
    """Whether the weights on h are, those of each gate."""


def cell_of(module: Any, suffix: str) -> Cell:
    """Of the layer and direction whose parameters end in `suffix`, such as "l0_reverse"."""
    kinds: dict[str, tuple[int, Gate]] = {"LSTM": (4, "forget"), "GRU": (3, "update")}
    parts, gate = kinds.get(module.mode, (1, ""))
    U = getattr(module, f"weight_hh_{suffix}").detach().double().chunk(parts)
    off = [torch.linalg.matrix_norm(u.T @ u - torch.eye(len(u)).to(u), 2) for u in U]
    bias = 0.0
    if gate and module.bias:
        both = [getattr(module, f"bias_{kind}_{suffix}").detach() for kind in ("ih", "hh")]
        bias = float(sum(both).chunk(parts)[1].mean())  # i, f, g, o or r, z, n
    return Cell(gate, bias, max(map(float, off)) < NEAR)


def for_vanishing(cell: Cell) -> str:
    """A sentence of what the layer hasn't got yet."""
    found = []
    if not cell.gate:
        found.append("an LSTM or GRU")
    elif cell.bias < KEEPS:
        article = "a" if cell.gate == "forget" else "an"
        found.append(f"{article} {cell.gate}-gate bias of 1 to 3 (its mean is {cell.bias:.2g})")
    if not cell.orthogonal:
        found.append("an orthogonal start of the recurrent weights")
    return sentence(found or ["shorter sequences", "a loss at more of the steps"])


def for_exploding(cell: Cell) -> str:
    """A sentence of what the layer hasn't got yet."""
    found = ["clipping its norm"]
    if not cell.orthogonal:
        found.append("recurrent weights with a smaller spectral radius (an orthogonal start)")
    return sentence(found)


def sentence(remedies: list[str]) -> str:
    """What usually helps, in words."""
    text = ", or ".join(remedies)
    return f"{text[0].upper()}{text[1:]}{',' * (len(remedies) > 1)} usually helps."


def for_stack(skips: list[Skip]) -> str:
    """A sentence of what the blocks haven't got yet."""
    known = set(skips) - {"unknown"}
    if not known or "none" in known:
        return "Residual connections with a norm before each block usually help."
    if "bare" in known:
        return "Its blocks have residual connections; a norm before each of them usually helps."
    if "after" in known:
        return "Its norms stand on the residual path; norms before the blocks instead usually help."
    return (
        "Its blocks have residual connections and norms before them; a smaller learning rate with "
        "a warm-up, or a smaller start of each block's last weights, usually helps."
    )


def skip_of(block: nn.Module, x: Tensor | None, y: Tensor) -> Skip:
    """Whether a path of autograd's graph leads from a block's output to its input by a sum and past
    no weights, and where the norms are.
    """
    if x is None or not x.requires_grad or y.grad_fn is None:
        return "unknown"
    found: Skip = "none"
    goal = x.grad_fn
    seen: set[tuple[Any, bool, bool]] = set()
    waiting: list[tuple[Any, bool, bool]] = [(y.grad_fn, False, False)]
    while waiting:
        state = waiting.pop()
        node, added, normed = state
        if node is None or state in seen:
            continue
        seen.add(state)
        if node is goal or getattr(node, "variable", None) is x:
            if added and not normed:
                inside = any("norm" in type(part).__name__.lower() for part in block.modules())
                return "before" if inside else "bare"
            found = "after" if added else found
            continue
        name = node.name().partition("Backward")[0]
        before = [part for part, _ in node.next_functions]
        factors = {part.name().partition("Backward")[0] for part in before if part is not None}
        norm = "Norm" in name or (name in ("Mul", "Div") and bool(factors & ROOTS))
        if norm or name in PLAIN:
            waiting += [(part, added or name == "Add", normed or norm) for part in before]
    return found
