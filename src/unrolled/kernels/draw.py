"""How far off is each format, for how many bits? Drawn for weights of three kinds.

Beside the formats stands what no code can beat on normal weights: with R bits a weight the root
mean square error is at least 2^-R of the weights' own (Shannon 1959, the rate-distortion function
of a Gaussian source).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from unrolled.kernels.formats import FORMATS, pack, unpack
from unrolled.pictures import picture, save

SHAPE = (256, 1024)


def kinds() -> dict[str, Float32[np.ndarray, "outputs inputs"]]:
    """Weights without large ones, as they are when drawn, and with many large ones (3 degrees)."""
    draw = np.random.default_rng(0)
    found = {
        "uniform": draw.uniform(-1.0, 1.0, SHAPE),
        "normal": draw.standard_normal(SHAPE),
        "Student's t": draw.standard_t(3, SHAPE),
    }
    return {name: weight.astype(np.float32) for name, weight in found.items()}


def cost(weight: Float32[np.ndarray, "outputs inputs"], format: str) -> tuple[float, float]:
    """Bits a weight, and the root mean square of W - Ŵ as a share of that of W."""
    packed = pack(weight, format)
    off = unpack(packed, weight.shape[1]).astype(np.float64) - weight
    share = np.sqrt(np.square(off).mean() / np.square(weight, dtype=np.float64).mean())
    return 8 * packed.nbytes / weight.size, float(share)


def draw_formats(path: Path) -> None:
    """Draw error against size, formats by kinds of weights, as PNG or SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for (name, weight), marker in zip(kinds().items(), "os^", strict=True):
        points = [cost(weight, format) for format in FORMATS[1:]]
        axes.semilogy(*zip(*points, strict=True), marker, label=f"{name} weights")
    bits = np.linspace(4.0, 17.0)
    axes.semilogy(bits, 2.0**-bits, "--", color="0.5", label="no code does better (normal)")
    for format in FORMATS[1:]:
        size, share = cost(kinds()["normal"], format)
        axes.annotate(format, (size, share), (0, 14), textcoords="offset points", ha="center")
    axes.set_xlim(4, 18)
    axes.set_ylim(1e-5, 0.4)
    axes.set_xlabel("bits a weight, units and groups included")
    axes.set_ylabel("error as a share of the weights")
    axes.legend(frameon=False, fontsize=8)
    save(figure, picture(path))
