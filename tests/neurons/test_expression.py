"""Does an expression give the table that Python's own logic gives, and an error where it can't?"""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import BadInput
from unrolled.neurons import TruthTable

NAMES = ("a", "b", "c")


@st.composite
def formulas(draw, depth=4):
    """A formula in this grammar (words or signs, any spacing) and in Python's."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        leaf = draw(st.sampled_from([*NAMES, "0", "1", "true", "False"]))
        return leaf, {"true": "1", "False": "0"}.get(leaf, leaf)
    kind = draw(
        st.sampled_from(["not", "and", "or", "xor", "()", "majority", "parity", "at_least"])
    )
    if kind in ("majority", "parity", "at_least"):
        parts = draw(st.lists(formulas(depth=depth - 1), min_size=1, max_size=3))
        ours, theirs = (", ".join(part[i] for part in parts) for i in (0, 1))
        least = draw(st.integers(0, 4))
        lead = f"{least}, " if kind == "at_least" else ""
        return f"{kind}({lead}{ours})", f"{kind}({lead}{theirs})"
    left, right = draw(formulas(depth=depth - 1)), draw(formulas(depth=depth - 1))
    if kind == "()":
        return f"( {left[0]} )", f"({left[1]})"
    if kind == "not":
        word = draw(st.sampled_from(["not ", "NOT ", "~"]))
        return f"{word}({left[0]})", f"(1-({left[1]}))"
    sign = {"and": "&", "or": "|", "xor": "^"}[kind]
    word = draw(st.sampled_from([f" {kind} ", f" {kind.upper()} ", sign, f" {sign} "]))
    # No parentheses in either: the precedence must be Python's for ~, &, ^, |.
    return f"{left[0]}{word}{right[0]}", f"{left[1]} {sign} {right[1]}"


def by_python(formula: str) -> str:
    helpers = {
        "majority": lambda *xs: int(2 * sum(xs) > len(xs)),
        "parity": lambda *xs: sum(xs) % 2,
        "at_least": lambda k, *xs: int(sum(xs) >= k),
    }
    rows = product((0, 1), repeat=3)
    return "".join(str(eval(formula, helpers, dict(zip(NAMES, x, strict=True)))) for x in rows)


@given(formulas())
def test_an_expression_means_what_python_means_by_it(formula):
    ours, theirs = formula
    assert TruthTable.parse(ours, NAMES).bits == by_python(theirs)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("x1 and x2", "0001"),
        ("x1 or x2", "0111"),
        ("x1 xor x2", "0110"),
        ("x1 and (not x2 or x3)", "00001101"),
        ("a | b & c", "00011111"),
        ("a ^ b & c", "00011110"),
        ("not a and b", "0100"),
        ("~~~a", "10"),
        ("majority(a, b, c)", "00010111"),
        ("majority(a, b)", "0001"),
        ("at_least(2, a, b, c)", "00010111"),
        ("at_least(0, a)", "11"),
        ("parity(a, b, c)", "01101001"),
        ("parity(majority(a, b, c), a)", "00011000"[:4] + "1000"),
        ("é and _x9", "0001"),
        ("0", "0"),
        ("a and 1", "01"),
    ],
)
def test_known_tables(text, bits):
    assert TruthTable.parse(text).bits == bits


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("x10 and x2 or x1", ("x1", "x2", "x10")),
        ("sun and rain", ("sun", "rain")),
        ("b and a", ("b", "a")),
        ("x2 and y1", ("x2", "y1")),
        ("x and x1", ("x", "x1")),
    ],
)
def test_the_order_of_the_inputs(text, names):
    assert TruthTable.parse(text).names == names


def test_an_order_can_be_given_and_may_hold_more_inputs():
    table = TruthTable.parse("a and not b", ("b", "a", "c"))
    assert table.names == ("b", "a", "c")
    assert table.bits == "00110000"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the expression is empty"),
        ("  \t", "the expression is empty"),
        ("x1 and ) x2", "unexpected ')' at column 8"),
        ("x1)", "unexpected ')' at column 3"),
        ("(x1", "unexpected end of the expression at column 4; the '(' at column 1 isn't closed"),
        ("x1 and", "unexpected end of the expression at column 7"),
        ("x1 x2", "unexpected 'x2' at column 4"),
        ("or x1", "unexpected 'or' at column 1"),
        ("x1 and 2", "unexpected '2' at column 8"),
        ("x1 + x2", "unexpected '+' at column 4"),
        ("x1 == x2", "unexpected '=' at column 4"),
        ("nand(x1, x2)", "unknown function 'nand' at column 1; there are majority"),
        ("majority x1", "unexpected 'x1' at column 10; expected '('"),
        ("majority(x1", "unexpected end of the expression at column 12; expected ')'"),
        ("majority()", "unexpected ')' at column 10"),
        ("at_least(x1, x2)", "unexpected 'x1' at column 10; at_least takes a number first"),
        ("at_least(2)", "unexpected ')' at column 11; expected ','"),
        ("(" * 61 + "x" + ")" * 61, "nested more than 60 deep at column 61"),
        ("majority(" * 50_000, "nested more than 60 deep at column"),
        (" or ".join(f"x{i}" for i in range(40)), "40 variables: a truth table is written out for"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_column(text, message):
    with pytest.raises(BadInput) as caught:
        TruthTable.parse(text)
    assert str(caught.value).startswith(message)


def test_a_word_that_is_no_input_is_named():
    with pytest.raises(BadInput, match=r"unknown variable 'c' at column 7; the variables are a, b"):
        TruthTable.parse("a and c", ("a", "b"))


def test_a_long_expression_is_no_deep_recursion():
    assert TruthTable.parse("not " * 10_001 + "a").bits == "10"
    assert TruthTable.parse(" xor ".join(["a"] * 10_001)).bits == "01"
