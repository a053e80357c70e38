"""How do padding, packed documents and a cache go with sparse attention?

Whole sequences become a graph, on which attention costs what the edges cost: one graph for all rows
where all are alike, else one graph of all rows' positions. New positions behind a cache become rows
of a mask. All three follow from positions within a document, so they agree.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unrolled.graphs import Graph
from unrolled.models.attention import Sight
from unrolled.models.pattern import Pattern


def sparse_sight(
    pattern: Pattern,
    positions: Int[Tensor, "*batch time"],
    real: Bool[Tensor, "batch all"] | None,
    documents: Int[Tensor, "batch time"] | None,
    *,
    causal: bool,
    past: int = 0,
) -> Sight:
    """Who looks at whom; `real` covers the `past` positions in a cache and the new ones."""
    time = positions.shape[-1]
    if past:
        return Sight(behind_cache(pattern, positions, real, past))
    if real is None and documents is None:
        return Sight(graph=pattern.graph(time, causal).to(positions.device))
    # Positions of a document go at most to the last column's.
    longest = max(time, int(positions.max()) + 1)
    return Sight(graph=joint(pattern.graph(longest, causal), positions, real, documents))


def edges_into(
    graph: Graph, nodes: Int[Tensor, " asked"]
) -> tuple[Int[Tensor, " edges"], Int[Tensor, " edges"]]:
    """Every edge into each of the nodes asked for: the place in `nodes`, and the source."""
    starts = graph.csr.starts.long().to(nodes.device)
    degree = starts[nodes + 1] - starts[nodes]
    asked = torch.arange(len(nodes), device=nodes.device).repeat_interleave(degree)
    first = (starts[nodes] - (degree.cumsum(0) - degree))[asked]
    columns = first + torch.arange(len(asked), device=nodes.device)
    return asked, graph.csr.columns.to(nodes.device)[columns].long()


def joint(
    graph: Graph,
    positions: Int[Tensor, "*batch time"],
    real: Bool[Tensor, "batch time"] | None,
    documents: Int[Tensor, "batch time"] | None,
) -> Graph:
    """One graph of all rows' columns, a column's edges being those of its position.

    Edges to padding or to another document are left out, but each column keeps its own.
    """
    beside = real if documents is None else documents
    assert beside is not None
    rows, time = beside.shape
    place = positions.expand(rows, time).flatten()
    target, source = edges_into(graph, place)
    # A document begins where its position is 0; both ends stay within the same row.
    source += target - place[target]
    inside = (source >= 0) & (source // time == target // time)
    source, target = source[inside], target[inside]
    keep = torch.ones_like(source, dtype=torch.bool)
    if real is not None:
        keep &= real.flatten()[source]
    if documents is not None:
        keep &= documents.flatten()[source] == documents.flatten()[target]
    keep |= source == target
    return Graph(torch.stack((source[keep], target[keep])), rows * time)


def behind_cache(
    pattern: Pattern,
    positions: Int[Tensor, "*batch time"],
    real: Bool[Tensor, "batch all"] | None,
    past: int,
) -> Bool[Tensor, "_rows 1 time all"]:
    """The rows of the mask that belong to the new positions."""
    time = positions.shape[-1]
    columns = past + time
    graph = pattern.graph(1 << (columns - 1).bit_length(), True)  # few sizes while decoding
    place = positions.expand(1 if real is None else len(real), time)
    flat = place.flatten()
    by_position = torch.zeros(len(flat), graph.num_nodes, dtype=torch.bool, device=flat.device)
    by_position[edges_into(graph, flat)] = True
    if real is None:
        return by_position[None, None, :, :columns]
    keys = (real.long().cumsum(1) - 1).clamp(min=0)
    mask = by_position.view(len(place), time, -1).gather(2, keys[:, None].expand(-1, time, -1))
    own = (
        torch.arange(columns, device=flat.device)
        == (torch.arange(past, columns, device=flat.device)[:, None])
    )
    return ((mask & real[:, None]) | own)[:, None]
