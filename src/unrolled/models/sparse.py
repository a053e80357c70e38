"""How do padding, packed documents and a cache go with sparse attention?

Whole sequences become a graph, on which attention costs what the edges cost: one graph for all rows
where all are alike, else one graph of all rows' positions. New positions behind a cache look at the
few columns of it that their edges come from, under a mask. All three follow from positions within a
document, so they agree.
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
        return behind_cache(pattern, positions, real, past)
    if real is None and documents is None:
        return Sight(graph=pattern.graph(time, causal).to(positions.device))
    # Positions of a document go at most to the last column's.
    longest = max(time, int(positions.max()) + 1)
    return Sight(graph=joint(pattern.graph(longest, causal), positions, real, documents))


def edges_into(
    graph: Graph, nodes: Int[Tensor, " asked"]
) -> tuple[Int[Tensor, " edges"], Int[Tensor, " edges"]]:
    """Every edge into each of the nodes asked for: the place in `nodes`, and the source."""
    starts = graph.csr.starts.to(nodes.device)
    begin = starts[nodes].long()
    degree = starts[nodes + 1] - begin
    asked = torch.arange(len(nodes), device=nodes.device).repeat_interleave(degree)
    first = (begin - (degree.cumsum(0) - degree))[asked]
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
) -> Sight:
    """The columns that any of the new positions looks at, and a mask over them.

    Without padding a step costs what those columns cost, however long the past; with padding, rows
    of truth values as long as the past are made once a step, but no keys or values are read.
    """
    time = positions.shape[-1]
    columns = past + time
    graph = pattern.graph(1 << (columns - 1).bit_length(), True)  # few sizes while decoding
    if real is None:
        asked, source = edges_into(graph, torch.arange(past, columns, device=positions.device))
        seen, place = source.unique(return_inverse=True)
        mask = torch.zeros(time, len(seen), dtype=torch.bool, device=seen.device)
        mask[asked, place] = True
        return Sight(mask[None, None], columns=seen)
    flat = positions.expand(len(real), time).flatten()
    by_position = torch.zeros(len(flat), graph.num_nodes, dtype=torch.bool, device=flat.device)
    by_position[edges_into(graph, flat)] = True
    keys = (real.long().cumsum(1) - 1).clamp(min=0)
    mask = by_position.view(len(real), time, -1).gather(2, keys[:, None].expand(-1, time, -1))
    column = torch.arange(columns, device=flat.device)
    mask = (mask & real[:, None]) | (column == column[past:, None])
    seen = mask.flatten(0, 1).any(0).nonzero().squeeze(1)
    return Sight(mask[:, None, :, seen], columns=seen)
