"""The loss curve: what a run's metrics.jsonl looks like."""

from __future__ import annotations

from pathlib import Path

from unrolled.models.store import write_atomically
from unrolled.training.log import read_metrics


def draw_loss(folder: Path, path: Path) -> None:
    """Draw training and validation loss over the steps, on a logarithmic axis, as PNG or SVG."""
    from matplotlib.figure import Figure  # slow to import, and not every command draws

    rows = read_metrics(folder)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, label, style in (
        ("loss", "training", {"color": "#4477aa", "linewidth": 1.2}),
        ("validation_loss", "held out", {"color": "#cc6677", "marker": "o", "markersize": 4}),
    ):
        points = [(row["step"], row[name]) for row in rows if row.get(name, 0) > 0]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)  # type: ignore[arg-type]
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss a target token, nats")
    axes.grid(alpha=0.3, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
    kind = path.suffix.removeprefix(".")
    write_atomically(path, lambda part: figure.savefig(part, format=kind, dpi=150))
