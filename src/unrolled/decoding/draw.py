"""What did the search look at? The beam as a tree: kept, completed, rejected, and where it stopped.

A column a step, a row a rank in the beam; the answer in bold; the best rejected candidate of each
step below the beam. A long search is written like a long text, in lines one below the other. PNG or
SVG.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from unrolled.decoding.decoded import Decoded
from unrolled.pictures import picture, save

KEPT, COMPLETED, REJECTED = "#2f6db0", "#d9772b", "#8a8a8a"
MOST_STEPS = 12
"""Steps in a line of the picture, at most: so wide is a page on which the labels can be read."""
COLUMN, ROW = 0.85, 0.58
"""Inches of a step and of a rank."""
LONGEST_LABEL = 12
"""Characters of a token that a column has room for."""
TALLEST = 400.0
"""Inches; a PNG file has at most 65,536 pixels, and an inch 150."""


class Page:
    """Where on the page a step and a rank stand."""

    def __init__(self, steps: int, ranks: int) -> None:
        self.lines = math.ceil(steps / MOST_STEPS)
        self.columns = math.ceil(steps / self.lines)
        self.pitch = ranks + 2.4
        """Rows from one line to the next: the ranks, the rejected, the steps' numbers."""

    def at(self, step: int, rank: float) -> tuple[float, float]:
        """The place of a candidate; step 0 is the root, in front of the first."""
        if step == 0:
            return 0.0, rank
        line, column = divmod(step - 1, self.columns)
        return column + 1.0, rank + line * self.pitch

    def edge(self, step: int, parent: int, rank: int) -> list[tuple[list[float], list[float]]]:
        """The strokes to a candidate of this step: two where a line of the page ends between."""
        (x0, y0), (x1, y1) = self.at(step - 1, parent), self.at(step, rank)
        if x0 < x1:
            return [([x0, x1], [y0, y1])]
        above = parent + (y1 - rank)
        return [([x0, x0 + 0.5], [y0, y0]), ([0.25, x1], [above, y1])]


def draw(
    decoded: Decoded,
    path: str | os.PathLike[str],
    *,
    text: Callable[[int], str] = str,
    title: str = "",
) -> None:
    """Draw a search of one source; `text` gives a token's label.

    Raises `BadInput` for another ending than .png or .svg, and a place that can't be written.
    """
    path = picture(path)
    ranks = max(len(step.kept) for step in decoded.trace)
    page = Page(decoded.steps, ranks)
    width, rows = page.columns + 0.9, page.lines * page.pitch
    size = (max(6.0, COLUMN * width), min(TALLEST, ROW * rows + 1.2))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-0.3, width - 0.3), ylim=(rows - 0.6, -1.0))
    axes.axis("off")
    _tree(axes, decoded, text, page, ranks)
    x, top = page.at(decoded.steps, -0.9)
    axes.plot([x + 0.42, x + 0.42], [top, top + ranks + 1.3], color="black", linestyle="--",
              linewidth=1.2, label="stop")  # fmt: skip
    axes.set_title(f"{title}\n{decoded.reason}".strip(), fontsize=9, wrap=True)
    figure.legend(loc="outside lower center", ncol=5, frameon=False, fontsize=8)
    save(figure, path)


def _tree(axes: Any, decoded: Decoded, text: Callable[[int], str], page: Page, ranks: int) -> None:
    bold = decoded.places()
    named: set[str] = set()
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8}

    def once(label: str) -> str:
        known = label in named
        named.add(label)
        return "" if known else label

    def write(words: str, place: tuple[float, float], **style: Any) -> None:
        axes.annotate(words, place, xytext=(0, 6), textcoords="offset points", ha="center",
                      fontsize=7, parse_math=False, bbox=behind, **style)  # fmt: skip

    axes.scatter([0], [0], s=40, color="black")
    for t, step in enumerate(decoded.trace, 1):
        axes.text(*page.at(t, -0.9), str(t), ha="center", va="center", fontsize=7, color=REJECTED)
        for rank, kept in enumerate(step.kept):
            best = (t, rank) in bold
            done = kept.token == decoded.end_token
            colour = COMPLETED if done else KEPT
            for stroke in page.edge(t, kept.parent if t > 1 else 0, rank):
                axes.plot(*stroke, zorder=1, color="black" if best else colour,
                          linewidth=2.6 if best else 0.9, alpha=1.0 if best else 0.6)  # fmt: skip
            place = page.at(t, rank)
            axes.scatter(*place, s=46, color=colour, marker="s" if done else "o", zorder=2,
                         edgecolors="black" if best else "none", linewidths=1.6,
                         label=once("completed" if done else "kept"))  # fmt: skip
            weight = "bold" if best else "normal"
            write(f"{short(text(kept.token))}\n{kept.total:.2f}", place, fontweight=weight)
        if step.rejected is not None:
            place = page.at(t, ranks)
            axes.scatter(*place, s=36, marker="x", color=REJECTED, label=once("best rejected"))
            write(f"{step.rejected:.2f}", place, color=REJECTED)
    if bold:
        axes.plot([], [], color="black", linewidth=2.6, label="the answer")


def short(label: str) -> str:
    """A token's label, no longer than its column is wide."""
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
