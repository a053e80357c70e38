"""Where are the eigenvalues of a W that has too few eigenvectors, or nearly so?

At the roots of the characteristic polynomial of V = W times its common denominator, in whole
numbers. FLINT finds the polynomial, its factors and their roots. What proves that the roots are the
eigenvalues are chains v, V v, V^2 v, ... (Krylov 1931); the theorems are spelled out in
receipts/check.py, `check_chains` and `root_discs`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flint
import numpy as np

from unrolled.errors import WorkFailed
from unrolled.receipts import check
from unrolled.recurrences.matrix import Matrix
from unrolled.recurrences.spectrum import GOOD_ENOUGH, Spectrum, radius

MAX_ROWS = 200  # the characteristic polynomial of doubles taken exactly: seconds
PLACES = (32, 160, 640, 2560)  # binary ones of a root, until its disc is small

Factors = list[tuple[flint.fmpz_poly, int]]


def by_polynomial(matrix: Matrix) -> Spectrum:
    """Eigenvalues as certified roots of the characteristic polynomial, clusters and all.

    Raises:
        WorkFailed: more than 200 rows, complex ones counting twice; numbers that are too long.
    """
    size = matrix.size * (1 + matrix.is_complex)
    if size > MAX_ROWS:
        raise WorkFailed(
            "the eigenvectors are too near to dependent for a bound, and the exact way is for at "
            f"most {MAX_ROWS} rows, complex ones counting twice: rescale W, or perturb it by 1e-8"
        )
    V, below = whole(matrix)
    length = check.bits(V) + size.bit_length() + 1
    factors, chains = found_chains(V)
    q, discs = enclosed(factors, length, small)
    table = np.array([[x / (below << q) for x in disc] for found in discs for disc in found])
    a, b, radii = table.T
    low, high = radius(a, b, radii)
    times = [m for (_, m), found in zip(factors, discs, strict=True) for _ in found]
    values, around = np.repeat(a + 1j * b, times), np.repeat(radii, times)
    if matrix.is_complex:  # the real form has each one's conjugate too, whichever W has
        values = np.linalg.eigvals(matrix.values)
        around = high + np.abs(values)
    order = np.argsort(-np.abs(values), kind="stable")
    evidence = {"chains": chains, "factors": documents(factors, discs), "q": q}
    return Spectrum(matrix, values[order], around[order], low, high, evidence, "polynomial")


def whole(matrix: Matrix) -> tuple[list[list[int]], int]:
    """V in whole numbers and the common denominator; of the real form where W is complex.

    Raises:
        WorkFailed: the numbers are too long.
    """
    pairs = [[x.as_integer_ratio() for x in row] for row in matrix.fractions()]
    try:
        return check.common_denominator(pairs)
    except check.Malformed as error:
        raise WorkFailed(f"the exact way is too long: {error}; rescale W") from None


def documents(factors: Factors, discs: Sequence[list[check.Disc] | None]) -> list[dict[str, Any]]:
    """The factors as a receipt writes them down, with the roots of those that have discs."""
    return [
        {
            "polynomial": [hexadecimal(c) for c in f.coeffs()],
            "roots": found and [[hexadecimal(disc.a), hexadecimal(disc.b)] for disc in found],
        }
        for (f, _), found in zip(factors, discs, strict=True)
    ]


def powers_of(chains: list[dict[str, Any]]) -> list[int]:
    """The highest power of each factor in a chain: its power in the minimal polynomial."""
    return [max(powers) for powers in zip(*(chain["powers"] for chain in chains), strict=True)]


def small(discs: list[check.Disc], _: int) -> bool:
    """Whether discs are small beside the largest root."""
    top = max(abs(complex(disc.a, disc.b)) for disc in discs)
    return max(disc.radius for disc in discs) <= max(1, GOOD_ENOUGH**2 * top)


def largest_power(evidence: dict[str, Any]) -> int:
    """The size of the largest Jordan block of an eigenvalue of the largest modulus."""
    sizes = [
        max(abs(complex(int(a, 16), int(b, 16))) for a, b in factor["roots"])
        for factor in evidence["factors"]
    ]
    top = max(sizes) * (1 - GOOD_ENOUGH**1.5)
    powers = powers_of(evidence["chains"])
    return max(power for power, size in zip(powers, sizes, strict=True) if size >= top)


def hexadecimal(number: Any) -> str:
    """A whole number as the checker reads it."""
    return format(int(number), "x")


def enclosed(
    factors: Factors, length: int, enough: Callable[[list[check.Disc], int], bool]
) -> tuple[int, list[list[check.Disc]]]:
    """The q and, in units of 2^-q, discs around the roots of each factor that are small enough."""
    before = flint.ctx.prec
    try:
        for q in PLACES:
            flint.ctx.prec = length + q + 32
            found = []
            for f, _ in factors:
                roots = [[scaled(x, q) for x in (r.real, r.imag)] for r, _ in complex_roots(f)]
                try:
                    coefficients = [int(c) for c in f.coeffs()]
                    found.append(check.root_discs(coefficients, roots, q, length + q, "roots"))
                except check.Malformed:  # two that are the same with so few places
                    break
            else:
                if enough([disc for part in found for disc in part], q):
                    return q, found
    finally:
        flint.ctx.prec = before
    raise WorkFailed("two eigenvalues are too near to each other for a bound; perturb W by 1e-8")


def complex_roots(f: flint.fmpz_poly) -> Any:
    """Its roots with multiplicities; FLINT's stubs say `acb` for what is a list of pairs."""
    return f.complex_roots()


def scaled(x: flint.arb, q: int) -> str:
    """The middle of a real ball in whole units of 2^-q, as the checker reads it."""
    digits, exponent = (int(part) for part in x.mid().man_exp())
    shift = exponent + q
    return hexadecimal(digits << shift if shift >= 0 else digits >> -shift)


def found_chains(
    V: list[list[int]],
    split: Callable[[flint.fmpz_poly], list[flint.fmpz_poly]] = lambda f: [f],
) -> tuple[Factors, list[dict[str, Any]]]:
    """The characteristic polynomial's factors with multiplicities, and chains that span the space.

    One chain does where a vector is cyclic; its polynomial then is the characteristic one. Else
    further vectors are taken until all is spanned: random ones, while most of their chains is new,
    then those with one entry. `split` may take factors apart.
    """
    n = len(V)
    flat = [x for row in V for x in row]
    char = flint.fmpz_mat(n, n, flat).charpoly()
    field = flint.nmod_mat(n, n, [x % check.PRIME for x in flat], check.PRIME)
    rows: list[int] = []
    factors: Factors = []
    chains: list[dict[str, Any]] = []
    reached, fruitful = 0, True
    for k, vector in enumerate(vectors(n)):
        if k < n and not fruitful:
            continue
        chain = krylov(field, vector)
        degree = flint.nmod_mat(n, n, chain[: n * n], check.PRIME).rank()
        if not factors:
            found = (char.factor_squarefree() if degree == n else char.factor())[1]
            factors = [(part, m) for f, m in found for part in split(f)]
        more = rows + chain[: degree * n]
        now = flint.nmod_mat(len(more) // n, n, more, check.PRIME).rank()
        fruitful = 2 * (now - reached) >= degree
        if now == reached or (k < n and not fruitful):
            continue
        powers = least_powers(factors, chain, n)
        if sum(e * f.degree() for e, (f, _) in zip(powers, factors, strict=True)) == degree:
            rows, reached = more, now
            chains.append({"vector": vector, "powers": powers})
        if reached == n:
            return factors, chains
    raise WorkFailed("no chains of vectors span the space: perturb W by 1e-8")


def vectors(n: int) -> Iterator[list[int]]:
    """As many random ones as they have entries, then those with one entry."""
    rng = random.Random(0)
    for _ in range(n):
        yield [rng.randint(-9, 9) for _ in range(n)]
    for k in range(n):
        yield [int(j == k) for j in range(n)]


def krylov(field: flint.nmod_mat, vector: list[int]) -> list[int]:
    """v, V v, ..., V^n v modulo the prime, one after the other."""
    n = len(vector)
    x = flint.nmod_mat(n, 1, [v % check.PRIME for v in vector], check.PRIME)
    result: list[int] = []
    for _ in range(n + 1):
        result += map(int, x.entries())
        x = field * x
    return result


def least_powers(factors: Factors, chain: list[int], n: int) -> list[int]:
    """The powers of the factors in the least polynomial that annihilates the chain's vector."""
    powers = [m for _, m in factors]

    def annihilates() -> bool:
        p = flint.fmpz_poly([1])
        for (f, _), e in zip(factors, powers, strict=True):
            p *= f**e
        row = [int(c) % check.PRIME for c in p.coeffs()]
        left = flint.nmod_mat(1, len(row), row, check.PRIME)
        found = left * flint.nmod_mat(len(row), n, chain[: len(row) * n], check.PRIME)
        return not any(map(int, found.entries()))

    for k in range(len(powers)):
        while powers[k]:
            powers[k] -= 1
            if not annihilates():
                powers[k] += 1
                break
    return powers
