"""What happens exactly on the circle, rho(W) = 1?

For rational W (every matrix of floats is one) by the minimal polynomial over the rationals. A root
on the unit circle has its conjugate 1/z for a root too, so its irreducible factor reads the same in
reverse, up to sign; all of such a factor's roots lie on the circle, or one lies outside (Cohn 1922
decides it: receipts/check.py, `check_exact`). A factor's multiplicity in the minimal polynomial is
the size of the largest Jordan block. Nothing is rounded. FLINT factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import flint

from unrolled.errors import WorkFailed
from unrolled.receipts import Receipt, check
from unrolled.recurrences.matrix import Matrix

MAX_ROWS = 64  # the minimal polynomial of doubles taken exactly: seconds


@dataclass(frozen=True)
class Exact:
    """The place of the spectral radius against 1, decided without rounding.

    `degree` is d where the radius is 1 and ||W^t|| grows like t^d: the size of the largest Jordan
    block on the circle, less one.
    """

    matrix: Matrix
    verdict: Literal["vanishing", "bounded", "polynomial", "exploding"]
    degree: int
    inside: list[int]
    """Product of the minimal polynomial's factors with all roots inside the circle."""
    circle: list[list[int]]
    """C_1, C_2, …: products of the factors on the circle, by multiplicity."""

    def receipt(self) -> Receipt:
        """The receipt `recurrence.exact`, for a radius of exactly 1.

        Raises:
            WorkFailed: the radius isn't 1, or the numbers are too long for the checker's budget.
        """
        if self.verdict not in ("bounded", "polynomial"):
            raise WorkFailed("the spectral radius isn't 1: its receipt is recurrence.spectrum")
        answer = {"verdict": self.verdict, "degree": self.degree}
        evidence = {"inside": self.inside, "circle": self.circle}
        try:
            given = {"W": self.matrix.given}
            return Receipt.prove("recurrence.exact", given, answer, evidence)
        except check.Malformed as error:
            raise WorkFailed(f"too large for a receipt: {error}") from None


def rational(matrix: Matrix) -> flint.fmpq_mat:
    """W, or its real form, over the rationals."""
    rows = matrix.fractions()
    entries = [flint.fmpq(x.numerator, x.denominator) for row in rows for x in row]
    return flint.fmpq_mat(len(rows), len(rows), entries)


def decide(W: object) -> Exact:
    """The exact verdict.

    Args:
        W: (n, n) of at most 64 rows, complex ones counting twice.

    Raises:
        WorkFailed: W is too large.

    >>> answer = decide([[1, 1], [0, 1]])
    >>> answer.verdict, answer.degree
    ('polynomial', 1)
    """
    matrix = Matrix.of(W)
    if matrix.size * (1 + matrix.is_complex) > MAX_ROWS:
        raise WorkFailed(f"the exact decision is for at most {MAX_ROWS} rows, got {matrix.size}")
    minimal = primitive(rational(matrix).minpoly())
    inside, circle = flint.fmpz_poly([1]), [flint.fmpz_poly([1])]
    for factor, power in minimal.factor()[1]:
        place = where(factor)
        if place == "outside":
            return Exact(matrix, "exploding", 0, [], [])
        if place == "inside":
            inside *= factor**power
            continue
        circle += [flint.fmpz_poly([1])] * (power - len(circle))
        circle[power - 1] *= factor
    degree = len(circle) - 1
    if degree == 0 and circle[0].degree() == 0:
        return Exact(matrix, "vanishing", 0, coefficients(inside), [])
    verdict: Literal["bounded", "polynomial"] = "polynomial" if degree else "bounded"
    return Exact(matrix, verdict, degree, coefficients(inside), [coefficients(c) for c in circle])


def largest_block(matrix: Matrix, low: float) -> int:
    """The size of the largest Jordan block of an eigenvalue of modulus `low` or more, at least 1.

    Raises:
        WorkFailed: W is too large.
    """
    if matrix.size * (1 + matrix.is_complex) > MAX_ROWS:
        raise WorkFailed(f"Jordan blocks are found for at most {MAX_ROWS} rows, got {matrix.size}")
    found = 1
    for factor, power in primitive(rational(matrix).minpoly()).factor_squarefree()[1]:
        # FLINT's stubs say `acb` for what is a list of pairs.
        roots: Any = factor.complex_roots()
        if any(abs(root).upper() >= low for root, _ in roots):
            found = max(found, power)
    return found


def primitive(polynomial: flint.fmpq_poly) -> flint.fmpz_poly:
    """The multiple with whole coefficients that have no common factor."""
    numerator = polynomial.numer()
    return numerator // numerator.content() if numerator.content() > 1 else numerator


def coefficients(polynomial: flint.fmpz_poly) -> list[int]:
    """As Python's numbers, the constant first."""
    return [int(c) for c in polynomial.coeffs()]


def where(factor: flint.fmpz_poly) -> Literal["inside", "circle", "outside"]:
    """Where an irreducible factor's roots lie; "outside" if one does."""
    p = coefficients(factor)
    if check.roots_inside(p):
        return "inside"
    if p[::-1] not in (p, [-c for c in p]):
        return "outside"  # none is on the circle, and not all are inside
    return "circle" if check.roots_inside([k * c for k, c in enumerate(p)][1:]) else "outside"


def exact_power(W: list[list[Fraction]], t: int) -> list[list[Fraction]]:
    """W^t over the rationals."""
    size = len(W)
    flat = [flint.fmpq(x.numerator, x.denominator) for row in W for x in row]
    found = flint.fmpq_mat(size, size, flat) ** t
    return [[Fraction(int(x.p), int(x.q)) for x in row] for row in found.tolist()]
