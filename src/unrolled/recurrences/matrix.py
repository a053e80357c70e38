"""Which matrix W is meant? From an array or nested lists (files and text: files.py).

Entries are numbers, exact fractions as text ("1/3"), or [real part, imaginary part]: the forms a
receipt writes down. A number stands for exactly the binary64 it parses to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Inexact

from unrolled.errors import BadInput

MAX_DENSE = 4_000  # rows: the products of a larger dense matrix take minutes
MAX_CHARACTERS = 100  # of an exact fraction
FORMS = 'a number, a fraction as "1/3", or [real part, imaginary part]'


@dataclass(frozen=True)
class Matrix:
    """A square matrix, as floats and as it was given.

    Raises:
        BadInput: not square, empty, not finite, an entry of another form.

    >>> Matrix.of([[0.9, 1], [0, "1/3"]]).size
    2
    """

    values: Inexact[np.ndarray, "n n"]
    """binary64 or complex128, nearest to what was given."""
    text: tuple[tuple[Any, ...], ...] | None = None
    """The entries, where some are exact fractions."""

    @classmethod
    def of(cls, W: object) -> Matrix:
        """From a `Matrix`, an array, or nested lists of entries."""
        if isinstance(W, Matrix):
            return W
        if isinstance(W, list | tuple):
            return cls._from_rows(list(W))
        try:
            array = np.asarray(W)
        except (ValueError, TypeError) as error:
            raise BadInput(f"W can't be read as a matrix: {error}") from None
        if array.dtype.kind not in "biufc":
            raise BadInput(f"W holds {array.dtype}; expected numbers: {FORMS}")
        check_shape(array.shape)
        values = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
        # Whole numbers above 2^53 and long doubles would be rounded unnoticed.
        if not np.array_equal(
            values.astype(array.dtype), array, equal_nan=array.dtype.kind in "fc"
        ):
            raise BadInput("W holds numbers that binary64 can't: give them as fractions in text")
        check_finite(values)
        return cls(np.ascontiguousarray(values))

    @classmethod
    def _from_rows(cls, rows: list[Any]) -> Matrix:
        """From nested lists."""
        check_rows(rows)
        entries = [
            [entry(x, f"W, row {i + 1}, column {j + 1}") for j, x in enumerate(row)]
            for i, row in enumerate(rows)
        ]
        kind = complex if any(type(x) is tuple for row in entries for x in row) else float
        values = np.array([[approximate(x) for x in row] for row in entries], dtype=kind)
        check_finite(values)
        parts = [p for row in entries for x in row for p in (x if type(x) is tuple else (x,))]
        exact = all(Fraction(p) == Fraction(float(p)) for p in parts)
        return cls(values, None if exact else tuple(map(tuple, entries)))

    @property
    def size(self) -> int:
        """Rows, n."""
        return len(self.values)

    @property
    def is_complex(self) -> bool:
        """Whether an entry has an imaginary part."""
        return self.values.dtype.kind == "c"

    @cached_property
    def given(self) -> list[list[Any]]:
        """The entries as a receipt writes them."""
        if self.text is not None:
            return [[written(x) for x in row] for row in self.text]
        if self.is_complex:
            parts = np.stack([self.values.real, self.values.imag], axis=-1)
            return list(parts.tolist())
        return list(self.values.tolist())

    def fractions(self) -> list[list[Fraction]]:
        """The entries exactly; complex ones as blocks [[a, -b], [b, a]], so 2n rows."""
        rows = self.text if self.text is not None else self.values.tolist()
        if not self.is_complex:
            return [[Fraction(x) for x in row] for row in rows]
        result = []
        for row in rows:
            parts = [pair(x) for x in row]
            result.append([x for a, b in parts for x in (a, -b)])
            result.append([x for a, b in parts for x in (b, a)])
        return result


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse what isn't square, empty or too large."""
    if len(shape) != 2 or shape[0] != shape[1]:
        raise BadInput(f"W must be square, got shape {tuple(shape)}")
    if not shape[0]:
        raise BadInput("W is empty; a recurrence needs at least one row")
    if shape[0] > MAX_DENSE:
        raise BadInput(
            f"a dense matrix has at most {MAX_DENSE:,} rows here, got {shape[0]:,}; "
            "larger ones as scipy.sparse, for `sparse_radius`"
        )


def check_rows(rows: list[Any]) -> None:
    """Refuse what aren't as many lists as each of them is long."""
    for i, row in enumerate(rows, 1):
        if not isinstance(row, list | tuple):
            raise BadInput(f"W, row {i}: expected a list of entries, got {str(row)[:40]!r}")
    lengths = sorted({len(row) for row in rows} or {0})
    if lengths == [0]:
        raise BadInput("W is empty; a recurrence needs at least one row")
    if lengths != [len(rows)]:
        widths = " and ".join(map(str, lengths))
        raise BadInput(f"W must be square, got rows of length {widths}, {len(rows)} in all")
    check_shape((len(rows), len(rows)))


def check_finite(values: Inexact[np.ndarray, "n n"]) -> None:
    """Refuse NaN and infinity, saying where."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        i, j = bad[0]
        raise BadInput(f"W has {values[i, j]} in row {i + 1}, column {j + 1}: expected numbers")


def entry(value: Any, where: str) -> Any:
    """One entry: int, float or Fraction, or a tuple of two of these."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(real(part, where) for part in value)
    if isinstance(value, complex):
        return (value.real, value.imag)
    return real(value, where)


def real(value: Any, where: str) -> int | float | Fraction:
    """A real number exactly as it was given."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Fraction) or (type(value) is int and abs(value) < 10**60):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is str and len(value) <= MAX_CHARACTERS:
        try:
            return Fraction(value.strip())
        except (ValueError, ZeroDivisionError):
            pass
    raise BadInput(f"{where}: expected {FORMS}; got {str(value)[:40]!r}")


def vector(value: Any, name: str) -> list[float | complex]:
    """A list of entries, each of the forms that W may have, as the nearest binary64 numbers."""
    if not isinstance(value, list):
        raise BadInput(f'{name}: expected a list such as "[1, 0]", got {str(value)[:40]!r}')
    found = [approximate(entry(x, f"{name}, entry {i}")) for i, x in enumerate(value, 1)]
    if not np.isfinite(found).all():
        raise BadInput(f"{name} has an entry beyond binary64")
    return found


def approximate(value: Any) -> float | complex:
    """The nearest binary64, or a pair's complex number."""
    return complex(*map(float, value)) if type(value) is tuple else float(value)


def pair(value: Any) -> tuple[Fraction, Fraction]:
    """Real and imaginary part, exactly."""
    if isinstance(value, complex):
        return Fraction(value.real), Fraction(value.imag)
    a, b = value if type(value) is tuple else (value, 0)
    return Fraction(a), Fraction(b)


def written(value: Any) -> Any:
    """An entry as it stands in JSON."""
    if type(value) is tuple:
        return [written(part) for part in value]
    return str(value) if isinstance(value, Fraction) else value
