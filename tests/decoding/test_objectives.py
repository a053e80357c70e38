"""Scores are compared as the exact numbers that they are."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from unrolled.decoding.objectives import parse_objective

NAMES = [
    "log-probability", "length-normalised:0", "length-normalised:1", "length-normalised:-2",
    "gnmt:2", "gnmt:-1", "word-reward:0.7", "word-reward:-0.3", "bounded-reward:0.8:3",
]  # fmt: skip
sums = st.integers(-(2**52), 0).map(lambda units: units * 2.0**-36)
lengths = st.integers(1, 9)


def exact(name: str, s: float, n: int) -> Fraction:
    """The definition, in rational numbers."""
    kind, *numbers = name.split(":")
    number, total = Fraction(numbers[0] if numbers else 0), Fraction(s)
    if kind in ("length-normalised", "gnmt"):
        base = Fraction(n) if kind == "length-normalised" else Fraction(5 + n, 6)
        return total / base ** int(number)
    return total + number * (min(n, int(numbers[1])) if kind == "bounded-reward" else n)


@given(st.sampled_from(NAMES), sums, lengths, sums, lengths)
@example("length-normalised:1", -1.0, 2, -2.0, 4)
@example("length-normalised:1", -1.0, 2, -2.0 - 2.0**-36, 4)
@example("length-normalised:1", -3.0, 4, -3.0 - 2.0**-36, 4)
@example("word-reward:0.7", 0.0, 1, 0.0, 1)
def test_the_better_of_two_is_the_better_by_rational_numbers(
    name: str, s: float, n: int, other_s: float, other_n: int
) -> None:
    difference = exact(name, s, n) - exact(name, other_s, other_n)
    found = parse_objective(name).compare(s, n, other_s, other_n)
    assert found == (difference > 0) - (difference < 0)
