"""Does the network compute the table, and is the number of hidden neurons what can be had?"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.receipts.truths.neurons import least_sums, with_two_hidden

from unrolled.errors import WorkFailed
from unrolled.neurons import TruthTable, network
from unrolled.neurons.fewest import odd_cycle, shortest_odd_cycle
from unrolled.neurons.network import alternate


def output(layers, x):
    hidden, (weights, bias) = layers
    h = [sum(w * v for w, v in zip(ws, x, strict=True)) + b >= 0 for ws, b in hidden]
    return sum(w * v for w, v in zip(weights, h, strict=True)) + bias >= 0


def computes(layers, table):
    rows = enumerate(table.bits)
    return all(bit == "*" or output(layers, table.point(r)) == (bit == "1") for r, bit in rows)


def test_xor_takes_two_hidden_neurons_and_no_fewer():
    found = network(TruthTable.parse("x1 xor x2"))
    assert len(found.hidden) == 2
    assert found.receipt().claim == (
        "A network of 2 hidden threshold neurons and one on top computes this truth table of 2 "
        "inputs, and no network with fewer hidden neurons does."
    )


@pytest.mark.parametrize("inputs", [0, 1, 2, 3])
def test_every_function_of_few_inputs_gets_the_fewest_and_a_proof(inputs):
    for number in range(2**2**inputs):
        table = TruthTable(format(number, f"0{2**inputs}b"))
        found = network(table)
        if len(set(table.bits)) == 1:
            fewest = 0
        elif table.bits in least_sums(inputs):
            fewest = 1
        else:
            fewest = 2 if table.bits in with_two_hidden(inputs) else 3
        assert len(found.hidden) == fewest
        assert found.fewest is not None
        assert computes((found.hidden, found.output), table)
        assert found.receipt().claim.endswith("and no network with fewer hidden neurons does.")


@pytest.mark.parametrize(
    ("text", "hidden", "proved"),
    [
        ("a and b", 1, True),
        ("(a and b) or (c and d)", 2, True),
        ("(a and b) xor (c and d)", 2, True),
        ("(a or b) and (c or d) and (e or f)", 3, True),
        ("parity(a, b, c)", 3, True),
        ("parity(a, b, c, d)", 4, False),
        ("parity(a, b, c, d, e, f)", 6, False),
        ("at_least(2, a, b, c, d, e) and not at_least(4, a, b, c, d, e)", 2, True),
    ],
)
def test_known_numbers_of_hidden_neurons(text, hidden, proved):
    found = network(TruthTable.parse(text))
    assert len(found.hidden) == hidden
    assert (found.fewest is not None) == proved
    assert computes((found.hidden, found.output), found.table)
    found.receipt()


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 6).flatmap(lambda n: st.text("01*", min_size=2**n, max_size=2**n)))
def test_any_table_gets_a_network_that_computes_it(bits):
    table = TruthTable(bits)
    found = network(table)
    assert computes((found.hidden, found.output), table)
    found.receipt()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 5).flatmap(lambda n: st.text("01*", min_size=2**n, max_size=2**n)))
def test_neurons_across_one_direction_compute_any_table(bits):
    table = TruthTable(bits)
    if {"0", "1"} <= set(bits):
        assert computes(alternate(table), table)


def test_many_inputs_get_neurons_across_one_direction():
    found = network(TruthTable.parity(12))
    assert len(found.hidden) == 12
    assert found.fewest is None
    found.receipt()


def test_a_network_too_large_to_check_is_an_error():
    rng = np.random.default_rng(0)
    with pytest.raises(WorkFailed, match=r"hidden neurons, too many to check on 8,192 rows"):
        network(TruthTable.from_values(rng.random(2**13) < 0.5))


def test_odd_cycles_are_found_exactly_where_there_are_some():
    rng = np.random.default_rng(0)
    for _ in range(200):
        size = int(rng.integers(3, 8))
        edges = [(a, b) for a in range(size) for b in range(a) if rng.random() < 0.35]
        neighbours = {a: [] for a in range(size)}
        for a, b in edges:
            neighbours[a].append(b)
            neighbours[b].append(a)
        colourings = product((0, 1), repeat=size)
        bipartite = any(all(c[a] != c[b] for a, b in edges) for c in colourings)
        cycle = shortest_odd_cycle(neighbours)
        assert (cycle is None) == bipartite
        if cycle is not None:
            assert len(cycle) % 2 == 1
            assert len(set(cycle)) == len(cycle)
            ends = zip(cycle, [*cycle[1:], cycle[0]], strict=True)
            assert all(b in neighbours[a] for a, b in ends)


def test_two_hidden_neurons_are_not_ruled_out_where_they_do():
    assert odd_cycle(TruthTable.parse("a xor b"), "0") is None
    assert odd_cycle(TruthTable.parity(3), "0") is not None
