"""Automata at random, and what accepts what according to `automata-lib` and to plain loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def every_string(
    dfa: DFA, step: Callable[..., tuple[np.ndarray, np.ndarray]], start: tuple, longest: int
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """h after every string of length 0, 1, ... `longest`, and for each of its rows a string.

    Strings share the steps of their prefixes. Two that led to the same h and C, bit for bit, and
    to the same state of `automata-lib`, go on alike whatever follows; so one goes on for both.
    """
    table, other = library(dfa).transitions, library(dfa).initial_state
    h, C, at, words = *start, [other], [""]
    seen: set[tuple] = set()
    for length in range(longest + 1):
        keep = []
        for k, (row, other) in enumerate(zip(np.hstack([h, C]), at, strict=True)):
            key = row.tobytes(), other
            if key not in seen:
                seen.add(key)
                keep.append(k)
        h, C, words, at = h[keep], C[keep], [words[k] for k in keep], [at[k] for k in keep]
        yield h, words
        if length < longest:
            size = len(dfa.alphabet)
            codes = np.tile(range(size), len(words))
            h, C = step(codes, np.repeat(h, size, 0), np.repeat(C, size, 0))
            words = [word + a for word in words for a in dfa.alphabet]
            at = [table[q][a] for q in at for a in dfa.alphabet]


def accepted(dfa: DFA, codes: np.ndarray) -> np.ndarray:
    """Which strings the table accepts, by walking it: shape (strings, length), length > 0."""
    state = np.full(len(codes), dfa.states.index(dfa.start))
    for t in range(codes.shape[1]):
        state = dfa.table[state, codes[:, t]]
    return dfa.final[state]
