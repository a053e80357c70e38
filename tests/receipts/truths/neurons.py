"""Is a receipt true? Threshold neurons: everything about at most 3 inputs by enumeration."""

from __future__ import annotations

import re
from functools import cache
from itertools import product

from hypothesis import strategies as st
from tests.receipts.truths.common import Document, plural, whole

from unrolled.neurons import TruthTable, separate


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


def well_formed_table(document: Document) -> tuple[int, str]:
    given = document["given"]
    assert set(given) == {"inputs", "table"}
    inputs, table = given["inputs"], given["table"]
    assert whole(inputs), "booleans and floats aren't numbers of inputs"
    assert 0 <= inputs <= 5
    assert len(table) == 2**inputs
    assert all(symbol in ("0", "1", "*") for symbol in table)
    return inputs, table


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
