"""Which edges? The patterns of who hears whom, as edge lists sorted by target, then source.

Every builder returns an edge_index [2, E] (row 0 source, row 1 target) without duplicates. Causal
ones let position i hear 0…i only. Up to the random edges, which are drawn position by position, the
edges among the first m nodes are the same for every n >= m.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from unrolled.errors import BadInput

EdgeIndex = Int[Tensor, "2 _edges"]


def at_least(name: str, value: int, low: int) -> None:
    """Refuse, by its name, a size that is too small or no whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise BadInput(f"{name} must be a whole number, at least {low}, not {value!r}")


def from_keys(keys: Int[Tensor, " keys"], n: int) -> EdgeIndex:
    """Edges from target · n + source, each once, in order."""
    keys = torch.unique(keys)
    return torch.stack((keys % max(n, 1), keys // max(n, 1)))


def keys_of(edge_index: EdgeIndex, n: int) -> Int[Tensor, " edges"]:
    """Target · n + source: sorted, they are in the order of the rows of the CSR."""
    return edge_index[1] * n + edge_index[0]


def union(parts: list[Tensor], n: int) -> EdgeIndex:
    """Every edge that is in one of the parts, once."""
    return from_keys(torch.cat([keys_of(part, n) for part in parts]), n)


def both_ways(edge_index: EdgeIndex, n: int) -> EdgeIndex:
    """Every edge with its reverse, once."""
    return union([edge_index, edge_index.flip(0)], n)


def complete(n: int, self_loops: bool = True) -> EdgeIndex:
    """Every node hears every node; with or without itself."""
    at_least("the number of nodes", n, 0)
    keys = torch.arange(n * n)
    return from_keys(keys if self_loops else keys[keys % max(n, 1) != keys // max(n, 1)], n)


def offsets(n: int, steps: Int[Tensor, " steps"]) -> EdgeIndex:
    """Position i hears i + s for each step s that stays within 0…n-1."""
    source = torch.arange(n)[:, None] + steps[None]
    inside = (source >= 0) & (source < n)
    target = torch.arange(n)[:, None].expand_as(source)
    return from_keys((target * n + source)[inside], n)


def causal(n: int) -> EdgeIndex:
    """Position i hears 0…i."""
    at_least("the number of nodes", n, 0)
    return torch.tril_indices(n, n).flip(0)


def sliding_window(n: int, window: int, causal: bool = False, dilation: int = 1) -> EdgeIndex:
    """Causal: i hears itself and the window - 1 positions before it (Jiang et al. 2023, section 2).

    Two-sided: itself and window // 2 on each side (Beltagy et al. 2020, section 3.1). With a
    dilation d, every d-th position only, so that the same number of edges reaches d times as far.
    """
    at_least("the number of nodes", n, 0)
    at_least("the window", window, 1)
    at_least("the dilation", dilation, 1)
    steps = torch.arange(1 - window, 1) if causal else torch.arange(-(window // 2), window // 2 + 1)
    steps = steps * dilation
    return offsets(n, steps[steps.abs() < max(n, 1)])


def global_tokens(n: int, count: int, causal: bool = False) -> EdgeIndex:
    """The first `count` positions hear and are heard by all (Beltagy et al. 2020, section 3.1).

    Every position hears itself. Causal: only what precedes, so they are heard and hear little.
    """
    at_least("the number of nodes", n, 0)
    at_least("the number of global tokens", count, 0)
    first, every = torch.arange(min(count, n)), torch.arange(n)
    keys = (every[:, None] * n + first[None]).flatten()
    edges = union([from_keys(keys, n), offsets(n, torch.zeros(1, dtype=torch.long))], n)
    return edges[:, edges[0] <= edges[1]] if causal else both_ways(edges, n)


def random_earlier(n: int, count: int, seed: int) -> EdgeIndex:
    """Position i hears `count` draws, with replacement, from 0…i."""
    at_least("the number of nodes", n, 0)
    at_least("the number of random edges", count, 0)
    target = torch.arange(n)[:, None].expand(n, count)
    draws = torch.from_numpy(np.random.default_rng(seed).random((n, count)))
    source = (draws * (target + 1)).long()
    return from_keys((target * n + source).flatten(), n)


def bigbird(
    n: int, window: int, num_global: int, num_random: int, causal: bool = False, seed: int = 0
) -> EdgeIndex:
    """Window, global tokens and random edges together (Zaheer et al. 2020, section 2).

    Random edges go to earlier positions, and two-sided also back.
    """
    random = random_earlier(n, num_random, seed)
    parts = [
        sliding_window(n, window, causal),
        global_tokens(n, num_global, causal),
        random if causal else both_ways(random, n),
    ]
    return union(parts, n)


def expander(n: int, degree: int, seed: int = 0) -> EdgeIndex:
    """Degree / 2 random cycles through all nodes, both ways, and every node itself.

    Such a graph is an expander with high probability (Friedman 2003; as attention: Shirzad et al.
    2023, section 3): log n hops lead anywhere.
    """
    at_least("the number of nodes", n, 0)
    at_least("the degree", degree, 2)
    if degree % 2:
        raise BadInput(f"an expander of random cycles has an even degree, not {degree}")
    rng = np.random.default_rng(seed)
    parts = [offsets(n, torch.zeros(1, dtype=torch.long))]
    for _ in range(degree // 2):
        order = torch.from_numpy(rng.permutation(n))
        parts.append(both_ways(torch.stack((order, order.roll(1))), n))
    return union(parts, n)
