"""Is a receipt true? Automata in LSTM gates: all that is reached, or strings with errors put in."""

from __future__ import annotations

import json
import math
import random
import re
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st
from tests.receipts.truths.common import Document, plural, whole

from unrolled.automata import DFA, compile, fewest, parity

QUESTION = tuple[int, int, list[int], list[bool], str]  # states, letters, moves, accepting, way


def automata() -> st.SearchStrategy[Any]:
    """Automata of at most 4 states over one or two letters, and how they are compiled."""
    sizes = st.tuples(st.integers(1, 4), st.integers(1, 2))
    ways = st.sampled_from(["hard", "soft", "fewest", "parity hard", "parity soft"])
    return sizes.flatmap(
        lambda size: st.tuples(
            st.just(size[0]),
            st.just(size[1]),
            st.lists(st.integers(0, size[0] - 1), min_size=size[0] * 2, max_size=size[0] * 2),
            st.lists(st.booleans(), min_size=size[0], max_size=size[0]),
            ways,
        )
    )


def compiled(question: QUESTION) -> Document:
    states, letters, moves, accepting, way = question
    table = np.array(moves).reshape(states, 2)[:, :letters]
    final = [k for k, yes in enumerate(accepting) if yes]
    dfa = DFA.from_table(table, final, "01"[:letters])
    if way.startswith("parity"):
        answer = parity("hard" if way == "parity hard" else "soft")
    else:
        answer = (
            fewest(dfa) if way == "fewest" else compile(dfa, "hard" if way == "hard" else "soft")
        )
    return json.loads(json.dumps(answer.receipt().document()))


def rational(value: Any) -> Fraction:
    assert type(value) in (int, float, str)
    assert type(value) is not str or re.fullmatch(r"-?\d+(/\d+)?", value)
    return Fraction(value)


def dense(matrix: Any, height: int, width: int) -> list[list[Fraction]]:
    assert set(matrix) == {"shape", "entries"}
    assert whole(*matrix["shape"])
    assert matrix["shape"] == [height, width]
    rows = [[Fraction(0)] * width for _ in range(height)]
    places = set()
    for row, column, value in matrix["entries"]:
        assert whole(row, column)
        assert 0 <= row < height
        assert 0 <= column < width
        assert (row, column) not in places
        places.add((row, column))
        rows[row][column] = rational(value)
    return rows


class PlainLSTM:
    """The step of the equations, in exact fractions for hard gates and in floats for soft ones."""

    def __init__(self, answer: Any, alphabet: list[str]) -> None:
        names = {f"{kind}_{gate}" for kind in "Wb" for gate in "fiCo"}
        assert set(answer) == names | {"gates", "input_codes", "h0", "C0", "readout"}
        assert answer["gates"] in ("hard", "soft")
        self.hard = answer["gates"] == "hard"
        number = rational if self.hard else (lambda value: float(rational(value)))
        self.h0 = [number(v) for v in answer["h0"]]
        self.C0 = [number(v) for v in answer["C0"]]
        assert set(answer["input_codes"]) == set(alphabet)
        self.x = {a: [number(v) for v in code] for a, code in answer["input_codes"].items()}
        size, width = len(self.h0), len(next(iter(self.x.values())))
        assert len(self.C0) == size
        assert all(len(code) == width for code in self.x.values())
        self.gates = []
        for gate in "fiCo":
            rows = dense(answer[f"W_{gate}"], size, size + width)
            bias = [number(v) for v in answer[f"b_{gate}"]]
            assert len(bias) == size
            kept = rows if self.hard else [[float(v) for v in row] for row in rows]
            self.gates.append((kept, bias))
        assert set(answer["readout"]) == {"weights", "bias"}
        self.weights = [number(v) for v in answer["readout"]["weights"]]
        self.bias = number(answer["readout"]["bias"])
        assert len(self.weights) == size

    def sigmoid(self, z: Any) -> Any:
        if self.hard:
            return Fraction(z > 0)
        return 1 / (1 + math.exp(-z)) if z > -700 else 0.0

    def tanh(self, z: Any) -> Any:
        return Fraction((z > 0) - (z < 0)) if self.hard else math.tanh(z)

    def step(self, h: Any, C: Any, symbol: str) -> tuple[Any, Any]:
        v = [*h, *self.x[symbol]]
        sums = [
            [
                sum((w * u for w, u in zip(row, v, strict=True)), start=b)
                for row, b in zip(*gate, strict=True)
            ]
            for gate in self.gates
        ]
        new_h, new_C = [], []
        for k, old in enumerate(C):
            f, i, o = (self.sigmoid(sums[g][k]) for g in (0, 1, 3))
            new_C.append(f * old + i * self.tanh(sums[2][k]))
            new_h.append(o * self.tanh(new_C[-1]))
        return new_h, new_C

    def score(self, h: Any) -> Any:
        return self.bias + sum(w * v for w, v in zip(self.weights, h, strict=True))


def automaton_holds(document: Document) -> bool:
    given, answer = document["given"], document["answer"]
    assert set(given) == {"alphabet", "states", "start", "accepting", "transitions"}
    alphabet, states, moves = given["alphabet"], given["states"], given["transitions"]
    for names in (alphabet, states, given["accepting"]):
        assert all(type(name) is str for name in names)
        assert len(set(names)) == len(names)
    assert set(moves) == set(states)
    assert given["start"] in states
    assert set(given["accepting"]) <= set(states)
    for row in moves.values():
        assert set(row) == set(alphabet)
        assert set(row.values()) <= set(states)
    lstm = PlainLSTM(answer, alphabet)
    claim = (
        f"This LSTM of {plural(len(lstm.h0), 'hidden unit')} with {answer['gates']} gates accepts"
    )
    claim += " exactly those strings, of any length, that this automaton of "
    claim += f"{plural(len(states), 'state')} accepts"
    if lstm.hard:
        assert document["claim"] == claim + "."
        return follows_exactly(lstm, given)
    margin = rational(document["evidence"]["margin"])
    claim += ", in real arithmetic and in any that computes each C, h and readout from the h and C "
    assert document["claim"] == claim + f"before it with an error of at most {margin}."
    assert margin >= 0
    return all(follows_with_errors(lstm, given, float(margin), seed) for seed in range(4))


def follows_exactly(lstm: PlainLSTM, given: Any) -> bool:
    """The product of the automaton and all (h, C) that are reached, which is finite or given up."""
    start = (given["start"], tuple(lstm.h0), tuple(lstm.C0))
    seen, waiting = {start}, [start]
    while waiting:
        state, h, C = waiting.pop()
        if (lstm.score(h) >= 0) != (state in given["accepting"]):
            return False
        for symbol in given["alphabet"]:
            new = lstm.step(h, C, symbol)
            node = (given["transitions"][state][symbol], tuple(new[0]), tuple(new[1]))
            if node not in seen:
                seen.add(node)
                waiting.append(node)
        assert len(seen) < 500
    return True


def follows_with_errors(lstm: PlainLSTM, given: Any, margin: float, seed: int) -> bool:
    """Random strings, with errors of up to the margin put into every step."""
    rng = random.Random(seed)
    for _ in range(3):
        state, h, C = given["start"], lstm.h0, lstm.C0
        for _ in range(30):
            error = rng.uniform(-margin, margin)
            if (lstm.score(h) + error >= 0) != (state in given["accepting"]):
                return False
            symbol = rng.choice(given["alphabet"])
            state = given["transitions"][state][symbol]
            h, C = lstm.step(h, C, symbol)
            h = [v + rng.choice((-margin, margin)) for v in h]
            C = [v + rng.choice((-margin, margin)) for v in C]
    return True
