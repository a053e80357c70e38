"""How does one say in words and tables what was compiled, and what its gates do on a string?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unrolled.automata.compiled import Compiled
from unrolled.automata.dfa import letters_of
from unrolled.automata.lstm import GATES, Matrix
from unrolled.errors import printable

WRITTEN_OUT = 4  # units up to which weights are printed
SHOWN = 4  # units whose gates are printed in a table; of more, those that are on


def explain(answer: Compiled) -> str:
    """The automaton, the LSTM, and its weights where they fit."""
    dfa, lstm = answer.dfa, answer.lstm
    size = lstm.hidden_size
    lines = [
        f"Automaton: {len(dfa.states)} state{'' if len(dfa.states) == 1 else 's'} "
        f"over {letters_of(dfa)}, start {printable(dfa.start)}, "
        f"accepting {listed(sorted(dfa.accepting)) or 'nothing'}.",
        f"LSTM: {size} hidden unit{'' if size == 1 else 's'}, {lstm.gates} gates "
        f"({answer.construction}).",
    ]
    if lstm.gates == "soft":
        lines.append(
            f"Right in real arithmetic, and wherever each step is computed to within "
            f"{answer.margin:.3g}."
        )
    if 0 < size <= WRITTEN_OUT and lstm.input_size <= 2 * WRITTEN_OUT:
        lines += ["", "    weights on [h, x], and biases:", ""]
        for gate in GATES:
            W: Matrix = getattr(lstm, f"W_{gate}")
            b = getattr(lstm, f"b_{gate}")
            lines.append(f"    W_{gate} = {rows(W.dense)}   b_{gate} = {row(b)}")
        codes = [
            f"{printable(a)} = {row(x)}" for a, x in zip(dfa.alphabet, answer.inputs, strict=True)
        ]
        lines += ["", f"    x of {', '.join(codes)};  h_0 = {row(lstm.h0)}, C_0 = {row(lstm.C0)}"]
        lines.append(f"    accepts where {row(answer.readout)} . h + {answer.readout_bias:g} >= 0")
    return "\n".join(lines)


def listed(names: Sequence[str]) -> str:
    """Some names, and how many there are if they are many."""
    shown = [printable(name) for name in names[:8]]
    return ", ".join(shown) if len(names) <= 8 else f"{', '.join(shown[:6])}, ... ({len(names)})"


def row(values: np.ndarray) -> str:
    """A vector, short."""
    return "[" + " ".join(f"{value:.6g}" for value in np.asarray(values).tolist()) + "]"


def rows(values: np.ndarray) -> str:
    """A matrix on one line."""
    return row(values[0]) if len(values) == 1 else "[" + " ".join(row(v) for v in values) + "]"


def table(answer: Compiled, string: str | Sequence[str]) -> str:
    """The gates, C and h after each symbol of a string, with the automaton's state.

    All units where they are few; otherwise of each step the units whose h is above half.

    Raises:
        BadInput: a symbol outside the alphabet.
    """
    steps = answer.run(string)
    accepted = answer.read(steps.h) if len(steps.h) else np.zeros(0, dtype=bool)
    few = answer.lstm.hidden_size <= SHOWN
    header = [
        "t",
        "symbol",
        *(() if few else ("unit",)),
        "f",
        "i",
        "C~",
        "o",
        "C",
        "h",
        "state",
        "",
    ]
    lines, state = [header], answer.dfa.start
    for t, symbol in enumerate(string):
        state = answer.dfa.transitions[state][symbol]
        units = np.arange(answer.lstm.hidden_size)
        on = units if few else np.flatnonzero(np.abs(steps.h[t]) > 0.5)
        cells = [" ".join(shown(value) for value in part[t, on].tolist()) for part in steps]
        names = [] if few else [" ".join(str(u) for u in on.tolist()) or "-"]
        verdict = "accept" if accepted[t] else "reject"
        row_of = [printable(symbol), *names, *cells, printable(state), verdict]
        lines.append([str(t + 1), *row_of])
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    aligned = (
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join("    " + line for line in aligned)


def shown(value: float) -> str:
    """A whole number as one, another with three decimals."""
    text = f"{value:.0f}" if float(value).is_integer() else f"{value:.3f}"
    return text.removeprefix("-") if not text.strip("-0.") else text
