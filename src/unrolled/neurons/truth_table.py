"""What is the Boolean function in question?

A truth table of up to 20 inputs: row r is the input whose bits, x1 first, spell r in binary; "1"
where the function is true, "0" where it is false, "*" where either will do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import BadInput
from unrolled.neurons import expression

MAX_INPUTS = 20


@dataclass(frozen=True)
class TruthTable:
    """A Boolean function, possibly with rows that don't matter.

    Args:
        bits: one of 0, 1, * a row; 2^n of them.
        names: the n variables, x1, x2, … unless given.

    Raises:
        BadInput: the length isn't a power of two, another character, more than 20 inputs.

    >>> TruthTable.parse("a and not b").bits
    '0010'
    """

    bits: str
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = len(self.bits)
        if rows & (rows - 1) or not rows:
            raise BadInput(
                f"a truth table has 2, 4, 8, 16, ... rows, got {rows}; "
                "write one of 0, 1, * for each combination of the inputs"
            )
        inputs = rows.bit_length() - 1
        check_inputs(inputs)
        if self.bits.strip("01*") or not set(self.bits) <= {"0", "1", "*"}:
            column = next(i for i, bit in enumerate(self.bits) if bit not in "01*")
            raise BadInput(
                f"row {column} of the table is {self.bits[column]!r}; expected 0, 1 or *"
            )
        names = tuple(self.names) or tuple(f"x{i + 1}" for i in range(inputs))
        if len(names) != inputs or len(set(names)) != inputs:
            raise BadInput(f"a table of {rows} rows has {inputs} different names, got {len(names)}")
        object.__setattr__(self, "names", names)

    @classmethod
    def parse(cls, text: str, names: Sequence[str] = ()) -> TruthTable:
        """The table of an expression with and, or, not, xor, &, |, ~, ^, parentheses, 0, 1,
        majority(...), parity(...) and at_least(k, ...).

        Args:
            text: the expression.
            names: the inputs in order; otherwise the variables of the expression, x2 before x10 if
                all are one stem and a number, else in the order they first appear.

        Raises:
            BadInput: the expression doesn't parse (with the column), or has more than 20 variables.
        """
        names = tuple(names) or tuple(expression.variables(text))
        check_inputs(len(names))
        return cls.from_values(expression.evaluate(text, names), names)

    @classmethod
    def from_bits(cls, bits: str) -> TruthTable:
        """The table written out, "0001" for the and of two inputs."""
        return cls(bits)

    @classmethod
    def from_function(cls, function: Callable[..., Any], inputs: int) -> TruthTable:
        """The table of a Python function of `inputs` arguments, each 0 or 1."""
        check_inputs(inputs)
        rows = (tuple(row >> i & 1 for i in reversed(range(inputs))) for row in range(1 << inputs))
        return cls("".join(["1" if function(*row) else "0" for row in rows]))

    @classmethod
    def from_values(cls, values: npt.ArrayLike, names: Sequence[str] = ()) -> TruthTable:
        """The table of an array of 2^n true or false values."""
        digits = np.asarray(values).astype(np.bool_).astype(np.uint8) + ord("0")
        return cls(digits.tobytes().decode("ascii"), tuple(names))

    @classmethod
    def parity(cls, inputs: int) -> TruthTable:
        """True where an odd number of inputs is 1."""
        return cls.from_values(_ones(inputs) % 2)

    @classmethod
    def majority(cls, inputs: int) -> TruthTable:
        """True where more than half of the inputs are 1."""
        return cls.from_values(2 * _ones(inputs) > inputs)

    @classmethod
    def at_least(cls, least: int, inputs: int) -> TruthTable:
        """True where `least` or more inputs are 1."""
        return cls.from_values(_ones(inputs) >= least)

    @property
    def inputs(self) -> int:
        """The number of inputs n."""
        return len(self.bits).bit_length() - 1

    @property
    def complete(self) -> bool:
        """Whether every row matters."""
        return "*" not in self.bits

    @cached_property
    def codes(self) -> npt.NDArray[np.uint8]:
        """The rows as the characters' codes: ord("0"), ord("1") or ord("*")."""
        return np.frombuffer(self.bits.encode("ascii"), dtype=np.uint8)

    def mask(self, symbol: str) -> int:
        """The set of rows with this symbol as an integer: bit r is set where row r has it."""
        others = {"0", "1", "*"} - {symbol}
        table = str.maketrans({symbol: "1"} | dict.fromkeys(others, "0"))
        return int(self.bits[::-1].translate(table), 2)

    def point(self, row: int) -> tuple[int, ...]:
        """The input of a row, x1 first."""
        return tuple(row >> i & 1 for i in reversed(range(self.inputs)))

    def given(self) -> dict[str, Any]:
        """The question as a receipt writes it down."""
        return {"inputs": self.inputs, "table": self.bits}


def check_inputs(inputs: int) -> None:
    """Refuse more inputs than a table can be written out for."""
    if inputs > MAX_INPUTS:
        raise BadInput(
            f"{inputs} variables: a truth table is written out for at most {MAX_INPUTS}; "
            "use fewer variables"
        )
    if inputs < 0:
        raise BadInput(f"a function has 0 to {MAX_INPUTS} inputs, got {inputs}")


def looks_like_bits(text: str) -> bool:
    """Whether the text is a table written out rather than an expression."""
    return re.fullmatch(r"[01*]{2,}", text) is not None


def _ones(inputs: int) -> npt.NDArray[np.uint8]:
    """How many of the inputs are 1 in each row."""
    check_inputs(inputs)
    return np.bitwise_count(np.arange(1 << inputs, dtype=np.uint32))
