"""Is every answer right, by enumeration where that can be, and by its proof everywhere else?"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.neurons import Inseparable, Separable, TruthTable, separate
from unrolled.neurons.count import enumerate_classes
from unrolled.neurons.program import NeuronProgram, fits
from unrolled.neurons.separate import four_points


@cache
def threshold_functions(inputs: int) -> frozenset[str]:
    """By running through weights; 3 inputs need none above 2, 4 inputs none above 3."""
    x = np.array(list(product((0, 1), repeat=inputs))).reshape(2**inputs, inputs)
    weights = np.array(list(product(range(-3, 4), repeat=inputs))).reshape(7**inputs, inputs)
    found = set()
    for bias in range(-10, 11):
        tables = (weights @ x.T + bias >= 0).astype(np.uint8) + ord("0")
        found |= {row.tobytes().decode() for row in np.unique(tables, axis=0)}
    return frozenset(found)


def confirm(answer: Separable | Inseparable) -> None:
    """Check an answer row by row, in fractions, by the definition."""
    table = answer.table
    if isinstance(answer, Separable):
        for row, bit in enumerate(table.bits):
            total = sum(w * v for w, v in zip(answer.weights, table.point(row), strict=True))
            assert bit == "*" or (total + answer.bias >= 0) == (bit == "1")
        return
    means = []
    for side, symbol in ((answer.true, "1"), (answer.false, "0")):
        assert all(table.bits[row] == symbol and times > 0 for row, times in side.items())
        total = sum(side.values())
        means.append(
            [
                sum((Fraction(times * table.point(row)[i], total) for row, times in side.items()))
                for i in range(table.inputs)
            ]
        )
    assert means[0] == means[1], "the two mixtures of rows are the same point"
    assert sum(answer.true.values()) == sum(answer.false.values())


def threshold_table(weights: list[int], least: int) -> np.ndarray:
    sums = np.zeros(1, dtype=np.int64)
    for weight in reversed(weights):
        sums = np.concatenate([sums, sums + weight])
    return sums >= least


def test_the_neurons_of_the_problem_set():
    assert separate(TruthTable.from_bits("0001")).weights == (1, 1)
    assert separate(TruthTable.from_bits("0001")).bias == -2
    assert separate(TruthTable.from_bits("0111")).bias == -1
    xor = separate(TruthTable.from_bits("0110"))
    assert (xor.true, xor.false) == ({1: 1, 2: 1}, {0: 1, 3: 1})
    assert xor.receipt().claim == "No threshold neuron computes this truth table of 2 inputs."


@pytest.mark.parametrize("inputs", [0, 1, 2, 3])
def test_every_function_of_few_inputs_is_decided_as_enumeration_says(inputs):
    known = threshold_functions(inputs)
    for number in range(2**2**inputs):
        answer = separate(TruthTable(format(number, f"0{2**inputs}b")))
        assert isinstance(answer, Separable) == (answer.table.bits in known)
        confirm(answer)


@given(st.text("01", min_size=16, max_size=16))
def test_functions_of_four_inputs_are_decided_as_enumeration_says(bits):
    answer = separate(TruthTable(bits))
    assert isinstance(answer, Separable) == (bits in threshold_functions(4))
    confirm(answer)
    if isinstance(answer, Inseparable):
        assert len(answer.true) == len(answer.false) == 2


@given(st.text("01**", min_size=8, max_size=8))
def test_tables_with_rows_that_do_not_matter_are_decided_as_enumeration_says(bits):
    answer = separate(TruthTable(bits))
    possible = any(
        all(a in ("*", b) for a, b in zip(bits, known, strict=True))
        for known in threshold_functions(3)
    )
    assert isinstance(answer, Separable) == possible
    confirm(answer)


@st.composite
def near_threshold(draw, least_inputs=5, most_inputs=9):
    """A table that a neuron computes but for the rows on its boundary, and some that don't matter.

    Such tables pass all quick tests or nearly so; a table at random is refuted at a glance.
    """
    inputs = draw(st.integers(least_inputs, most_inputs))
    weights = draw(st.lists(st.integers(-6, 6), min_size=inputs, max_size=inputs))
    sums = np.zeros(1, dtype=np.int64)
    for weight in reversed(weights):
        sums = np.concatenate([sums, sums + weight])
    level = int(sums[draw(st.integers(0, len(sums) - 1))])
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    symbols = np.where(sums > level, "1", "0")
    tie = sums == level
    symbols[tie] = rng.choice(list(draw(st.sampled_from(["01", "1", "0000001"]))), tie.sum())
    symbols[rng.random(len(sums)) < draw(st.sampled_from([0, 0, 0.2, 0.7]))] = "*"
    return "".join(symbols)


@settings(deadline=None)
@given(near_threshold())
def test_tables_close_to_a_threshold_function_are_decided_with_a_proof(bits):
    answer = separate(TruthTable(bits))
    confirm(answer)
    answer.receipt()


@pytest.mark.parametrize(("inputs", "expected"), [(3, 24), (7, 2470)])
def test_every_class_is_decided_as_the_enumeration_decides_it(inputs, expected):
    """Regular self-dual functions of up to 8 inputs; none can be refuted at a glance."""
    seen = 0
    for classes in enumerate_classes(inputs):
        for table, good in list(zip(classes.tables, classes.threshold, strict=True))[::9]:
            answer = separate(TruthTable.from_values(table))
            assert isinstance(answer, Separable) == good
        seen += len(classes.tables)
    assert seen in (3, expected)


def regular_but_inseparable() -> list[np.ndarray]:
    """Regular self-dual functions of 9 inputs that no neuron computes, from the enumeration."""
    classes = next(iter(enumerate_classes(8)))
    return [classes.tables[k] for k in np.flatnonzero(~classes.threshold)[:40]]


def test_functions_that_no_glance_refutes_are_refuted_by_the_linear_program():
    tables = regular_but_inseparable()
    assert len(tables) == 40
    for table in tables:
        answer = separate(TruthTable.from_values(table))
        assert isinstance(answer, Inseparable)
        confirm(answer)
        answer.receipt()
        program = NeuronProgram(TruthTable.from_values(table))
        true, false = program.solve()
        confirm(Inseparable(answer.table, true, false))
        assert len(true) + len(false) <= 2 * (9 + 2), "few rows"


def test_contradictions_with_rows_that_do_not_matter_can_need_more_than_four_points():
    """The middle of a triangle of true rows is the middle of a triangle of false ones."""
    bits = ["*"] * 64
    for row in (0b110000, 0b001100, 0b000011):
        bits[row] = "1"
    for row in (0b101000, 0b010001, 0b000110):
        bits[row] = "0"
    answer = separate(TruthTable("".join(bits)))
    assert isinstance(answer, Inseparable)
    assert len(answer.true) == len(answer.false) == 3
    confirm(answer)


@pytest.mark.parametrize("inputs", [12, 16, 20])
def test_many_inputs_are_decided_and_leave_a_receipt(inputs):
    rng = np.random.default_rng(inputs)
    weights = rng.integers(-1000, 1001, inputs).tolist()
    table = TruthTable.from_values(threshold_table(weights, sum(weights) // 2))
    answer = separate(table)
    assert isinstance(answer, Separable)
    assert "One threshold neuron" in answer.receipt().claim
    bits = list(table.bits)
    row = 3 * 2 ** (inputs - 3)
    bits[row] = "1" if bits[row] == "0" else "0"
    answer = separate(TruthTable("".join(bits)))
    confirm(answer)
    answer.receipt()


def test_four_points_are_found_exactly_when_enumeration_finds_them():
    rng = np.random.default_rng(0)
    for _ in range(200):
        number = int(rng.integers(0, 2**16))
        bits = format(number, "016b")
        table = TruthTable(bits)
        found = four_points(table.mask("1"), table.mask("0"), 4, range(1, 5))
        x = np.array(list(product((0, 1), repeat=4)))
        pairs = {"0": set(), "1": set()}
        for a, b in product(range(16), repeat=2):
            if a < b and bits[a] == bits[b]:
                pairs[bits[a]].add(tuple(x[a] + x[b]))
        assert (found is None) == (not pairs["0"] & pairs["1"])


def test_int64_is_used_exactly_where_the_bound_allows_it():
    assert all(fits(inputs, 1) for inputs in range(21))
    assert not fits(21, 1)
    assert fits(8, 10**6)
    assert not fits(20, 10**6)


def test_constants_need_no_weights():
    for bits, bias in (("0000", -1), ("1111", 0), ("**0*", -1), ("1***", 0), ("****", -1)):
        answer = separate(TruthTable(bits), minimal=True)
        assert (answer.weights, answer.bias) == ((0, 0), bias)
        assert "smaller sum of |w| than 0" in answer.receipt().claim
