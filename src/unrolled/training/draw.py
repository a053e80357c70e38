"""The loss curve: what a run's metrics.jsonl looks like, alone or beside those of other runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unrolled.models.store import write_atomically
from unrolled.training.log import read_metrics

COLOURS = ("#4477aa", "#cc6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
"""Of runs side by side: Tol's bright scheme, which the colour-blind can tell apart."""


def draw_loss(folder: Path, path: Path) -> None:
    """Draw training and validation loss over the steps, on a logarithmic axis, as PNG or SVG."""
    axes = loss_axes()
    plot(axes, folder, "loss", "training", color="#4477aa", linewidth=1.2)
    plot(axes, folder, "validation_loss", "held out", color="#cc6677", marker="o", markersize=4)
    write(axes, path)


def compare_losses(runs: Mapping[str, Path], path: Path) -> None:
    """Draw the losses of several runs, by name, over the steps: thin in training, dots held out."""
    axes = loss_axes()
    for number, (name, folder) in enumerate(runs.items()):
        colour = COLOURS[number % len(COLOURS)]
        plot(axes, folder, "loss", "", color=colour, linewidth=0.7, alpha=0.5)
        plot(axes, folder, "validation_loss", name, color=colour, marker="o", markersize=4)
    write(axes, path)


def loss_axes() -> Any:
    """Axes of the loss over the steps."""
    from matplotlib.figure import Figure  # slow to import, and not every command draws

    axes = Figure(figsize=(7, 4), layout="constrained").subplots()
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss a target token, nats")
    axes.grid(alpha=0.3, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def plot(axes: Any, folder: Path, column: str, label: str, **style: Any) -> None:
    """One column of a run's measurements, where it has any that a logarithm can show."""
    rows = read_metrics(folder)
    if points := [(row["step"], row[column]) for row in rows if row.get(column, 0) > 0]:
        axes.plot(*zip(*points, strict=True), label=label or None, **style)


def write(axes: Any, path: Path) -> None:
    """Write the picture, whole or not at all; the same curves are the same bytes."""
    import matplotlib as mpl

    if axes.lines:
        axes.legend(frameon=False)
    kind = path.suffix.removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else {}
    with mpl.rc_context({"svg.hashsalt": "unrolled"}):
        write_atomically(
            path,
            lambda part: axes.figure.savefig(part, format=kind, dpi=150, metadata=metadata),
        )
