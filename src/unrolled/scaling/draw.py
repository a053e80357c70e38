"""What do the runs and their law look like? Loss against compute, isoFLOP curves, residuals."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from unrolled.errors import BadInput
from unrolled.pictures import picture, save
from unrolled.scaling.allocate import allocate
from unrolled.scaling.approaches import SAME_BUDGET
from unrolled.scaling.fit import Fit
from unrolled.scaling.law import Array

LINE, BAND = "#c0392b", 0.18
SIZES = "viridis"


def draw(fitted: Fit, path: str | os.PathLike[str], kind: str = "loss") -> None:
    """Draw a fit of a law of N and D.

    Args:
        fitted: with bootstrap samples the frontier has a band, 95 % of them.
        path: where to; the ending, .png or .svg, chooses the format.
        kind: loss (against compute, with the frontier), isoflop, residuals, or all side by side.

    Raises:
        BadInput: an unknown kind or ending, a law without N or D, a place that can't be written.
    """
    path = picture(path)
    panels: dict[str, Callable[[Any, Fit], None]] = {
        "loss": loss_against_compute,
        "isoflop": isoflop_curves,
        "residuals": residuals,
    }
    if kind not in (*panels, "all"):
        raise BadInput(f"there are the pictures {', '.join(panels)} and all, not {kind!r}")
    chosen = list(panels) if kind == "all" else [kind]
    figure = Figure(figsize=(5.6 * len(chosen), 4.2), layout="constrained")
    axes = figure.subplots(1, len(chosen), squeeze=False)[0]
    for axis, name in zip(axes, chosen, strict=True):
        panels[name](axis, fitted)
    save(figure, path)


def loss_against_compute(axes: Any, fitted: Fit) -> None:
    """Each run, the law along each size, and the frontier with its band."""
    runs = fitted.runs
    colour = colours(runs.parameters)
    for size in np.unique(runs.parameters):
        own = runs.parameters == size
        if own.sum() > 1:
            D = np.geomspace(runs.tokens[own].min(), runs.tokens[own].max(), 40)
            axes.plot(6 * size * D, curve(fitted, size, D), color=colour(size), linewidth=0.8)
    axes.scatter(
        runs.compute, runs.loss, c=np.log(runs.parameters), cmap=SIZES, s=18, zorder=3, linewidths=0
    )
    C = np.geomspace(runs.compute.min() / 3, runs.compute.max() * 10, 60)
    best = [allocate(fitted, c) for c in C]
    axes.plot(C, [b.loss for b in best], color=LINE, label="compute-optimal (fitted)")
    if fitted.samples is not None:
        ends = np.array([b.intervals["loss"] for b in best])
        axes.fill_between(C, *ends.T, color=LINE, alpha=BAND, linewidth=0, label="95 %")
    logarithmic(axes, "training compute 6 N D, FLOPs", "held-out loss, nats a token")
    bar(axes, runs.parameters)
    axes.legend(frameon=False, fontsize=8)


def isoflop_curves(axes: Any, fitted: Fit) -> None:
    """Runs of equal compute against N, the law along each budget, and where it is least."""
    runs = fitted.runs
    order = np.argsort(runs.compute)
    cuts = np.flatnonzero(np.diff(np.log(runs.compute[order])) > np.log(SAME_BUDGET)) + 1
    groups = [group for group in np.split(order, cuts) if len(group) > 2]
    if not groups:
        raise BadInput("no three runs have the same compute: there are no isoFLOP curves to draw")
    palette = mpl.colormaps["plasma"](np.linspace(0, 0.85, len(groups)))
    for group, colour in zip(groups, palette, strict=True):
        C = float(np.exp(np.log(runs.compute[group]).mean()))
        N = np.geomspace(runs.parameters[group].min() / 1.5, runs.parameters[group].max() * 1.5, 80)
        axes.plot(N, predicted(fitted, N, C / 6 / N), color=colour, linewidth=1)
        axes.scatter(
            runs.parameters[group], runs.loss[group], color=colour, s=18, label=f"{C:.2g} FLOPs"
        )
        best = allocate(fitted, C)
        if N[0] <= best.parameters <= N[-1]:
            axes.plot(best.parameters, best.loss, marker="*", color=colour, markersize=11)
    logarithmic(axes, "parameters N", "held-out loss, nats a token")
    axes.legend(frameon=False, fontsize=8, title="star: the law's minimum", title_fontsize=8)


def residuals(axes: Any, fitted: Fit) -> None:
    """What the law leaves of each run, against compute; within the lines, within delta."""
    runs = fitted.runs
    axes.axhline(0, color="black", linewidth=0.8)
    for side in (-1, 1):
        axes.axhline(100 * side * fitted.delta, color="#999999", linewidth=0.6, linestyle=":")
    axes.scatter(
        runs.compute,
        -100 * fitted.residuals,
        c=np.log(runs.parameters),
        cmap=SIZES,
        s=18,
        linewidths=0,
    )
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xlabel("training compute 6 N D, FLOPs")
    axes.set_ylabel("measured over fitted loss, % (log)")
    bar(axes, runs.parameters)


def predicted(fitted: Fit, N: Array, D: Array) -> Array:
    """The law at sizes and tokens; for a law of repeated data, none repeated."""
    if not {"parameters", "tokens"} <= set(fitted.law.inputs):
        raise BadInput(f"pictures are of laws of parameters and tokens, not of {fitted.law.name}")
    inputs: dict[str, float | Array] = {"parameters": N, "tokens": D}
    if "unique_tokens" in fitted.law.inputs:
        inputs["unique_tokens"] = D
    return fitted.law.predict(fitted.parameters, **inputs)


def curve(fitted: Fit, size: float, D: Array) -> Array:
    """The law of one size."""
    return predicted(fitted, np.full_like(D, size), D)


def colours(parameters: Array) -> Callable[[float], Any]:
    """A colour for a size, by its logarithm."""
    scale = mpl.colors.LogNorm(parameters.min(), parameters.max())
    return lambda size: mpl.colormaps[SIZES](scale(size))


def bar(axes: Any, parameters: Array) -> None:
    """The key to the colours."""
    scale = mpl.colors.LogNorm(parameters.min(), parameters.max())
    axes.figure.colorbar(
        mpl.cm.ScalarMappable(scale, SIZES), ax=axes, label="parameters N", fraction=0.05
    )


def logarithmic(axes: Any, x: str, y: str) -> None:
    """Both axes logarithmic, plain numbers on the second."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=np.arange(1, 10, 0.5).tolist()))
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%.3g"))
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.tick_params(axis="y", which="both", labelsize=8)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
