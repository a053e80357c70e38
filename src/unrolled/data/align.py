"""Which sentence of one translation is which of another, when their numbers don't tell?

Two Englishes share much of their letters, however they spell: sentences are alike by the runs of
four letters they have in common (cognates: Simard, Foster, Isabelle 1992), and the order-keeping
alignment of greatest total likeness is found by dynamic programming (Needleman, Wunsch 1970).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

RUN = 4
"""Letters that are compared together."""
LEAST = 0.03
"""Sentences less alike than this are never paired; real pairs of Wycliffe's have 0.07–0.5."""


def align(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs (i, j), both ascending, of sentences that say the same; some may stay alone."""
    a, b = [_runs(text) for text in ours], [_runs(text) for text in theirs]
    gain = [[_likeness(x, y) - LEAST for y in b] for x in a]
    best = [[0.0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, row in enumerate(gain):
        above, here = best[i], best[i + 1]
        for j, value in enumerate(row):
            here[j + 1] = max(above[j + 1], here[j], above[j] + value)
    pairs = []
    i, j = len(a), len(b)
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]


def _runs(text: str) -> set[str]:
    """Every run of letters, with y as i and v as u: the difference was one of spelling."""
    plain = "".join(c for c in text.lower() if c.isalpha() or c == " ")
    plain = plain.replace("y", "i").replace("v", "u")
    return {plain[k : k + RUN] for k in range(len(plain) - RUN + 1)}


def _likeness(a: set[str], b: set[str]) -> float:
    """Cosine of the two sets: 0 without a common run, 1 for equal ones."""
    return len(a & b) / math.sqrt(max(len(a), 1) * max(len(b), 1))
