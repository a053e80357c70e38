"""Do the words say what was proved, so that one can follow them with pencil and paper?"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.neurons import Inseparable, TruthTable, network, separate
from unrolled.neurons.explain import explain, linear


def test_xor_is_explained_by_four_inequalities_and_their_sum():
    assert explain(separate(TruthTable.parse("x1 xor x2"))) == (
        "No: no threshold neuron computes it.\n"
        "\n"
        "Suppose a neuron did, with bias b and weights w1 for x1, w2 for x2.\n"
        "Then the sum is at least 0 on true rows and below 0 on false ones. In particular:\n"
        "\n"
        "     true at x1=0, x2=1:  b + w2 >= 0\n"
        "     true at x1=1, x2=0:  b + w1 >= 0\n"
        "    false at x1=0, x2=0:  b < 0\n"
        "    false at x1=1, x2=1:  b + w1 + w2 < 0\n"
        "\n"
        "Add up the 2 inequalities for true rows:  2*b + w1 + w2 >= 0\n"
        "Add up the 2 inequalities for false rows: 2*b + w1 + w2 < 0\n"
        "\n"
        "The left sides are the same, and one number can't be at least 0 and below 0:\n"
        "so there are no such weights and no such bias."
    )


def test_and_is_explained_row_by_row():
    assert explain(separate(TruthTable.parse("a and b"))) == (
        "Yes: one threshold neuron computes it.\n"
        "\n"
        "    output 1 where a + b - 2 >= 0, else 0\n"
        "\n"
        "    weights [1, 1], bias -2\n"
        "\n"
        "    a  b  sum  output\n"
        "    0  0   -2       0\n"
        "    0  1   -1       0\n"
        "    1  0   -1       0\n"
        "    1  1    0       1"
    )


def test_minimality_is_claimed_only_where_it_was_proved():
    table = TruthTable.parse("a and b")
    assert "smaller" not in explain(separate(table))
    assert "No whole weights with a smaller sum of |w| than 2 do it" in explain(
        separate(table, minimal=True)
    )


def test_a_network_is_explained_with_what_is_known_of_its_size():
    text = explain(network(TruthTable.parse("a xor b")))
    assert "2 hidden neurons" in text
    assert "Fewer hidden neurons can't do" in text
    assert "h1 = 1 where a + b - 1 >= 0, else 0" in text
    assert "isn't known" in explain(network(TruthTable.parity(4)))
    for constant_or_single in ("1", "a and b", "parity(a, b, c)"):
        assert "can't do" in explain(network(TruthTable.parse(constant_or_single)))


@given(st.text("01", min_size=16, max_size=16) | st.text("01*", min_size=8, max_size=8))
def test_the_inequalities_as_printed_add_up_to_the_sums_as_printed(bits):
    answer = separate(TruthTable(bits))
    if not isinstance(answer, Inseparable):
        return
    text = explain(answer)
    for word, relation in (("true", ">="), ("false", "<")):
        total = dict.fromkeys(["b", "w1", "w2", "w3", "w4"], 0)
        lines = [line for line in text.splitlines() if line.strip().startswith(f"{word} at")]
        for line in lines:
            left = re.search(rf":  (.*) {relation} 0", line)[1]
            often = re.search(r"taken (\d+) times", line)
            for term in left.split(" + "):
                total[term] += int(often[1]) if often else 1
        stated = re.search(rf"for {word} rows: +(.*) {relation} 0", text)[1]
        said = dict.fromkeys(total, 0)
        for term in stated.split(" + "):
            factor, _, name = term.rpartition("*")
            said[name] = int(factor or 1)
        assert said == total


@pytest.mark.parametrize(
    ("weights", "bias", "text"),
    [
        ((2, -1, 0), -3, "2*a - b - 3"),
        ((-1, 0, 1), 0, "-a + c"),
        ((0, 0, 0), 0, "0"),
        ((0, 0, 0), -1, "-1"),
        ((1, 1, 1), 1, "a + b + c + 1"),
        ((0, -5, 0), 2, "-5*b + 2"),
    ],
)
def test_sums_are_written_as_on_a_blackboard(weights, bias, text):
    assert linear(weights, ("a", "b", "c"), bias) == text


def test_many_inputs_are_explained_in_few_lines():
    text = explain(separate(TruthTable.majority(12)))
    assert len(text.splitlines()) < 10
    text = explain(separate(TruthTable.parity(16)))
    assert len(text.splitlines()) < 20
    assert max(map(len, text.splitlines())) < 100
    assert "    false where all inputs are 0:  b < 0\n" in text
    assert "    false where just x1, x16 = 1:  b + w1 + w16 < 0\n" in text
    text = explain(network(TruthTable.parity(18)))
    assert "... and 2 more" in text
    assert "output" not in text
