"""Does every way to make a truth table give the same table?"""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.errors import BadInput
from unrolled.neurons import TruthTable


def test_row_r_is_the_input_whose_bits_spell_r_with_x1_first():
    table = TruthTable.from_function(lambda x1, _, x3: x1 and not x3, 3)
    assert table.bits == "00001010"
    assert table == TruthTable.parse("x1 and not x3", ("x1", "x2", "x3"))
    assert table.point(4) == (1, 0, 0)
    assert table.names == ("x1", "x2", "x3")


@pytest.mark.parametrize("inputs", range(6))
def test_functions_by_name(inputs):
    by_hand = TruthTable.from_function
    assert TruthTable.parity(inputs) == by_hand(lambda *x: sum(x) % 2, inputs)
    assert TruthTable.majority(inputs) == by_hand(lambda *x: 2 * sum(x) > inputs, inputs)
    assert TruthTable.at_least(2, inputs) == by_hand(lambda *x: sum(x) >= 2, inputs)


def test_bits_values_and_sets_agree():
    table = TruthTable.from_bits("01*1")
    assert (table.mask("1"), table.mask("0"), table.mask("*")) == (0b1010, 0b0001, 0b0100)
    assert not table.complete
    assert TruthTable.from_values(np.array([0, 1, 2, 0])).bits == "0110"
    assert table.given() == {"inputs": 2, "table": "01*1"}


@pytest.mark.parametrize(
    ("bits", "names", "message"),
    [
        ("010", (), "a truth table has 2, 4, 8, 16, ... rows, got 3"),
        ("", (), "got 0"),
        ("01a1", (), "row 2 of the table is 'a'; expected 0, 1 or *"),
        ("٠١", (), "row 0 of the table"),
        ("0" * 2**21, (), "21 variables: a truth table is written out for at most 20"),
        ("0111", ("a",), "a table of 4 rows has 2 different names, got 1"),
        ("0111", ("a", "a"), "2 different names"),
    ],
)
def test_what_is_no_table_is_refused(bits, names, message):
    with pytest.raises(BadInput) as caught:
        TruthTable(bits, names)
    assert message in str(caught.value)


def test_too_many_inputs_are_refused_before_any_row_is_computed():
    for make in (TruthTable.parity, TruthTable.majority):
        with pytest.raises(BadInput, match="40 variables"):
            make(40)
    with pytest.raises(BadInput, match="40 variables"):
        TruthTable.from_function(max, 40)
