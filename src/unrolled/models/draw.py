"""Who looks at whom, and how long are rotary waves? What the models themselves use, as pictures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from unrolled.models.attention import Sight, bidirectional, causal, rotary_frequencies
from unrolled.models.config import ModelConfig


def matrix(sight: Sight, queries: int, keys: int) -> Bool[Tensor, "query key"]:
    """A sight written out: True where a query may look at a key (of the first row of a batch)."""
    mask = sight.explicit(keys, torch.device("cpu"))
    if mask is None:
        return torch.ones(queries, keys, dtype=torch.bool)
    return mask[0, 0].expand(queries, keys)


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


def draw_rope_scaling(path: Path) -> None:
    """Draw how Llama 3.1 stretches its rotary waves: which are kept, blended, stretched."""
    from matplotlib.figure import Figure

    plain = ModelConfig(hidden_size=128, num_heads=1, rope_theta=500_000.0)
    scaled = replace(plain, rope_factor=8.0)
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    length = scaled.rope_original_positions
    low, high = length / scaled.rope_low_frequency, length / scaled.rope_high_frequency
    axes.axhspan(high, low, color="0.92")
    axes.text(1, (low * high) ** 0.5, "blended between these lengths", fontsize=8, va="center")
    for config, name, style in ((plain, "rope_factor 1", "--"), (scaled, "rope_factor 8", "-")):
        axes.semilogy(2 * math.pi / rotary_frequencies(config), style, label=name)
    axes.set_xlabel("pair of dimensions of a head")
    axes.set_ylabel("wavelength in tokens")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
