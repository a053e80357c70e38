"""What did the search look at? The beam as a tree: kept, completed, rejected, and where it stopped.

A column a step, a row a rank in the beam; the answer in bold; the best rejected candidate of each
step below the beam. PNG or SVG.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from unrolled.decoding.decoded import Decoded
from unrolled.pictures import picture, save

KEPT, COMPLETED, REJECTED = "#2f6db0", "#d9772b", "#9a9a9a"


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
    width = min(40.0, 2.2 + 1.5 * decoded.steps)
    deepest = max(len(step.kept) for step in decoded.trace)
    figure = Figure(figsize=(width, min(30.0, 1.8 + 0.62 * (deepest + 1))), layout="constrained")
    axes = figure.add_subplot()
    _tree(axes, decoded, text, deepest)
    stop = decoded.steps + 0.5
    axes.axvline(stop, color="black", linestyle="--", linewidth=1.2, label="stop")
    axes.set(xlim=(-0.4, stop + 0.3), ylim=(deepest + 0.7, -0.8), yticks=[])
    axes.set_xticks(range(1, decoded.steps + 1))
    axes.set_xlabel("step")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_title(f"{title}\n{decoded.reason}".strip(), fontsize=9)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncol=5, frameon=False, fontsize=8)
    save(figure, path)


def _tree(axes: Any, decoded: Decoded, text: Callable[[int], str], deepest: int) -> None:
    bold = decoded.places()
    named: set[str] = set()

    def once(label: str) -> str:
        known = label in named
        named.add(label)
        return "" if known else label

    axes.scatter([0], [0], s=40, color="black")
    for t, step in enumerate(decoded.trace, 1):
        for rank, kept in enumerate(step.kept):
            best = (t, rank) in bold
            done = kept.token == decoded.end_token
            colour = COMPLETED if done else KEPT
            before = kept.parent if t > 1 else 0
            axes.plot([t - 1, t], [before, rank], zorder=1, color="black" if best else colour,
                      linewidth=2.6 if best else 0.9, alpha=1.0 if best else 0.6)  # fmt: skip
            axes.scatter([t], [rank], s=46, color=colour, marker="s" if done else "o", zorder=2,
                         edgecolors="black" if best else "none", linewidths=1.6,
                         label=once("completed" if done else "kept"))  # fmt: skip
            label = f"{text(kept.token)}\n{kept.total:.2f}"
            axes.annotate(label, (t, rank), xytext=(0, 6), textcoords="offset points", ha="center",
                          fontsize=7, fontweight="bold" if best else "normal",
                          parse_math=False)  # fmt: skip
        if step.rejected is not None:
            axes.scatter([t], [deepest], s=36, marker="x", color=REJECTED,
                         label=once("best rejected"))  # fmt: skip
            axes.annotate(f"{step.rejected:.2f}", (t, deepest), xytext=(0, 6), fontsize=7,
                          textcoords="offset points", ha="center", color=REJECTED)  # fmt: skip
    if bold:
        axes.plot([], [], color="black", linewidth=2.6, label="the answer")
