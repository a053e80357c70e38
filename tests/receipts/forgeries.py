"""Who attacks the checker, and how is it known that a forgery is one?

`ATTACKS` holds, for each kind, receipts that hold, and an oracle: a slow, plain decision of whether
what a document says is true, that shares nothing with the checker. `mutate` makes forgeries of any
kind. A further kind joins the attack by a line in `ATTACKS`.
"""

from __future__ import annotations

import copy
import json
import math
import random
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import flint
import numpy as np
from hypothesis import strategies as st
from tests.decoding.tiny import OBJECTIVES, Tiny

from unrolled.automata import DFA, compile, fewest, parity
from unrolled.decoding import beam_search, exact_search
from unrolled.errors import WorkFailed
from unrolled.neurons import Inseparable, Separable, TruthTable, network, separate
from unrolled.receipts import Receipt
from unrolled.recurrences import Matrix, spectrum
from unrolled.recurrences.exact import decide
from unrolled.tasks.piglatin_rule import translate

Document = dict[str, Any]


class Attack(NamedTuple):
    """One kind's questions, the receipt that answers one, and an independent decision of whether a
    document holds. `answer` gives None for a question that has no receipt of this kind.
    """

    questions: st.SearchStrategy[Any]
    answer: Callable[[Any], Document | None]
    holds: Callable[[Document], bool]


# --- forgeries of any kind -----------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document, outermost first."""
    yield path
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def look(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def strange(value: Any, rng: random.Random) -> Any:
    """Another value in its place: near, of another type, or absurd."""
    anything = [
        True,
        False,
        None,
        0,
        1,
        -1,
        2,
        10**9,
        10**30,
        1.0,
        0.5,
        -0.0,
        "",
        "1",
        "1/2",
        [],
        {},
    ]
    anything += ["-1", "01", "٣", "*", [0], {"0": 1}, [[[[]]]], 2**62, -(2**62) - 1, "2/4", "1/0"]
    near: list[Any] = []
    if isinstance(value, bool):
        near = [not value, int(value)]
    elif isinstance(value, int):
        near = [value + 1, value - 1, -value, 2 * value, float(value), str(value), value + 2**31]
    elif isinstance(value, str) and value:
        at = rng.randrange(len(value))
        near = [
            value[:at] + rng.choice("01*23/-. ") + value[at + 1 :],
            value[:-1],
            value + value[-1],
        ]
        near += [value[::-1], re.sub(r"\d+", lambda m: str(int(m[0]) + 1), value), value.upper()]
    elif isinstance(value, list) and value:
        near = [value[::-1], value[:-1], value + value[-1:], [*value, 0], value[1:]]
    elif isinstance(value, dict) and value:
        key = rng.choice(list(value))
        less = {k: v for k, v in value.items() if k != key}
        renamed = str(strange(key, rng))
        near = [less, {**value, key + "0": value[key]}, {**less, renamed: value[key]}]
    return copy.deepcopy(rng.choice(near if near and rng.random() < 0.75 else anything))


def mutate(document: Document, other: Document, rng: random.Random) -> Document:
    """A document changed in one to three places, with parts of another receipt among them."""
    forged: Any = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2, 3))):
        paths = [path for path in places(forged) if path]
        if not paths:
            break
        path = rng.choice(paths)
        parent, key = look(forged, path[:-1]), path[-1]
        way = rng.randrange(5)
        if way == 0:  # a part of the other receipt: its table, its evidence, its claim
            theirs = [p for p in places(other) if p and p[-1] == key] or [("claim",)]
            parent[key] = copy.deepcopy(look(other, rng.choice(theirs)))
        elif way == 1:  # exchange with another part of the same receipt
            second = rng.choice(paths)
            if second[: len(path)] != path and path[: len(second)] != second:
                there = look(forged, second[:-1])
                parent[key], there[second[-1]] = there[second[-1]], parent[key]
        else:
            parent[key] = strange(parent[key], rng)
        forged = json.loads(json.dumps(forged))  # no part is the same object as another
    return forged


# --- threshold neurons: everything about at most 3 inputs by enumeration -------------------------


@cache
def least_sums(inputs: int) -> dict[str, int]:
    """Each threshold function's least sum of |w|, from all weights up to 4."""
    best: dict[str, int] = {}
    for weights in product(range(-4, 5), repeat=inputs):
        for bias in range(-13, 14):
            bits = plain(inputs, list(weights), bias)
            best[bits] = min(best.get(bits, 10**9), sum(map(abs, weights)))
    return best


@cache
def with_two_hidden(inputs: int) -> frozenset[str]:
    """The functions of two neurons: all ands and ors of them."""
    numbers = [int(bits, 2) for bits in least_sums(inputs)]
    found = {f(a, b) for a in numbers for b in numbers for f in (int.__and__, int.__or__)}
    return frozenset(format(number, f"0{1 << inputs}b") for number in found)


def plain(inputs: int, weights: list[int], bias: int) -> str:
    """The table a neuron computes, row by row."""
    result = ""
    for x in product((0, 1), repeat=inputs):
        total = bias
        for w, value in zip(weights, x, strict=True):
            total += w * value
        result += "1" if total >= 0 else "0"
    return result


def fits(table: str, bits: str) -> bool:
    return all(a in ("*", b) for a, b in zip(table, bits, strict=True))


def whole(*values: Any) -> bool:
    return all(type(value) is int for value in values)


def well_formed_table(document: Document) -> tuple[int, str]:
    given = document["given"]
    assert set(given) == {"inputs", "table"}
    inputs, table = given["inputs"], given["table"]
    assert whole(inputs), "booleans and floats aren't numbers of inputs"
    assert 0 <= inputs <= 5
    assert len(table) == 2**inputs
    assert all(symbol in ("0", "1", "*") for symbol in table)
    return inputs, table


def plural(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def separable_holds(document: Document) -> bool:
    inputs, table = well_formed_table(document)
    weights, bias = document["answer"]["weights"], document["answer"]["bias"]
    assert set(document["answer"]) == {"weights", "bias"}
    assert whole(*weights, bias)
    assert len(weights) == inputs
    claim = f"One threshold neuron computes this truth table of {plural(inputs, 'input')}"
    if document["claim"] != claim + ".":
        total = sum(map(abs, weights))
        claim += f", and none with integer weights of a smaller sum of |w| than {total} does."
        least = min(s for bits, s in least_sums(inputs).items() if fits(table, bits))
        assert document["claim"] == claim
        assert total == least
    return fits(table, plain(inputs, weights, bias))


def inseparable_holds(document: Document) -> bool:
    inputs, table = well_formed_table(document)
    assert document["answer"] == {}
    assert set(document["evidence"]) == {"true", "false"}
    words = f"No threshold neuron computes this truth table of {plural(inputs, 'input')}."
    assert document["claim"] == words
    multisets = []
    for side, symbol in (("true", "1"), ("false", "0")):
        points = list(product((0, 1), repeat=inputs))
        taken: list[tuple[int, ...]] = []
        for row, times in document["evidence"][side].items():
            assert whole(times)
            assert 0 < times < 10**5, "the oracle writes the rows out"
            assert re.fullmatch("0|[1-9][0-9]*", row)
            assert table[int(row)] == symbol
            taken += [points[int(row)]] * times
        multisets.append(taken)
    true, false = multisets
    assert len(true) == len(false)
    assert [sum(c) for c in zip(*true, strict=True)] == [sum(c) for c in zip(*false, strict=True)]
    return not any(fits(table, bits) for bits in least_sums(inputs))


def network_holds(document: Document) -> bool:
    inputs, table = well_formed_table(document)
    answer = document["answer"]
    assert set(answer) == {"hidden", "output"}
    layers = [*answer["hidden"], answer["output"]]
    assert all(set(n) == {"weights", "bias"} and whole(*n["weights"], n["bias"]) for n in layers)
    columns = [plain(inputs, n["weights"], n["bias"]) for n in answer["hidden"]]
    computed = ""
    for row in range(len(table)):
        total = answer["output"]["bias"]
        for w, column in zip(answer["output"]["weights"], columns, strict=True):
            total += w * int(column[row])
        computed += "1" if total >= 0 else "0"
    size = len(columns)
    claim = f"A network of {plural(size, 'hidden threshold neuron')} and one on top computes this"
    claim += f" truth table of {plural(inputs, 'input')}"
    if document["claim"] != claim + ".":
        assert document["claim"] == claim + ", and no network with fewer hidden neurons does."
        fewer: list[str] = []
        if size >= 1:
            fewer += ["0" * len(table), "1" * len(table)]
        if size >= 2:
            fewer += least_sums(inputs)
        if size >= 3:
            fewer += with_two_hidden(inputs)
        assert size <= 3
        assert not any(fits(table, bits) for bits in fewer)
    return fits(table, computed)


def tables() -> st.SearchStrategy[str]:
    """Truth tables of at most 3 inputs, with and without don't-cares."""
    sizes = st.integers(0, 3)
    some = sizes.flatmap(lambda n: st.text("0011*", min_size=2**n, max_size=2**n))
    return some | st.text("01", min_size=8, max_size=8) | st.text("01", min_size=4, max_size=4)


def separated(question: tuple[str, bool], kind: type) -> Document | None:
    bits, minimal = question
    answer = separate(TruthTable(bits), minimal=minimal)
    return answer.receipt().document() if isinstance(answer, kind) else None


# --- automata in LSTM gates: all that is reached, exactly, or strings with errors put in ---------

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


# --- exact matches: counted one by one, Pig Latin by the task's own rule --------------------------


def matches_hold(document: Document) -> bool:
    given, evidence = document["given"], document["evidence"]
    sources = given["sources"]
    by_rule = set(given) == {"sources", "task"}
    if by_rule:
        assert given["task"] == "piglatin"
        references = [translate(source) for source in sources]
    else:
        assert set(given) == {"sources", "references"}
        references = given["references"]
    assert set(evidence) == {"predictions"}
    predictions = evidence["predictions"]
    assert all(isinstance(column, list) for column in (sources, references, predictions))
    assert all(isinstance(text, str) for text in (*sources, *references, *predictions))
    count = 0
    for i in range(len(sources)):
        count += references[i] == predictions[i]
    assert len(references) == len(predictions) == len(sources) > 0
    assert document["answer"] == {"matches": count, "of": len(sources)}
    assert whole(*document["answer"].values())
    what = "the Pig Latin of their sources" if by_rule else "their references"
    return document["claim"] == (
        f"{count} of {len(sources)} predictions are letter for letter {what}."
    )


def evaluated(question: tuple[bool, list[tuple[str, int]]]) -> Document:
    """Sentences, each translated rightly, by a neighbour of the right answer, or not at all."""
    by_rule, rows = question
    sources = [source for source, _ in rows]
    references = [translate(source) for source in sources]
    predictions = [(r, r + "y", "", s)[way] for r, (s, way) in zip(references, rows, strict=True)]
    count = sum(way == 0 for _, way in rows)
    rest = {"task": "piglatin"} if by_rule else {"references": references}
    answer = {"matches": count, "of": len(rows)}
    evidence = {"predictions": predictions}
    receipt = Receipt.prove(
        "evaluation.exact_match", {"sources": sources, **rest}, answer, evidence
    )
    return receipt.document()


def sentences() -> st.SearchStrategy[str]:
    words = st.text("aeyquxst", min_size=1, max_size=5)
    return st.lists(words, min_size=1, max_size=3).map(" ".join)


# --- beam search: the trace and every bound again, by 60-digit decimals and plain lists -----------


def searched(question: tuple[int, int, int, str, bool]) -> Document:
    seed, beam_size, max_length, objective, coarse = question
    scorer = Tiny(3, seed, coarse=coarse)
    options: dict[str, Any] = {"beam_size": beam_size, "max_length": max_length}
    return beam_search(scorer, [[1]], objective=objective, **options)[0].receipt().document()


def decimal_score(name: str, s: Fraction, n: int) -> Decimal:
    kind, *numbers = name.split(":")
    a = Decimal(numbers[0]) if numbers else Decimal(0)
    with localcontext() as context:
        context.prec = 60
        value = Decimal(s.numerator) / Decimal(s.denominator)
        if kind == "length-normalised":
            return value / Decimal(n) ** a
        if kind == "gnmt":
            return value / (Decimal(n + 5) / 6) ** a
        if kind == "word-reward":
            return value + a * n
        if kind == "bounded-reward":
            return value + a * min(n, int(numbers[1]))
        assert kind == "log-probability"
        return value


def trace_holds(document: Document) -> bool:
    with localcontext() as context:
        context.prec = 60
        return trace_holds_with_60_digits(document)


def trace_holds_with_60_digits(document: Document) -> bool:
    """The beam by the trace's own numbers; claims compared with bounds over every length."""
    given, answer, evidence = document["given"], document["answer"], document["evidence"]
    names = {"vocab_size", "end_token", "beam_size", "max_length", "objective", "source"}
    assert set(given) - {"keeps_bound"} == names
    assert given.get("keeps_bound") in (None, False)
    positive, end, size = "keeps_bound" in given, given["end_token"], given["beam_size"]
    longest, name, vocab = given["max_length"], given["objective"], given["vocab_size"]
    assert whole(end, size, longest, vocab, *given["source"])
    assert 0 <= end < vocab
    assert set(evidence) == {"steps", "bound"}
    beam: list[tuple[list[int], Fraction]] = [([], Fraction(0))]
    completed, thrown = [], []
    for t, step in enumerate(evidence["steps"], 1):
        assert set(step) == {"kept", "rejected"}
        assert t <= longest
        new, order = [], []
        for parent, token, log_prob in step["kept"]:
            assert whole(parent, token)
            assert 0 <= token < vocab
            tokens, s = beam[parent]
            assert parent >= 0
            assert tokens[-1:] != [end]
            assert type(log_prob) in (int, float)
            assert positive or log_prob <= 0
            new.append(([*tokens, token], s + Fraction(log_prob)))
            order.append((-new[-1][1], parent, token))
        assert order == sorted(set(order))
        assert len(order) <= size
        assert any(tokens[-1:] != [end] for tokens, _ in beam)
        if step["rejected"] is not None:
            r = Fraction(step["rejected"])
            assert type(step["rejected"]) in (int, float)
            assert len(new) == size
            assert r <= new[-1][1]
            assert positive or r <= 0
            thrown += [decimal_score(name, r, n) for n in range(t, longest + 1)]
        beam = new
        completed += [(tokens, s) for tokens, s in beam if tokens[-1] == end]
    steps = len(evidence["steps"])
    assert steps
    live = [s for tokens, s in beam if tokens[-1] != end]
    later = [decimal_score(name, s, n) for s in live for n in range(steps + 1, longest + 1)]
    tiny = Decimal("1e-40")
    words = f"On these log-probabilities, beam search of size {size} for at most {longest} tokens"
    if later:
        assert type(evidence["bound"]) in (int, float)
        assert abs(Decimal(evidence["bound"]) - max(later)) <= abs(max(later)) * Decimal(2) ** -40
        assert not positive
    else:
        assert evidence["bound"] is None
    if not answer:
        return (
            not completed and not later and document["claim"] == words + " completes no hypothesis."
        )
    assert set(answer) == {"tokens", "score"}
    scores = [decimal_score(name, s, len(tokens)) for tokens, s in completed]
    best = max(scores)
    tokens = next(t for (t, _), v in zip(completed, scores, strict=True) if v >= best - tiny)
    assert whole(*answer["tokens"])
    assert answer["tokens"] == tokens
    assert type(answer["score"]) in (int, float)
    assert abs(Decimal(answer["score"]) - best) <= (abs(best) + longest) * Decimal(2) ** -40
    assert max(later, default=best) <= best + tiny
    claim = f"{words} finds this best sequence by {name}, and no step after step {steps} can find"
    claim += " a better one"
    above = max([best, *thrown, *later])
    if positive:
        return document["claim"] == (
            f"{claim}; of other sequences nothing is said, as steps may add to a score."
        )
    if above <= best + tiny:
        said = f"; no sequence of at most {longest} tokens scores better."
        return document["claim"] == claim + said
    said = document["claim"].removeprefix(f"{claim}; other sequences may score up to ")
    return above <= Decimal(said.removesuffix(".")) <= above + Decimal("1e-6")


def mapped(question: tuple[int, int, int, str, int]) -> Document | None:
    seed, beam_size, max_length, objective, budget = question
    answer = exact_search(
        Tiny(3, seed), [1], max_length=max_length, objective=objective, budget=budget,
        beam_size=beam_size, rows=2,
    )  # fmt: skip
    return answer.receipt().document() if answer.best else None


def map_holds(document: Document) -> bool:
    with localcontext() as context:
        context.prec = 60
        return map_holds_with_60_digits(document)


def map_holds_with_60_digits(document: Document) -> bool:
    """Prefixes by their tokens; every length of every bound; sums of float exponentials."""
    given, answer, evidence = document["given"], document["answer"], document["evidence"]
    assert set(given) == {"vocab_size", "end_token", "max_length", "objective", "source"}
    end, longest, vocab = given["end_token"], given["max_length"], given["vocab_size"]
    name = given["objective"]
    assert whole(end, longest, vocab, *given["source"])
    assert 0 <= end < vocab
    assert set(evidence) == {"prefixes", "rejected", "tolerance"}
    tolerance = evidence["tolerance"]
    assert 0 < tolerance <= 0.001
    spelled: list[tuple[int, ...]] = [()]
    sums: dict[tuple[int, ...], Fraction | None] = {(): Fraction(0)}
    chances: dict[tuple[int, ...], dict[int, float]] = {}
    for parent, token, log_prob in evidence["prefixes"]:
        assert whole(parent, token)
        assert 0 <= parent < len(spelled)
        assert 0 <= token < vocab
        before = spelled[parent]
        assert sums[before] is not None
        assert before[-1:] != (end,)
        tokens = (*before, token)
        assert tokens not in sums
        assert len(tokens) <= longest
        assert log_prob is None or (type(log_prob) in (int, float) and log_prob <= 0)
        chances.setdefault(before, {})[token] = 0.0 if log_prob is None else math.exp(log_prob)
        sums[tokens] = None if log_prob is None else sums[before] + Fraction(log_prob)
        spelled.append(tokens)
    rows = {}
    for number, best, log_mass in evidence["rejected"]:
        assert whole(number)
        assert 0 <= number < len(spelled)
        assert spelled[number] not in rows
        assert (best is None) == (log_mass is None)
        assert best is None or (type(best) in (int, float) and type(log_mass) in (int, float))
        assert best is None or best <= 0
        rows[spelled[number]] = (best, 0.0 if log_mass is None else math.exp(log_mass))
    bounds, completed = [], {}
    for tokens, s in sums.items():
        if s is not None and tokens[-1:] == (end,):
            completed[tokens] = decimal_score(name, s, len(tokens))
        elif tokens in chances or tokens in rows:
            listed = chances.get(tokens, {})
            best, mass = rows.get(tokens, (None, 0.0))
            assert abs(sum(listed.values()) + mass - 1) <= tolerance + 1e-9
            assert (tokens in rows) == (len(listed) < vocab)
            if best is not None:
                low = len(tokens) + 1 + (end in listed)
                s += Fraction(best)
                bounds += [decimal_score(name, s, n) for n in range(low, longest + 1)]
        elif s is not None:
            bounds += [decimal_score(name, s, n) for n in range(len(tokens) + 1, longest + 1)]
    assert set(answer) == {"tokens", "score"}
    assert whole(*answer["tokens"])
    best = completed[tuple(answer["tokens"])]
    tiny = Decimal("1e-40")
    assert best >= max(completed.values()) - tiny
    assert type(answer["score"]) in (int, float)
    assert abs(Decimal(answer["score"]) - best) <= (abs(best) + longest) * Decimal(2) ** -40
    words = f"On these log-probabilities, no sequence of at most {longest} tokens scores "
    tail = f"; after every prefix the probabilities add up to 1 within {tolerance!r}."
    said = document["claim"]
    above = max([best, *bounds])
    if above <= best + tiny:
        return said == f"{words}better by {name} than this one{tail}"
    number = said.removeprefix(f"{words}above ").removesuffix(f" by {name}{tail}")
    return above <= Decimal(number) <= above + Decimal("1e-6")


# --- recurrences: small matrices, by FLINT's polynomials -----------------------------------------


def entries() -> st.SearchStrategy[Any]:
    real = st.sampled_from([0, 0, 1, -1, 2, 0.5, -0.25, 0.9, "1/3", "-4/5", "3/5"])
    return real | st.tuples(real, real).map(list)


def square() -> st.SearchStrategy[Any]:
    simple = st.sampled_from([0, 0, 1, -1, 1, 0.5])

    def of(n: int, entry: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(st.lists(entry, min_size=n, max_size=n), min_size=n, max_size=n)

    return st.integers(1, 3).flatmap(lambda n: of(n, entries()) | of(n, simple))


def triangular() -> st.SearchStrategy[Any]:
    """Matrices with ones on the diagonal, and the rotations by them: rho is 1, blocks any."""
    above = st.lists(st.sampled_from([0, 0, 1, "1/2"]), min_size=6, max_size=6)
    signs = st.lists(st.sampled_from([1, -1, [0, 1], "1/2", 0]), min_size=3, max_size=3)

    def build(question: Any) -> list[list[Any]]:
        diagonal, off, n = question
        return [
            [diagonal[i] if i == j else off[i + j] if j > i else 0 for j in range(n)]
            for i in range(n)
        ]

    return st.tuples(signs, above, st.integers(1, 3)).map(build)


def roots(given: Document, *, minimal: bool) -> list[tuple[Any, int]]:
    """Moduli of the characteristic or minimal polynomial's roots, with multiplicities."""
    assert set(given) == {"W"}
    for row in given["W"]:
        for entry in row:
            for x in entry if type(entry) is list else [entry]:
                assert type(x) in (int, float, str)
                assert type(x) is not str or str(Fraction(x)) == x
    rows = Matrix.of(given["W"]).fractions()
    flat = [flint.fmpq(x.numerator, x.denominator) for row in rows for x in row]
    W = flint.fmpq_mat(len(rows), len(rows), flat)
    found = (W.minpoly() if minimal else W.charpoly()).numer().complex_roots()
    return [(abs(root), times) for root, times in found]


def spectrum_holds(document: Document) -> bool:
    low, high = document["answer"]["radius"]
    assert set(document["answer"]) == {"radius", "verdict"}
    assert type(low) in (int, float)
    assert type(high) in (int, float)
    found = roots(document["given"], minimal=False)
    verdict = "vanishing" if high < 1 else "exploding" if low > 1 else "undecided"
    assert document["answer"]["verdict"] == verdict
    words = {
        "vanishing": "h_t = W^T h_{t-1} vanishes for every h_0",
        "exploding": "h_t = W^T h_{t-1} explodes for almost every h_0",
        "undecided": "whether h_t = W^T h_{t-1} vanishes or explodes is left open",
    }[verdict]
    n = len(document["given"]["W"])
    where = f"in [{low!r}, {high!r}]"
    claim = f"The spectral radius of this {n} x {n} matrix lies {where}: {words}."
    assert document["claim"] == claim
    return max(float(r.upper()) for r, _ in found) >= low and all(
        r.lower() <= high for r, _ in found
    )


def exact_holds(document: Document) -> bool:
    answer, n = document["answer"], len(document["given"]["W"])
    assert set(answer) == {"verdict", "degree"}
    assert whole(answer["degree"])
    found = roots(document["given"], minimal=True)
    assert max(float(r.mid()) for r, _ in found) < 1 + 1e-12
    largest = max(times for r, times in found if float(r.mid()) > 1 - 1e-12)
    assert answer["degree"] == largest - 1
    assert answer["verdict"] == ("bounded" if largest == 1 else "polynomial")
    what = "stays bounded and doesn't tend to 0" if largest == 1 else f"grows like t^{largest - 1}"
    claim = f"The spectral radius of this {n} x {n} matrix is exactly 1, and ||W^t|| {what}."
    return bool(document["claim"] == claim)


def on_the_circle(W: Any) -> Document | None:
    try:
        return decide(W).receipt().document()
    except WorkFailed:
        return None


ATTACKS: dict[str, Attack] = {
    "recurrence.exact": Attack(triangular(), on_the_circle, exact_holds),
    "recurrence.spectrum": Attack(
        square(), lambda W: spectrum(W).receipt().document(), spectrum_holds
    ),
    "automaton.lstm": Attack(automata(), compiled, automaton_holds),
    "beam.map": Attack(
        st.tuples(
            st.integers(0, 10**6),
            st.integers(1, 3),
            st.integers(1, 5),
            st.sampled_from(OBJECTIVES),
            st.sampled_from([1, 3, 8, 1000]),
        ),
        mapped,
        map_holds,
    ),
    "beam.stop": Attack(
        st.tuples(
            st.integers(0, 10**6),
            st.integers(1, 4),
            st.integers(1, 6),
            st.sampled_from(OBJECTIVES),
            st.booleans(),
        ),
        searched,
        trace_holds,
    ),
    "evaluation.exact_match": Attack(
        st.tuples(
            st.booleans(),
            st.lists(st.tuples(sentences(), st.integers(0, 3)), min_size=1, max_size=4),
        ),
        evaluated,
        matches_hold,
    ),
    "neuron.separable": Attack(
        st.tuples(tables(), st.booleans()), lambda q: separated(q, Separable), separable_holds
    ),
    "neuron.inseparable": Attack(
        st.tuples(tables(), st.just(False)), lambda q: separated(q, Inseparable), inseparable_holds
    ),
    "neuron.network": Attack(
        tables(), lambda bits: network(TruthTable(bits)).receipt().document(), network_holds
    ),
}
