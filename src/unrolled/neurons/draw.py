"""What does the answer look like?

Two inputs: the four corners of the square and the line w.x + b = 0, or for an inseparable function
the two segments that cross. Three inputs: the cube, and the plane or the segments. PNG or SVG.
"""

from __future__ import annotations

import os
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from unrolled.errors import BadInput
from unrolled.neurons.separate import Inseparable, Separable
from unrolled.neurons.truth_table import TruthTable
from unrolled.pictures import picture, save

TRUE, FALSE, FREE = "#d9772b", "#2f6db0", "#9a9a9a"  # told apart by the colour-blind, and by shape
MARKS = {"1": ("o", TRUE, "true"), "0": ("s", FALSE, "false"), "*": ("x", FREE, "either")}
MARGIN = 0.35


def draw(answer: Separable | Inseparable, path: str | os.PathLike[str], title: str = "") -> None:
    """Draw a function of two or three inputs.

    Args:
        answer: what `separate` returned.
        path: where to; the ending, .png or .svg, chooses the format.
        title: what the function is called; its truth table unless given.

    Raises:
        BadInput: another number of inputs, another ending, a place that can't be written.
    """
    if answer.table.inputs not in (2, 3):
        raise BadInput(f"pictures are for two or three inputs, this has {answer.table.inputs}")
    path = picture(path)
    figure = Figure(figsize=(4.4, 4.2), layout="constrained")
    axes = plane(figure, answer) if answer.table.inputs == 2 else cube(figure, answer)
    known = "one neuron" if isinstance(answer, Separable) else "no neuron"
    axes.set_title(f"{title or answer.table.bits}: {known}", fontsize=12)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=3, frameon=False)
    save(figure, path)


def corners(axes: Any, table: TruthTable) -> None:
    """The rows as points, marked by what the table says."""
    points = np.array([table.point(row) for row in range(len(table.bits))])
    for symbol, (marker, colour, name) in MARKS.items():
        here = points[[bit == symbol for bit in table.bits]]
        if len(here):
            axes.scatter(*here.T, s=130, marker=marker, color=colour, label=name, zorder=3)


def segments(axes: Any, answer: Inseparable) -> None:
    """The true rows of the refutation joined, and the false ones; the two figures share a point."""
    for multiples, symbol in ((answer.true, "1"), (answer.false, "0")):
        ends = np.array([answer.table.point(row) for row in sorted(multiples)])
        for a, b in combinations(ends, 2):
            axes.plot(*np.array([a, b]).T, color=MARKS[symbol][1], linewidth=2.5, zorder=2)
    total = sum(answer.true.values())
    parts = [times * np.array(answer.table.point(row)) for row, times in answer.true.items()]
    middle = np.sum(parts, axis=0) / total
    axes.scatter(*middle[:, None], s=60, color="black", marker="*", zorder=4)


def plane(figure: Figure, answer: Separable | Inseparable) -> Any:
    """Two inputs: the square."""
    axes = figure.add_subplot()
    low, high = -MARGIN, 1 + MARGIN
    if isinstance(answer, Separable):
        grid = np.array([low, high])  # enough: the sum is linear
        x, y = np.meshgrid(grid, grid)
        w, b = boundary(answer)
        value = w[0] * x + w[1] * y + b
        axes.contourf(x, y, value, levels=[-1e9, 0, 1e9], colors=[FALSE, TRUE], alpha=0.13)
        if any(w):
            axes.contour(x, y, value, levels=[0], colors="black", linewidths=1.5)
    else:
        segments(axes, answer)
    corners(axes, answer.table)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal", xticks=[0, 1], yticks=[0, 1])
    axes.set_xlabel(answer.table.names[0])
    axes.set_ylabel(answer.table.names[1], rotation=0)
    return axes


def boundary(answer: Separable) -> tuple[tuple[int, ...], float]:
    """The weights and a bias that draws the boundary halfway between true and false rows.

    The neuron's own has the lowest true row on it; moved by half the gap, it is the same neuron on
    all rows and one sees on which side they lie.
    """
    rows = [answer.table.point(row) for row in range(len(answer.table.bits))]
    sums = [sum(w * x for w, x in zip(answer.weights, row, strict=True)) for row in rows]
    values = [value + answer.bias for value in sums]
    below = [value for value in values if value < 0]
    above = [value for value in values if value >= 0]
    if not below or not above:
        return answer.weights, float(answer.bias)
    return answer.weights, answer.bias - (max(below) + min(above)) / 2


def cube(figure: Figure, answer: Separable | Inseparable) -> Any:
    """Three inputs: the cube."""
    axes: Any = figure.add_subplot(projection="3d")
    for i in range(8):
        for bit in (1, 2, 4):
            if not i & bit:
                ends = np.array([[(i >> s & 1), (i | bit) >> s & 1] for s in (2, 1, 0)])
                axes.plot(*ends, color="#bbbbbb", linewidth=0.8, zorder=1)
    if isinstance(answer, Separable):
        polygon = cut(*boundary(answer))
        if len(polygon) >= 3:
            axes.plot_trisurf(*polygon.T, triangles=fan(len(polygon)), color="black", alpha=0.18)
            axes.plot(*np.vstack([polygon, polygon[:1]]).T, color="black", linewidth=1.2)
    else:
        segments(axes, answer)
    corners(axes, answer.table)
    axes.set(xticks=[0, 1], yticks=[0, 1], zticks=[0, 1])
    for setter, name in zip(
        (axes.set_xlabel, axes.set_ylabel, axes.set_zlabel), answer.table.names, strict=True
    ):
        setter(name)
    axes.view_init(elev=18, azim=-62)
    axes.set_box_aspect((1, 1, 1))
    return axes


def cut(weights: tuple[int, ...], bias: float) -> np.ndarray:
    """The polygon in which the plane w.x + b = 0 cuts the cube, corners in order around it."""
    points = []
    for i in range(8):
        for k, bit in enumerate((4, 2, 1)):
            if i & bit:
                continue
            start = np.array([i >> s & 1 for s in (2, 1, 0)], dtype=float)
            value = start @ weights + bias
            if weights[k] and 0 <= -value / weights[k] <= 1:
                start[k] = -value / weights[k]
                points.append(start)
    if not points:
        return np.zeros((0, 3))
    unique = np.unique(np.round(points, 9), axis=0)
    centred = unique - unique.mean(axis=0)
    _, _, axes = np.linalg.svd(centred)
    angles = np.arctan2(centred @ axes[1], centred @ axes[0])
    return np.asarray(unique[np.argsort(angles)])


def fan(size: int) -> list[list[int]]:
    """A convex polygon's triangles."""
    return [[0, k, k + 1] for k in range(1, size - 1)]
