"""What happens exactly on the circle, rho(W) = 1?

For rational W (every matrix of floats is one) by the minimal polynomial of V = W times its common
denominator, in factors (chains.py). A root on the circle has its conjugate 1/z for a root too, so
what a factor has in common with its own reverse holds all its roots on the circle; these are all of
that part's roots, or one lies outside (Cohn 1922 decides it: receipts/check.py, `check_exact`). A
factor's highest power is the size of the largest Jordan block. Nothing is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import flint

from unrolled.errors import WorkFailed
from unrolled.receipts import Receipt, check
from unrolled.recurrences.chains import (
    MAX_ROWS,
    Factors,
    complex_roots,
    documents,
    enclosed,
    found_chains,
    powers_of,
    whole,
)
from unrolled.recurrences.matrix import Matrix

PRECISIONS = (64, 256, 1024, 4096)  # bits, until no root's ball meets the circle
Place = Literal["inside", "circle", "outside"]


@dataclass(frozen=True)
class Exact:
    """The place of the spectral radius against 1, decided without rounding.

    `degree` is d where the radius is 1 and ||W^t|| grows like t^d: the size of the largest Jordan
    block on the circle, less one.
    """

    matrix: Matrix
    verdict: Literal["vanishing", "bounded", "polynomial", "exploding"]
    degree: int = 0
    evidence: dict[str, Any] = field(default_factory=dict, repr=False)
    """The factors and chains of the receipt, where the radius is 1."""

    def receipt(self) -> Receipt:
        """The receipt `recurrence.exact`, for a radius of exactly 1.

        Raises:
            WorkFailed: the radius isn't 1, or the numbers are too long for the checker's budget.
        """
        if self.verdict not in ("bounded", "polynomial"):
            raise WorkFailed("the spectral radius isn't 1: its receipt is recurrence.spectrum")
        answer = {"verdict": self.verdict, "degree": self.degree}
        try:
            given = {"W": self.matrix.given}
            return Receipt.prove("recurrence.exact", given, answer, self.evidence)
        except check.Malformed as error:
            raise WorkFailed(f"too large for a receipt: {error}") from None


def decide(W: object) -> Exact:
    """The exact verdict.

    Args:
        W: (n, n) of at most 200 rows, complex ones counting twice.

    Raises:
        WorkFailed: W is too large, or its numbers are too long.

    >>> answer = decide([[1, 1], [0, 1]])
    >>> answer.verdict, answer.degree
    ('polynomial', 1)
    """
    matrix = Matrix.of(W)
    if matrix.size * (1 + matrix.is_complex) > MAX_ROWS:
        raise WorkFailed(f"the exact decision is for at most {MAX_ROWS} rows, got {matrix.size}")
    V, below = whole(matrix)
    factors, chains = found_chains(V, lambda f: on_and_off(f, below))
    places = [place(f, below) for f, _ in factors]
    if "outside" in places:
        return Exact(matrix, "exploding")
    if "circle" not in places:
        return Exact(matrix, "vanishing")
    inner: Factors = [f for f, at in zip(factors, places, strict=True) if at == "inside"]
    length = check.bits(V) + len(V).bit_length() + 1

    def all_inside(discs: list[check.Disc], q: int) -> bool:
        edge = below << q
        return all(d.radius < edge and d.a**2 + d.b**2 < (edge - d.radius) ** 2 for d in discs)

    q, discs = enclosed(inner, length, all_inside)
    left = iter(discs)
    around = [next(left) if at == "inside" else None for at in places]
    block = max(
        power for power, at in zip(powers_of(chains), places, strict=True) if at == "circle"
    )
    evidence = {"chains": chains, "factors": documents(factors, around), "q": q}
    return Exact(matrix, "polynomial" if block > 1 else "bounded", block - 1, evidence)


def on_and_off(f: flint.fmpz_poly, below: int) -> list[flint.fmpz_poly]:
    """The part of a monic f that has its roots of modulus `below`, and maybe pairs r, below^2 / r
    that lie on either side of it; and the rest.
    """
    unit = scaled_down(f, below)
    common = unit.gcd(flint.fmpz_poly(unit.coeffs()[::-1]))
    degree = common.degree()
    if not degree:
        return [f]
    lead = common[degree]
    part = flint.fmpz_poly(
        [c * flint.fmpz(below) ** (degree - j) // lead for j, c in enumerate(common.coeffs())]
    )
    rest = f // part
    return [part, rest] if rest.degree() else [part]


def scaled_down(f: flint.fmpz_poly, below: int) -> flint.fmpz_poly:
    """The polynomial with the roots of f divided by `below`, without common factors."""
    result = f(flint.fmpz_poly([0, below]))
    return result // result.content()


def place(f: flint.fmpz_poly, below: int) -> Place:
    """Where the roots of a part lie; "outside" if one does."""
    unit = [int(c) for c in scaled_down(f, below).coeffs()]
    if unit[::-1] in (unit, [-c for c in unit]):
        slope = [k * c for k, c in enumerate(unit)][1:]
        return "circle" if check.roots_inside(slope) else "outside"
    before = flint.ctx.prec
    try:
        for precision in PRECISIONS:
            flint.ctx.prec = precision
            sizes = [abs(root) for root, _ in complex_roots(f)]
            if any(size.lower() > below for size in sizes):
                return "outside"
            if all(size.upper() < below for size in sizes):
                return "inside"
    finally:
        flint.ctx.prec = before
    raise WorkFailed("an eigenvalue is too near to the unit circle, and not on it, to tell")
