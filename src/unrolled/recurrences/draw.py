"""What does a recurrence look like?

Left the eigenvalues in the complex plane with their discs and the unit circle, right the norm of
h_t or of (W^T)^t on a logarithmic axis, with the asymptote. Gradient norms by layer and step as a
heat map. PNG or SVG.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from unrolled.pictures import picture, save
from unrolled.recurrences.power import trajectory
from unrolled.recurrences.transient import log_norms
from unrolled.recurrences.verdict import Verdict, rate_of

INSIDE, OUTSIDE = "#2f6db0", "#d9772b"  # told apart by the colour-blind


def draw(
    answer: Verdict,
    path: str | os.PathLike[str],
    *,
    h0: npt.ArrayLike | None = None,
    steps: int = 60,
    title: str = "",
) -> None:
    """Draw eigenvalues and growth.

    Args:
        answer: what `verdict` returned.
        path: where to; the ending, .png or .svg, chooses the format.
        h0: the state whose norm is drawn; the norm of (W^T)^t unless given.
        steps: how far.
        title: above the picture.

    Raises:
        BadInput: another ending, a place that can't be written, h0 that doesn't fit.
    """
    path = picture(path)
    figure = Figure(figsize=(8.6, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    plane(left, answer)
    growth(right, answer, h0, steps)
    if title:
        figure.suptitle(title, fontsize=12)
    save(figure, path)


def plane(axes: Any, answer: Verdict) -> None:
    """The eigenvalues; a disc that is too small to be seen is its centre."""
    values, radii = answer.spectrum.eigenvalues, answer.spectrum.radii
    axes.add_patch(Circle((0, 0), 1, fill=False, color="#888888", linewidth=1))
    discs = [Circle((v.real, v.imag), r) for v, r in zip(values, radii, strict=True) if r < 10]
    if answer.spectrum.method != "powers":  # a power bounds the moduli, and tells no more
        axes.add_collection(PatchCollection(discs, alpha=0.2, color="#888888"))
    outside = np.abs(values) > 1 + 1e-9
    for which, colour, marker in ((~outside, INSIDE, "o"), (outside, OUTSIDE, "D")):
        axes.scatter(
            values.real[which], values.imag[which], s=22, color=colour, marker=marker, zorder=3
        )
    reach = 1.15 * max(1.0, float(np.abs(values).max()))
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set(xlabel="real part", ylabel="imaginary part", title="eigenvalues of W")


def growth(axes: Any, answer: Verdict, h0: npt.ArrayLike | None, steps: int) -> None:
    """Norms over t, and the slope of rho."""
    matrix = answer.spectrum.matrix
    if h0 is None:
        logs, name = log_norms(matrix.values, steps), r"$\|(W^\top)^t\|$"
    else:
        logs, name = trajectory(matrix, h0, steps), r"$\|h_t\|$"
    t = np.arange(len(logs))
    shown = np.where(np.isfinite(logs), logs, np.nan) / math.log(10)
    curves: list[tuple[npt.NDArray[np.float64], dict[str, Any]]] = [
        (shown, {"color": INSIDE, "label": name})
    ]
    finite = np.flatnonzero(np.isfinite(logs))
    # The long run of all h_0, or of this one.
    rate, degree = (answer.rate, answer.growth_degree) if h0 is None else (rate_of(matrix, h0), 0)
    if rate and len(finite) and finite[-1]:
        last = finite[-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            steps_back = degree * np.log10(t / last) if degree else 0.0
        line = shown[last] + (t - last) * math.log10(rate) + steps_back
        words = [f"t^{{{degree}}}"] * (degree > 0) + [r"\rho^t"] * (rate != 1 or not degree)
        label = f"${''.join(words)}$" + ("" if rate == 1 else rf"$,\ \rho={rate:.4g}$")
        curves.append(
            (line, {"color": OUTSIDE, "linestyle": "--", "linewidth": 1.2, "label": label})
        )
    drawable = [y[np.isfinite(y)] for y, _ in curves]
    # Beyond binary64 log10 of the numbers is drawn, and the axis says what it stands for.
    fits = all(np.abs(y).max(initial=0) < 300 for y in drawable)
    for y, style in curves:
        axes.plot(t, 10.0**y if fits else y, **style)
    if fits:
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_formatter(lambda y, _: rf"$10^{{{y:g}}}$")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="step t", title="norm over time")
    axes.legend(frameon=False)


def draw_heat(
    norms: Float[np.ndarray, "rows steps"], rows: list[str], path: str | os.PathLike[str]
) -> None:
    """Gradient norms, a row a layer and a column a time step, as a heat map of log10."""
    path = picture(path)
    figure = Figure(figsize=(7.5, 1.6 + 0.35 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    with np.errstate(divide="ignore"):
        logs = np.log10(norms)
    floor = logs[np.isfinite(logs)].min() if np.isfinite(logs).any() else 0.0
    image = axes.imshow(np.maximum(logs, floor), aspect="auto", cmap="viridis", origin="lower")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="time step", title="gradient norms", yticks=range(len(rows)), yticklabels=rows)
    figure.colorbar(image, label="log10")
    save(figure, path)
