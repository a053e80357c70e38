"""What does one update give, by hand? The four-node graph of the set (b), line by line, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch

from unrolled.graphs.graph import Graph
from unrolled.graphs.passing import message_passing
from unrolled.receipts import Receipt

H = ((1, -1), (-1, 1), (0, -1), (1, 0))
WEIGHTS = {2: Fraction(6, 10), 3: Fraction(2, 10), 4: Fraction(2, 10)}
W = (1, 1)


@dataclass(frozen=True)
class Worked:
    """The steps of the update of node 1, and its numbers in exact fractions."""

    lines: tuple[str, ...]
    messages: tuple[tuple[Fraction, ...], ...]
    """f(h_j) of each neighbour."""
    total: tuple[Fraction, ...]
    """Their weighted sum."""
    heard: tuple[Fraction, ...]
    """max(·, 0) of it."""
    own: Fraction
    """W h_1ᵀ."""
    result: tuple[Fraction, ...]


def decimal(value: Fraction) -> str:
    """A short number, as one writes it."""
    return f"{float(value):g}"


def vector(values: tuple[Fraction | int, ...]) -> str:
    """Numbers in brackets."""
    return "[" + ", ".join(decimal(Fraction(value)) for value in values) + "]"


def worked() -> Worked:
    """h_1' = W h_1ᵀ + max(Σ_j w_j f(h_j), 0) with f(x) = 2x."""
    lines = ["h_1' = W h_1ᵀ + max(Σ_j w_j f(h_j), 0)   f(x) = 2 x,  W = " + vector(W), ""]
    total, messages = (Fraction(0), Fraction(0)), []
    for node, weight in WEIGHTS.items():
        doubled = tuple(Fraction(2 * x) for x in H[node - 1])
        messages.append(doubled)
        part = tuple(weight * x for x in doubled)
        total = (total[0] + part[0], total[1] + part[1])
        lines.append(
            f"message of {node}   f({vector(H[node - 1])}) = {vector(doubled)}, "
            f"times {decimal(weight)}: {vector(part)}"
        )
    heard = tuple(max(x, Fraction(0)) for x in total)
    own = sum((Fraction(w * x) for w, x in zip(W, H[0], strict=True)), Fraction(0))
    result = tuple(own + x for x in heard)
    lines += [
        f"their sum       {vector(total)}",
        f"max(·, 0)       {vector(heard)}",
        f"W h_1ᵀ          1·1 + 1·(-1) = {decimal(own)}, added to both",
        f"h_1'            {vector(result)}",
    ]
    return Worked(tuple(lines), tuple(messages), total, heard, own, result)


def by_message_passing() -> list[float]:
    """The same by `message_passing` in float64."""
    graph = Graph.from_edges([(node - 1, 0) for node in WEIGHTS], 4)
    out = message_passing(
        graph,
        torch.tensor(H, dtype=torch.float64),
        message=lambda source, _: 2 * source,
        weights=torch.tensor([float(w) for w in WEIGHTS.values()], dtype=torch.float64),
        update=lambda h, heard: h.sum(-1, keepdim=True) + heard.clamp(min=0),
    )
    values: list[float] = out[0].tolist()
    return values


def receipt() -> Receipt:
    """The weighted sum of the messages, proved as attention whose softmax weights are WEIGHTS.

    They add up to 1, so they are the softmax of their logarithms: each node carries its own, which
    the keys read, and a 1, which the queries read. V = 2 is the message f.
    """
    carried = [math.log(WEIGHTS[node]) if node in WEIGHTS else 0.0 for node in range(1, len(H) + 1)]
    given = {
        "edges": [[node - 1, 0] for node in WEIGHTS],
        "h": [[*row, score, 1.0] for row, score in zip(H, carried, strict=True)],
        "heads": [{"Q": [[0, 0, 0, 1]], "K": [[0, 0, 1, 0]], "V": [[2, 0, 0, 0], [0, 2, 0, 0]]}],
        "scaled": False,
    }
    heard = [float(x) for x in worked().total]
    states = [heard, *([0.0] * len(heard) for _ in H[1:])]
    return Receipt.prove("graph.attention", given, {"h": states, "within": 1e-15}, {})
