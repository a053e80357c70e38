"""Automata at random, and what accepts what according to `automata-lib` and to plain loops."""

from __future__ import annotations

from itertools import product

import numpy as np
from automata.fa.dfa import DFA as Library  # noqa: N811

from unrolled.automata import DFA


def random_dfa(rng: np.random.Generator, states: int, alphabet: str) -> DFA:
    table = rng.integers(0, states, (states, len(alphabet)))
    return DFA.from_table(table, np.flatnonzero(rng.random(states) < 0.5).tolist(), alphabet)


def library(dfa: DFA) -> Library:
    return Library(
        states=set(dfa.states),
        input_symbols=set(dfa.alphabet),
        transitions={state: dict(row) for state, row in dfa.transitions.items()},
        initial_state=dfa.start,
        final_states=set(dfa.accepting),
    )


def all_codes(symbols: int, length: int) -> np.ndarray:
    """All strings of a length as symbol numbers, shape (strings, length)."""
    codes = np.array(list(product(range(symbols), repeat=length)), dtype=np.int64)
    return codes.reshape(symbols**length, length)


def accepted(dfa: DFA, codes: np.ndarray) -> np.ndarray:
    """Which strings the table accepts, by walking it: shape (strings, length), length > 0."""
    state = np.full(len(codes), dfa.states.index(dfa.start))
    for t in range(codes.shape[1]):
        state = dfa.table[state, codes[:, t]]
    return dfa.final[state]
