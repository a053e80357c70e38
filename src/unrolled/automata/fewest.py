"""Which LSTM with hard gates follows an automaton with about log2 of its states in units?

Every unit carries one bit of a state's code, C = h = ±1. With f = 1 - i it keeps its bit where i is
0, and takes a threshold of the whole code and the letter where i is 1, so its next bit is a choice
between the old one and one neuron's, made by another. For up to 8 states over two letters all codes
are tried, against all threshold functions of the code and the letter (`neurons/`); beyond, codes
are improved by exchanging states, and each bit's two neurons are sought by linear programs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import permutations
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from unrolled.automata.compiled import Compiled
from unrolled.automata.compiler import compile
from unrolled.automata.dfa import DFA
from unrolled.automata.encoding import encode
from unrolled.automata.lstm import LSTM
from unrolled.errors import BadInput
from unrolled.neurons.batch import separate_batch
from unrolled.neurons.separate import Separable, separate
from unrolled.neurons.truth_table import MAX_INPUTS, TruthTable

TRIED_WHOLE = 3  # bits of codes that are tried exhaustively
EXCHANGES = 300  # of the search by exchanges, for each number of units
Neuron = tuple[tuple[int, ...], int]


@dataclass(frozen=True)
class Bits:
    """The problem for codes of m bits: a row for each input (code, letter's x), m + inputs bits."""

    table: Int[np.ndarray, "states symbols"]
    final: Bool[np.ndarray, " states"]
    letters: tuple[int, ...]  # x of each letter as a binary number
    width: int  # of x
    units: int

    @property
    def inputs(self) -> int:
        """Inputs of a neuron."""
        return self.units + self.width

    def rows(self, codes: Int[np.ndarray, " states"]) -> Int[np.ndarray, "states symbols"]:
        """The row of each state and letter in the truth tables."""
        return np.asarray((codes[:, None] << self.width) | np.array(self.letters))

    def bit(self, codes: Int[np.ndarray, "*shape"], unit: int) -> Int[np.ndarray, "*shape"]:
        """A unit's bit in each code."""
        return np.asarray(codes >> (self.units - 1 - unit) & 1)


def fewest(dfa: DFA, seed: int = 0, progress: Callable[..., object] = lambda *_: None) -> Compiled:
    """An LSTM with hard gates and as few units as the search finds, about log2 |states|.

    Args:
        dfa: the automaton; it is minimised first.
        seed: of the search by exchanges.
        progress: called with what is being tried, and how many exchanges of how many were.

    Returns:
        What was found, with its boxes; the interval construction where no code was found that is
        shorter, which `construction` says.

    Raises:
        BadInput: too many letters and states for truth tables of 20 inputs.
    """
    small, classes = dfa.minimal()
    states = len(small.states)
    plain = compile(dfa)
    encoding = encode(dfa, "auto")
    width = encoding.inputs.shape[1]
    letters = tuple(int("".join(str(int(v)) for v in x), 2) for x in encoding.inputs.tolist())
    start = max(1, (states - 1).bit_length())
    if start + width > MAX_INPUTS:
        raise BadInput(
            f"{states} states and {len(dfa.alphabet)} letters: the search is for up to "
            f"{MAX_INPUTS} bits of code and letter together; leave out --fewest"
        )
    for units in range(start, min(plain.lstm.hidden_size, start + 3, MAX_INPUTS + 1 - width)):
        what = f"codes of {units} bits for {states} states"
        progress(what)
        problem = Bits(small.table, small.final, letters, width, units)
        whole = units <= TRIED_WHOLE and width == 1
        told = partial(progress, what)
        codes = try_all(problem) if whole else exchange(problem, random.Random(seed), told)
        if codes is not None:
            return build(dfa, small, classes, problem, codes, encoding.inputs)
    return plain


@lru_cache(maxsize=4)
def thresholds(inputs: int) -> Int[np.ndarray, " functions"]:
    """All functions of one neuron of up to 4 inputs, row r of the table as bit r."""
    rows = 1 << inputs
    tables = (np.arange(1 << rows)[:, None] >> np.arange(rows) & 1) == 1
    return np.flatnonzero(separate_batch(tables).separable)


@lru_cache(maxsize=16)
def choices(inputs: int, unit: int) -> Bool[np.ndarray, " functions"]:
    """Which functions a unit can have as its next bit: i ? T : old bit, for all neurons i and T."""
    found = thresholds(inputs)
    rows = np.arange(1 << inputs)
    old = int(((rows >> (inputs - 1 - unit) & 1) << rows).sum())
    result = np.zeros(1 << (1 << inputs), dtype=np.bool_)
    for gate in found.tolist():
        result[(found & gate) | (old & ~gate)] = True
    return result


def completed(known: Bool[np.ndarray, " functions"], free: int) -> Bool[np.ndarray, " functions"]:
    """For tables with 0 in the free rows: whether some values there give a known function."""
    result = known.copy()
    for row in range(free.bit_length()):
        if free >> row & 1:
            with_row = np.arange(len(known)) | 1 << row
            result = result | result[with_row]
    return result


def try_all(problem: Bits) -> Int[np.ndarray, " states"] | None:
    """The first code, of all with state 0 at 0...0, that every unit and the readout can follow."""
    states, size = len(problem.table), 1 << problem.units
    every = np.array(list(permutations(range(1, size), states - 1)), dtype=np.int64)
    codes = np.hstack([np.zeros((len(every), 1), dtype=np.int64), every.reshape(len(every), -1)])
    for unused in sorted({frozenset(range(size)) - set(row) for row in codes.tolist()}, key=sorted):
        used = [code for code in range(size) if code not in unused]
        here = codes[np.isin(codes, used).all(axis=1)]
        rows = here[:, :, None] << problem.width | np.array(problem.letters)
        free = sum(1 << (code << 1 | x) for code in unused for x in (0, 1))
        good = np.ones(len(here), dtype=np.bool_)
        for unit in range(problem.units):
            following = here[:, problem.table] >> (problem.units - 1 - unit) & 1
            tables = (following << rows).sum(axis=(1, 2))
            good &= completed(choices(problem.inputs, unit), free)[tables]
        known = np.zeros(1 << size, dtype=np.bool_)
        known[thresholds(problem.units)] = True
        accepting = (problem.final.astype(np.int64) << here).sum(axis=1)
        good &= completed(known, sum(1 << code for code in unused))[accepting]
        if good.any():
            return np.asarray(here[int(good.argmax())])
    return None


def exchange(
    problem: Bits, rng: random.Random, progress: Callable[[int, int], object]
) -> Int[np.ndarray, " states"] | None:
    """A code found by exchanging the codes of two states, from numbers in breadth-first order."""
    size, states = 1 << problem.units, len(problem.table)
    places = list(range(size))

    def cost(order: list[int]) -> int:
        codes = np.array(order[:states])
        failed = sum(unit_neurons(problem, codes, unit) is None for unit in range(problem.units))
        return failed + (readout_neuron(problem, codes) is None)

    best = cost(places)
    for k in range(EXCHANGES):
        progress(k, EXCHANGES)
        if not best:
            return np.array(places[:states])
        a, b = rng.randrange(states), rng.randrange(size)
        places[a], places[b] = places[b], places[a]
        now = cost(places)
        if now <= best:
            best = now
        else:
            places[a], places[b] = places[b], places[a]
    return None if best else np.array(places[:states])


def neuron(inputs: int, rows: Any, values: Any) -> Neuron | None:
    """A neuron with these values in these rows, if there is one."""
    table = np.full(1 << inputs, "*")
    table[rows] = np.where(values, "1", "0")
    answer = separate(TruthTable("".join(table.tolist())))
    return (answer.weights, answer.bias) if isinstance(answer, Separable) else None


def readout_neuron(problem: Bits, codes: Int[np.ndarray, " states"]) -> Neuron | None:
    """A neuron on the code that tells accepting states from the others."""
    return neuron(problem.units, codes, problem.final)


def unit_neurons(
    problem: Bits, codes: Int[np.ndarray, " states"], unit: int
) -> tuple[Neuron, Neuron] | None:
    """I and T for a unit: its next bit is T where i is 1, and its old bit elsewhere."""
    rows = problem.rows(codes).reshape(-1)
    old = np.repeat(problem.bit(codes, unit), len(problem.letters))
    new = problem.bit(codes[problem.table], unit).reshape(-1)
    for gate in gates(problem, rows, old, new):
        values = np.array([sum_of(problem.inputs, gate, row) >= 0 for row in rows.tolist()])
        if (values | (old == new)).all():
            taken = neuron(problem.inputs, rows[values], new[values] == 1)
            if taken is not None:
                return gate, taken
    return None


def gates(problem: Bits, rows: Any, old: Any, new: Any) -> Iterator[Neuron]:
    """Neurons that are 1 wherever the bit changes: always, exactly there, then all of them."""
    yield (0,) * problem.inputs, 0
    changes = neuron(problem.inputs, rows, old != new)
    if changes is not None:
        yield changes
    if problem.inputs <= 4:
        for function in thresholds(problem.inputs).tolist():
            table = np.array([function >> row & 1 for row in range(1 << problem.inputs)])
            if table[rows[old != new]].all():
                found = neuron(problem.inputs, np.arange(len(table)), table == 1)
                assert found is not None
                yield found


def sum_of(inputs: int, neuron: Neuron, row: int) -> int:
    """w.x + b in a row of the table."""
    weights, bias = neuron
    return bias + sum(w for k, w in enumerate(weights) if row >> (inputs - 1 - k) & 1)


def build(
    dfa: DFA,
    small: DFA,
    classes: dict[str, str],
    problem: Bits,
    codes: Int[np.ndarray, " states"],
    inputs: Any,
) -> Compiled:
    """The LSTM of a code: h = ±1 stands for bits 1 and 0, and pre-activations are odd."""
    m = problem.units
    pairs = [unit_neurons(problem, codes, unit) for unit in range(m)]
    last = readout_neuron(problem, codes)
    if None in pairs or last is None:
        raise AssertionError("a code was found that no neurons follow")
    parts = [affine([pair[k] for pair in pairs if pair is not None], m) for k in (0, 1)]
    (W_i, b_i), (W_C, b_C) = parts
    signs = 2.0 * np.stack([problem.bit(codes, unit) for unit in range(m)], axis=1) - 1
    code = dict(zip(small.states, signs, strict=True))
    nothing, ones = np.zeros_like(W_i), np.ones(m)
    first = code[small.start]
    lstm = LSTM.from_arrays("hard", -W_i, -b_i, W_i, b_i, W_C, b_C, nothing, ones, first, first)
    boxes = {}
    for state, block in classes.items():
        ends = [[u, int(v), int(v)] for u, v in enumerate(code[block].tolist())]
        boxes[state] = [{"h": ends, "C": ends}]
    evidence = {"rest": {"h": [-1, 1], "C": [-1, 1]}, "boxes": boxes}
    W, b = affine([last], m)
    words = f"codes of {m} bits for {len(small.states)} states: each unit keeps its bit or takes a "
    words += "threshold of the code and the letter"
    return Compiled(dfa, lstm, inputs, W[0], float(b[0]), evidence, words)


def affine(neurons: list[Neuron], units: int) -> tuple[Any, Any]:
    """Twice the neurons' sums plus 1, on h = ±1 and x = 0, 1 instead of bits."""
    W = np.array([weights for weights, _ in neurons], dtype=np.float64)
    b = np.array([bias for _, bias in neurons], dtype=np.float64)
    b = 2 * b + 1 + W[:, :units].sum(axis=1)
    W[:, units:] *= 2
    return W, b
