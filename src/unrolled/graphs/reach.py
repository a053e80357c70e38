"""Why are very long dependencies a problem? Edges, hops, dilution and gradients, measured.

On the complete graph every pair is one hop apart, at n² edges, and a softmax over n scores leaves
each a share of about 1/n. A sparse graph has few edges and little dilution, and needs hops: after L
layers a node knows nothing of what is more than L hops away, and the gradient there is exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unrolled.errors import BadInput
from unrolled.graphs.attention import GraphAttention
from unrolled.graphs.graph import Graph
from unrolled.graphs.kernels import gathered
from unrolled.graphs.passing import softmax

MARGIN = 3.0
"""By how much, in nats, the needle's score exceeds all others'."""
PATTERNS: dict[str, Callable[[int], Graph]] = {
    "dense": Graph.complete,
    "window": lambda n: Graph.sliding_window(n, 16),
    "bigbird": lambda n: Graph.bigbird(n, 8, 2, 2),
    "expander": lambda n: Graph.expander(n, 16),
}
"""About 17 edges a node each, but for the dense one."""


@dataclass(frozen=True)
class Reach:
    """One graph of one length."""

    name: str
    nodes: int
    edges: int
    hops: int
    """Most hops between two nodes; -1: some node is never reached."""
    needle: float
    """Mean weight of an edge whose score is 3 nats above all others at its node."""
    gradient: tuple[float, ...]
    """‖∂h_last/∂h_j‖ (Frobenius), mean over blocks of distance |last - j|, nearest first."""


def distances(graph: Graph, source: Int[Tensor, " sources"]) -> Int[Tensor, "nodes sources"]:
    """Hops from each source to each node along the edges; -1: never."""
    at = torch.zeros(graph.num_nodes, len(source))
    at[source, torch.arange(len(source))] = 1.0
    found = torch.where(at > 0, 0, -1)
    ones = torch.ones(graph.num_edges)
    for hop in range(1, graph.num_nodes + 1):
        at = gathered(ones, at, graph.csr).clamp(max=1.0)
        new = (at > 0) & (found < 0)
        if not bool(new.any()):
            break
        found[new] = hop
    return found


def hops(graph: Graph) -> int:
    """The diameter: most hops between two nodes; -1 where some node never hears of another."""
    most = 0
    for nodes in torch.arange(graph.num_nodes).split(256):
        found = distances(graph, nodes)
        if bool((found < 0).any()):
            return -1
        most = max(most, int(found.max()))
    return most


def needle(graph: Graph, margin: float = MARGIN) -> float:
    """Mean over nodes of the softmax weight of one edge whose score is `margin` above the rest."""
    if not graph.num_edges:
        return 0.0
    starts = graph.csr.starts.long()
    first = starts[:-1][starts[1:] > starts[:-1]]
    first = first if graph.csr.order is None else graph.csr.order[first]
    scores = torch.zeros(graph.num_edges, dtype=torch.float64)
    scores[first] = margin
    return float(softmax(scores, graph)[first].mean())


def gradient(
    graph: Graph, layers: int, blocks: int, *, hidden: int = 32, seed: int = 0, probes: int = 8
) -> tuple[float, ...]:
    """‖∂h_last/∂h_j‖ after residual attention layers with drawn weights, by distance.

    By Hutchinson's estimate: E‖vᵀJ‖² = ‖J‖² for v of independent standard normals.
    """
    torch_seed = torch.Generator().manual_seed(seed)
    stack = [GraphAttention(hidden, 4, bias=False) for _ in range(layers)]
    for layer in stack:
        for weight in layer.parameters():
            nn.init.normal_(weight, std=hidden**-0.5, generator=torch_seed)
    start = torch.randn(graph.num_nodes, hidden, generator=torch_seed).requires_grad_()
    h = start
    for layer in stack:
        h = h + layer(nn.functional.rms_norm(h, (hidden,)), graph)
    squares = torch.zeros(graph.num_nodes)
    for _ in range(probes):
        probe = torch.randn(hidden, generator=torch_seed)
        (found,) = torch.autograd.grad(h[-1] @ probe, start, retain_graph=True)
        squares += found.square().sum(1) / probes
    by_distance: Float[Tensor, " nodes"] = squares.sqrt().flip(0)[1:]  # without the node itself
    return tuple(float(part.mean()) for part in by_distance.tensor_split(blocks))


def reach(
    lengths: Sequence[int],
    *,
    layers: int = 4,
    blocks: int = 8,
    patterns: Sequence[str] = tuple(PATTERNS),
    progress: Callable[[int, int], None] | None = None,
) -> list[Reach]:
    """Measure every pattern at every length.

    Raises:
        BadInput: lengths that are too short for the blocks of distance, or an unknown pattern.
    """
    if not lengths or min(lengths) <= blocks or layers < 1:
        raise BadInput(f"lengths must be above {blocks} and layers at least 1")
    unknown = [name for name in patterns if name not in PATTERNS]
    if unknown:
        raise BadInput(f"unknown pattern {unknown[0]!r}; there are {', '.join(PATTERNS)}")
    answers: list[Reach] = []
    for name in patterns:
        for n in lengths:
            if progress is not None:
                progress(len(answers), len(patterns) * len(lengths))
            graph = PATTERNS[name](n)
            answers.append(
                Reach(
                    name,
                    n,
                    graph.num_edges,
                    hops(graph),
                    needle(graph),
                    gradient(graph, layers, blocks),
                )
            )
    return answers
