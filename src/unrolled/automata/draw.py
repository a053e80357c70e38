"""What does the automaton look like, and what do the gates do over time?

Left the graph, states on a circle; right, a row for each gate of each unit and a column for each
symbol of a string. PNG or SVG.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from unrolled.automata.compiled import Compiled
from unrolled.automata.dfa import DFA
from unrolled.errors import BadInput, printable
from unrolled.pictures import picture, save

MAX_STATES, MAX_UNITS, MAX_TIME = 24, 12, 60
NODE, ACCEPT = "#dbe7f3", "#f6d3b3"
LABELS = {"f": "f", "i": "i", "candidate": "C̃", "o": "o", "C": "C", "h": "h"}


def draw(answer: Compiled, path: str | os.PathLike[str], string: str | Sequence[str] = ()) -> None:
    """Draw the automaton's graph beside the gates over time for a string.

    Args:
        answer: what was compiled; at most 24 states, and with a string 12 units.
        path: where to; the ending, .png or .svg, chooses the format.
        string: at most 60 symbols; none, and there is only the graph.

    Raises:
        BadInput: more than fits a picture, another ending, a place that can't be written, a symbol
            outside the alphabet.
    """
    path = picture(path)
    if len(answer.dfa.states) > MAX_STATES:
        raise BadInput(
            f"a picture has room for {MAX_STATES} states, this has {len(answer.dfa.states)}"
        )
    if len(string) and (answer.lstm.hidden_size > MAX_UNITS or len(string) > MAX_TIME):
        raise BadInput(
            f"a picture has room for {MAX_UNITS} units and {MAX_TIME} symbols, this has "
            f"{answer.lstm.hidden_size} and {len(string)}; leave the string out, or shorten it"
        )
    units = answer.lstm.hidden_size if len(string) else 0
    size = (4.6 + (1.5 + 0.34 * len(string) if units else 0), max(4.2, 1.2 + 1.1 * units))
    figure = Figure(figsize=size, layout="constrained")
    if units:
        ratios = [4.2, 1 + 0.34 * len(string)]
        left, right = figure.subplots(1, 2, width_ratios=ratios)
        heat(right, answer, string)
    else:
        left = figure.subplots()
    graph(left, answer.dfa)
    save(figure, path)


def graph(axes: Any, dfa: DFA) -> None:
    """States on a circle, an arrow into the start on the left; accepting ones are ringed twice."""
    order = [dfa.start, *(state for state in dfa.states if state != dfa.start)]
    angle = np.pi - 2 * np.pi * np.arange(len(order)) / len(order)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (len(order) > 1)
    at = dict(zip(order, circle, strict=True))
    size = min(0.24, 2 / len(order))
    for p, moves in dfa.transitions.items():
        targets: dict[str, list[str]] = {}
        for symbol in dfa.alphabet:
            targets.setdefault(moves[symbol], []).append(symbol)
        for q, symbols in targets.items():
            arrow(axes, at[p], at[q], label(", ".join(symbols)), size)
    for state, place in at.items():
        accepts = state in dfa.accepting
        for radius in (size, 0.8 * size) if accepts else (size,):
            axes.add_patch(
                mpl.patches.Circle(
                    place,
                    radius,
                    facecolor=ACCEPT if accepts else NODE,
                    edgecolor="black",
                    zorder=3,
                )
            )
        axes.text(*place, label(state), ha="center", va="center", zorder=4, fontsize=10)
    x, y = at[dfa.start]
    axes.annotate(
        "",
        (x - 0.7 * size, y - 0.7 * size),
        (x - size - 0.2, y - size - 0.2),
        arrowprops={"arrowstyle": "-|>", "color": "black"},
    )
    axes.set(xlim=(-1.75, 1.6), ylim=(-1.6, 1.6), aspect="equal")
    axes.axis("off")


def label(name: str) -> str:
    """A name as a picture may hold it: no control characters, and no mathematics between $."""
    return printable(name).replace("$", r"\$")


def arrow(axes: Any, start: np.ndarray, end: np.ndarray, symbols: str, size: float) -> None:
    """A bent arrow from circle to circle, or a loop away from the middle, and its symbols."""
    if (start == end).all():
        out = start / np.linalg.norm(start) if start.any() else np.array([0.0, 1.0])
        side = np.array([-out[1], out[0]])
        a, b = (start + size * (0.8 * out + sign * 0.6 * side) for sign in (1, -1))
        style, text = "arc3,rad=-1.6", start + out * (size + 0.33)
    else:
        way = (end - start) / np.linalg.norm(end - start)
        side = np.array([-way[1], way[0]])
        a, b = start + size * (way + 0.25 * side), end - size * (way - 0.25 * side)
        style, text = "arc3,rad=-0.18", (a + b) / 2 + 0.24 * side
    axes.add_patch(
        FancyArrowPatch(
            tuple(a),
            tuple(b),
            connectionstyle=style,
            arrowstyle="-|>",
            mutation_scale=11,
            color="black",
            zorder=2,
        )
    )
    axes.text(*text, symbols, ha="center", va="center", fontsize=9, color="#333333")


def heat(axes: Any, answer: Compiled, string: str | Sequence[str]) -> None:
    """Gates, C and h of each unit over time, -1 violet to 1 orange, the values written in."""
    steps = answer.run(string)
    units = answer.lstm.hidden_size
    values = np.concatenate([np.stack([part[:, u] for part in steps]) for u in range(units)])
    axes.imshow(values, cmap="PuOr_r", vmin=-1.6, vmax=1.6, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        text = f"{value:.0f}" if answer.lstm.gates == "hard" else f"{value:.1f}"
        text = text.removeprefix("-") if not text.strip("-0.") else text
        axes.text(x, y, text, ha="center", va="center", fontsize=8)
    names = [
        LABELS[name] + (f" {u}" if units > 1 else "")
        for u in range(units)
        for name in steps._fields
    ]
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(range(len(string)), [label(symbol) for symbol in string])
    for u in range(1, units):
        axes.axhline(6 * u - 0.5, color="black", linewidth=1)
    axes.tick_params(length=0)
    verdicts = ["✓" if yes else "·" for yes in answer.read(steps.h).tolist()]
    top = axes.secondary_xaxis("top")
    top.set_xticks(range(len(string)), verdicts)
    top.tick_params(length=0)
    axes.set_xlabel("symbols; ✓ accepted so far")
