"""The problem of the set: which eight parameters make C_t the parity of the bits read so far?

x xor y = (x ∧ ¬y) ∨ (¬x ∧ y) fits C_t = f * C_{t-1} + i * C̃: keep the old parity where the bit is 0
(f = ¬x), add 1 where the bit is 1 and the old parity is 0 (i = x ∧ ¬h), C̃ = 1. With o = 1, h is C.
Assumed: h_0 = C_0 = 0, and the input x_t is the bit itself.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from unrolled.automata.compiled import Compiled
from unrolled.automata.compiler import ON, UNDO
from unrolled.automata.dfa import named
from unrolled.automata.lstm import LSTM

SHARPNESS = 12  # of the soft gates


def parity(gates: Literal["hard", "soft"] = "hard") -> Compiled:
    """One hidden unit whose cell state C_t is the parity of the bits so far, not only its h_t.

    Hard gates: C_t is 0 or 1 exactly. Soft gates: C_t stays within 1/32 of it, for any number of
    bits. A real gate f < 1 can't keep a number for ever, so there the weights are others: C is
    written anew.

    >>> parity().run("0110100").C[:, 0]
    array([0., 1., 0., 0., 1., 1., 1.])
    """
    dfa = named("parity")
    evidence: dict[str, Any]
    if gates == "hard":
        lstm = LSTM.from_arrays(
            "hard",
            *([[0, -2]], [1]),  # f = 1 where x = 0
            *([[-2, 2]], [-1]),  # i = 1 where x = 1 and h = 0
            *([[0, 0]], [1]),  # C̃ = 1
            *([[0, 0]], [1]),  # o = 1
        )
        on = {"h": [[0, 1, 1]], "C": [[0, 1, 1]]}
        rest = {"h": [0, 0], "C": [0, 0]}
        evidence = {"rest": rest, "boxes": {"0": [{"h": [], "C": []}], "1": [on]}}
        weight = 2.0
    else:
        lstm, evidence, weight = soft_parity()
    words = "parity in C itself: f = not x, i = x and not h, candidate 1"
    if gates == "soft":
        words = "parity in C itself: f = h and x, i = h or x, candidate 1 or, where both are 1, -1"
    return Compiled(dfa, lstm, np.array([[0.0], [1.0]]), np.array([weight]), -1.0, evidence, words)


def soft_parity() -> tuple[LSTM, dict[str, Any], float]:
    """The soft gates, their boxes, and the readout's weight.

    x xor y = (x ∨ y) - (x ∧ y): f = h ∧ x, i = h ∨ x, and C̃ is -1 where both are 1, else 1. Then C
    is made anew from saturated gates wherever it was off or the bit is 0, so no error is kept; only
    from (1, 1) one comes along, C - 1, and it is gone a bit later.
    """
    s = float(SHARPNESS)
    on_h, on_x = 2 * s * UNDO, 2 * s  # h is near 0 or tanh(1)
    lstm = LSTM.from_arrays(
        "soft",
        *([[on_h, on_x]], [-3 * s]),
        *([[on_h, on_x]], [-s]),
        *([[-on_h, -on_x]], [3 * s]),
        *([[0, 0]], [s]),
    )
    wide = 1 / 64
    on = {"h": [[0, ON - wide, ON + wide]], "C": [[0, 1 - wide, 1 + wide]]}
    evidence = {
        "rest": {"h": [-2 * wide, 2 * wide], "C": [-2 * wide, 2 * wide]},
        "boxes": {"0": [{"h": [], "C": []}], "1": [on]},
        "margin": wide / 4,
    }
    return lstm, evidence, 2 * UNDO
