"""Which numbers does the LSTM read for each symbol?

Two letters are one number, 0 or 1; more are one-hot, unless the user brings other vectors. Any
function of the letters has to be affine in them, so they must be affinely independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from unrolled.automata.dfa import DFA, letters_of
from unrolled.errors import BadInput

Alphabet = Literal["auto", "bit", "one-hot"] | Mapping[str, Sequence[float]]


@dataclass(frozen=True, eq=False)
class Encoding:
    """The inputs, and how to tell the letters apart in them.

    `letters[a]` . (x, 1) is `scale` for letter a and 0 for the others, in whole numbers.
    """

    inputs: Float[np.ndarray, "symbols inputs"]
    letters: Int[np.ndarray, "symbols inputs+1"]
    scale: int

    def affine(self, values: Sequence[int]) -> tuple[list[int], int]:
        """Weights and bias that give `scale` times the value of each letter."""
        row = np.asarray(values) @ self.letters
        return row[:-1].tolist(), int(row[-1])


def encode(dfa: DFA, alphabet: Alphabet) -> Encoding:
    """The encoding asked for.

    Raises:
        BadInput: "bit" for an alphabet that hasn't two letters; vectors that are missing, of
            different lengths, not finite, or affinely dependent.
    """
    size = len(dfa.alphabet)
    if isinstance(alphabet, Mapping):
        return own(dfa, alphabet)
    if alphabet == "bit" and size != 2:
        raise BadInput(f'"bit" is for alphabets of two letters, this has {size}; use "one-hot"')
    if alphabet == "bit" or (alphabet == "auto" and size == 2):
        return Encoding(np.array([[0.0], [1.0]]), np.array([[-1, 1], [1, 0]]), 1)
    if alphabet not in ("auto", "one-hot"):
        raise BadInput(f'the encoding is "auto", "bit", "one-hot" or vectors, got {alphabet!r}')
    identity = np.eye(size, dtype=np.int64)
    return Encoding(np.eye(size), np.hstack([identity, np.zeros((size, 1), dtype=np.int64)]), 1)


def own(dfa: DFA, vectors: Mapping[str, Sequence[float]]) -> Encoding:
    """The user's own vectors, solved for the letters in exact fractions."""
    if set(vectors) != set(dfa.alphabet):
        raise BadInput(f"give a vector for each symbol, {letters_of(dfa)}, and no other")
    rows = [[float(v) for v in vectors[a]] for a in dfa.alphabet]
    width = len(rows[0])
    if not width or any(len(row) != width for row in rows) or not np.isfinite(rows).all():
        raise BadInput("the vectors of the symbols are finite and of one length, at least 1")
    columns = width + 1
    # Each row of X, extended by the identity, reduced: then X S = 1 for the S that is read off.
    table = [
        [*map(Fraction, row), Fraction(1), *(Fraction(int(k == j)) for j in range(len(rows)))]
        for k, row in enumerate(rows)
    ]
    pivots: list[int] = []
    for column in range(columns):
        k = len(pivots)
        found = next((r for r in range(k, len(table)) if table[r][column]), None)
        if found is None:
            continue
        table[k], table[found] = table[found], table[k]
        table[k] = [v / table[k][column] for v in table[k]]
        for r in range(len(table)):
            if r != k and table[r][column]:
                factor = table[r][column]
                table[r] = [v - factor * w for v, w in zip(table[r], table[k], strict=True)]
        pivots.append(column)
    if len(pivots) < len(rows):
        raise BadInput(
            f"the vectors of the {len(rows)} symbols are affinely dependent (one is a mean of "
            'others); use "one-hot"'
        )
    solution = [[Fraction(0)] * columns for _ in rows]
    for k, column in enumerate(pivots):
        for letter in range(len(rows)):
            solution[letter][column] = table[k][columns + letter]
    scale = math.lcm(*(v.denominator for row in solution for v in row))
    if scale > 2**20 or any(abs(v) * scale > 2**20 for row in solution for v in row):
        raise BadInput("the vectors of the symbols are too close to dependent; use rounder numbers")
    letters = np.array([[int(v * scale) for v in row] for row in solution])
    return Encoding(np.array(rows), letters, scale)
