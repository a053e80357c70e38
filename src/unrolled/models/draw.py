"""Who looks at whom? The masks that the models themselves use, as pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from unrolled.models.attention import Sight, bidirectional, causal


def matrix(sight: Sight, queries: int, keys: int) -> Bool[Tensor, "query key"]:
    """A sight written out: True where a query may look at a key (of the first row of a batch)."""
    if sight.mask is not None:
        return sight.mask[0, 0].expand(queries, keys)
    everything = torch.ones(queries, keys, dtype=torch.bool)
    return everything.tril(keys - queries) if sight.causal else everything


def sights() -> dict[str, Bool[Tensor, "query key"]]:
    """The kinds there are, on eight positions."""
    size = 8
    real = torch.arange(size)[None] < 6
    documents = torch.tensor([[1, 1, 1, 2, 2, 2, 2, 0]])
    late = torch.arange(size)[None] >= 2
    return {
        "encoder\n(6, 7 padding)": matrix(bidirectional(real), size, size),
        "decoder": matrix(causal(size, 0, None), size, size),
        "decoder, packed\n(3 + 4 tokens, 7 padding)": matrix(
            causal(size, 0, None, documents), size, size
        ),
        "decoder, left-padded\n(0, 1 padding)": matrix(causal(size, 0, late), size, size),
        "two new tokens\nbehind a cache of six": matrix(causal(2, 6, None), 2, size),
    }


def draw_sights(path: Path) -> None:
    """Draw every kind side by side, queries down and keys across, as PNG or SVG."""
    from matplotlib.figure import Figure

    kinds = sights()
    figure = Figure(figsize=(2.4 * len(kinds), 2.9), layout="constrained")
    for axes, (name, seen) in zip(figure.subplots(1, len(kinds)), kinds.items(), strict=True):
        axes.pcolormesh(seen.numpy(), cmap="Blues", vmin=0, vmax=1.4, edgecolors="white")
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.set_title(name, fontsize=9)
        axes.set_xticks([i + 0.5 for i in range(seen.shape[1])], range(seen.shape[1]), fontsize=7)
        first = seen.shape[1] - seen.shape[0]
        rows = range(first, seen.shape[1])
        axes.set_yticks([i + 0.5 for i in range(seen.shape[0])], rows, fontsize=7)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.supxlabel("key", fontsize=9)
    figure.supylabel("query", fontsize=9)
    figure.savefig(path, dpi=120)
