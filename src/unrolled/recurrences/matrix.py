"""Which matrix W is meant? From an array, nested lists, text, or a .npy, .csv or .json file.

Entries are numbers, exact fractions as text ("1/3"), or [real part, imaginary part]: the forms a
receipt writes down. A number stands for exactly the binary64 it parses to.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
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
        if array.dtype.kind in "iu" and not np.array_equal(values.astype(array.dtype), array):
            raise BadInput("W holds whole numbers that binary64 can't: give them as text")
        check_finite(values)
        return cls(np.ascontiguousarray(values))

    @classmethod
    def _from_rows(cls, rows: list[Any]) -> Matrix:
        """From nested lists."""
        lengths = {len(row) if isinstance(row, list | tuple) else -1 for row in rows}
        if lengths != {len(rows)}:
            widths = ", ".join(map(str, sorted(lengths))) if lengths else "none"
            raise BadInput(
                f"W must be square, rows of equal length: got {len(rows)} rows of {widths} entries"
            )
        check_shape((len(rows), len(rows)))
        entries = [
            [entry(x, f"row {i + 1}, column {j + 1}") for j, x in enumerate(row)]
            for i, row in enumerate(rows)
        ]
        kind = complex if any(type(x) is tuple for row in entries for x in row) else float
        values = np.array([[approximate(x) for x in row] for row in entries], dtype=kind)
        check_finite(values)
        parts = [p for row in entries for x in row for p in (x if type(x) is tuple else (x,))]
        exact = all(Fraction(p) == Fraction(float(p)) for p in parts)
        return cls(values, None if exact else tuple(map(tuple, entries)))

    @classmethod
    def read(cls, source: str) -> Matrix:
        """From a file's name, or the matrix itself as JSON: "[[0.9, 1], [0, 0.9]]".

        Raises:
            BadInput: no such file, another format, a pickled .npy, no matrix in it.
        """
        if source.lstrip().startswith("["):
            return cls.of(from_json(source, "the matrix"))
        path = Path(source)
        readers = {".npy": from_npy, ".csv": from_csv, ".json": from_json_file}
        if path.suffix.lower() not in readers:
            raise BadInput(f'expected a .npy, .csv or .json file or "[[...], ...]", got {source!r}')
        try:
            return cls.of(readers[path.suffix.lower()](path))
        except OSError as error:
            raise BadInput(f"can't read {path}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise BadInput(f"{path} is not UTF-8 text") from None

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
    raise BadInput(f"W has {str(value)[:40]!r} in {where}: expected {FORMS}")


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


def from_json(text: str, where: object) -> Any:
    """The value of a JSON text; NaN and Infinity are refused later, with their place."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} is not JSON: {error}") from None


def from_json_file(path: Path) -> Any:
    """A .json file: the rows, or a receipt's {"W": rows}."""
    value = from_json(path.read_text(encoding="utf-8"), path)
    return value["W"] if isinstance(value, dict) and "W" in value else value


def from_csv(path: Path) -> list[list[Any]]:
    """A .csv file: a row a line; whole numbers and fractions stay exact."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    return [[number(cell) for cell in row] for row in rows]


def number(cell: str) -> Any:
    """A cell: "1/3" stays text, "0.1" is the binary64, "1+2j" a pair."""
    for kind in (int, float, complex):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def from_npy(path: Path) -> Any:
    """A .npy file of numbers, its header read before anything is allocated."""
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except ValueError as error:
        hint = "a pickled array is refused: it can run code; save numbers"
        what = hint if "pickle" in str(error).lower() or "object" in str(error).lower() else error
        raise BadInput(f"{path}: {what}") from None
    if not isinstance(array, np.ndarray):
        raise BadInput(f"{path} is no .npy file")
    return array
