"""What do the graphs look like, and how do reach and cost grow? PNG or SVG."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.graphs.graph import Graph
from unrolled.graphs.reach import Reach
from unrolled.pictures import picture, save

MAX_NODES = 32
NODE, EDGE = "#dbe7f3", "#2f6db0"
STYLES = {
    "dense": ("#d9772b", "o"),
    "window": ("#2f6db0", "s"),
    "bigbird": ("#5b8c3a", "^"),
    "expander": ("#8a5aa8", "D"),
}


def draw(
    graph: Graph,
    path: str | os.PathLike[str],
    weights: Float[Tensor, " edges"] | None = None,
    names: Sequence[str] = (),
) -> None:
    """Draw a graph of at most 32 nodes on a circle beside its attention mask.

    Args:
        graph: who hears whom; arrows go from source to target.
        path: where to; the ending, .png or .svg, chooses the format.
        weights: of the edges, in the graph's order, say attention weights: wider and darker.
        names: of the nodes; their numbers unless given.

    Raises:
        BadInput: more nodes, another ending, a place that can't be written.
    """
    path = picture(path)
    n = graph.num_nodes
    if not 1 <= n <= MAX_NODES:
        raise BadInput(f"a picture has room for 1 to {MAX_NODES} nodes, this has {n}")
    labels = list(names) or [str(i) for i in range(n)]
    if len(labels) != n:
        raise BadInput(f"{len(labels)} names for {n} nodes")
    shown = torch.ones(graph.num_edges) if weights is None else weights.detach().float()
    figure = Figure(figsize=(9.2, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    circle(left, graph, (shown / max([*shown.tolist(), 1e-30])).tolist(), labels)
    matrix = torch.zeros(n, n).index_put((graph.target, graph.source), shown, accumulate=True)
    right.imshow(matrix.numpy(), cmap="Blues", vmin=0)
    right.set(xticks=range(n), yticks=range(n), xlabel="source (key)", ylabel="target (query)")
    right.set_xticklabels(labels, rotation=0 if max(map(len, labels)) < 3 else 90)
    right.set_yticklabels(labels)
    if weights is not None and n <= 8:
        for i in range(n):
            for j in range(n):
                dark = float(matrix[i, j]) > 0.6 * float(matrix.max())
                text = f"{float(matrix[i, j]):.2f}"
                right.text(j, i, text, ha="center", va="center", color="white" if dark else "black")
    save(figure, path)


def circle(axes: Any, graph: Graph, strength: list[float], labels: list[str]) -> None:
    """Nodes on a circle, the first on top, edges as arrows, self-loops as rings outside."""
    n = graph.num_nodes
    angle = [math.pi / 2 - 2 * math.pi * i / n for i in range(n)]
    place = [(math.cos(a), math.sin(a)) for a in angle]
    for (j, i), s in zip(graph.edge_index.T.tolist(), strength, strict=True):
        style: dict[str, Any] = {"color": EDGE, "alpha": 0.15 + 0.85 * s, "linewidth": 0.4 + 2 * s}
        if i == j:
            ring = tuple(1.2 * c for c in place[i])
            axes.add_patch(Circle(ring, 0.09, fill=False, zorder=1, **style))
            continue
        axes.add_patch(
            FancyArrowPatch(
                place[j],
                place[i],
                arrowstyle="-|>",
                mutation_scale=9,
                connectionstyle="arc3,rad=0.08",
                shrinkA=11,
                shrinkB=11,
                **style,
            )
        )
    for (x, y), label in zip(place, labels, strict=True):
        axes.scatter([x], [y], s=420, color=NODE, edgecolor="black", linewidth=0.6, zorder=3)
        axes.text(x, y, label, ha="center", va="center", fontsize=8, zorder=4)
    axes.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
    axes.axis("off")


def draw_reach(answers: Sequence[Reach], layers: int, path: str | os.PathLike[str]) -> None:
    """Edges, hops, the needle's weight by length, and the gradient by distance at the longest."""
    path = picture(path)
    figure = Figure(figsize=(9.2, 6.6), layout="constrained")
    (edges, hop), (weight, gradient) = figure.subplots(2, 2)
    longest = max(a.nodes for a in answers)
    for name in dict.fromkeys(a.name for a in answers):
        rows = [a for a in answers if a.name == name]
        colour, marker = STYLES[name]
        style: dict[str, Any] = {"color": colour, "marker": marker, "label": name, "linewidth": 1.2}
        lengths = [a.nodes for a in rows]
        edges.plot(lengths, [a.edges for a in rows], **style)
        hop.plot(lengths, [a.hops for a in rows], **style)
        weight.plot(lengths, [a.needle for a in rows], **style)
        last = next(a for a in rows if a.nodes == longest)
        step = longest / len(last.gradient)
        where = [(i + 0.5) * step for i in range(len(last.gradient))]
        gradient.plot(where, [g or math.nan for g in last.gradient], **style)
    for axes, title in (
        (edges, "edges"),
        (hop, "hops to reach all"),
        (weight, "weight of a needle"),
    ):
        axes.set(xscale="log", yscale="log", xlabel="length", title=title)
    gradient.set(
        yscale="log",
        xlabel=f"distance, of {longest} nodes",
        title=f"gradient norm after {layers} layers (0 isn't drawn)",
    )
    edges.legend(frameon=False)
    save(figure, path)
