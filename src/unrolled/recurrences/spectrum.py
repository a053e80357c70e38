"""Where do the eigenvalues of W lie, for certain?

LAPACK's eigenvectors X, an approximate inverse Y and D = diag(eigenvalues) give W = X (D + G) X^-1
with small G, and Gershgorin's discs of D + G hold the eigenvalues (the theorem is spelled out in
receipts/check.py, `discs`). Here G is bounded in binary64, with every rounding error accounted for
by the usual gamma_n |A| |B| of an n-term product (Higham 2002, section 3.5; Rump 2010). Where W has
no such X, a power does: rho^m <= ||W^m||, |trace W^m| <= n rho^m; or, for more rows, the
characteristic polynomial (chains.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Complex, Float

from unrolled.errors import BadInput, WorkFailed
from unrolled.receipts import Receipt, check
from unrolled.recurrences.matrix import Matrix

UNIT = 2.0**-53
LONG_PRODUCT = 1e-300  # what underflow may have lost is below this, once W is scaled
GOOD_ENOUGH = 1e-7  # of the radius: a wider interval is worth another proof
POWER_SIZE = 64  # rows up to which squaring in whole numbers takes seconds

Outcome = Literal["vanishing", "exploding", "undecided"]


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues, each disc a bound; rho(W) in [low, high].

    Discs that touch have as many eigenvalues together as they are.
    """

    matrix: Matrix
    eigenvalues: Complex[np.ndarray, " n"]
    """The discs' centres, largest modulus first."""
    radii: Float[np.ndarray, " n"]
    low: float
    high: float
    evidence: dict[str, Any] = field(repr=False)
    """What the checker needs, of one of its three kinds."""
    method: Literal["eigenvectors", "powers", "polynomial"] = "eigenvectors"

    @property
    def outcome(self) -> Outcome:
        """What the interval decides."""
        return "vanishing" if self.high < 1 else "exploding" if self.low > 1 else "undecided"

    @cached_property
    def proof(self) -> dict[str, Any]:
        """The evidence as JSON."""
        if self.method != "eigenvectors":
            return self.evidence
        return {
            "X": hex_rows(self.evidence["X"]),
            "Y": hex_rows(self.evidence["Y"]),
            "blocks": self.evidence["blocks"],
            "shift": self.evidence["shift"],
        }

    def receipt(self) -> Receipt:
        """The receipt of the interval, `recurrence.spectrum`.

        Raises:
            WorkFailed: W is too large for the checker's budget.
        """
        size = self.matrix.size
        if size * (1 + self.matrix.is_complex) > check.MAX_SIZE:
            raise WorkFailed(
                f"a receipt is for at most {check.MAX_SIZE} rows, complex ones counting twice; "
                f"W has {size}"
            )
        answer: dict[str, Any] = {"radius": [self.low, self.high], "verdict": self.outcome}
        given = {"W": self.matrix.given}
        if self.method == "polynomial":
            try:
                return Receipt.prove("recurrence.spectrum", given, answer, self.evidence)
            except check.Malformed as error:
                raise WorkFailed(
                    "a receipt of a matrix with too few eigenvectors is for about 180 rows of "
                    f"binary64 numbers, or more of shorter ones: {error}"
                ) from None
        claim = check.spectrum_claim(size, [self.low, self.high], self.outcome)
        return Receipt("recurrence.spectrum", claim, given, answer, self.proof)


def spectrum(W: object) -> Spectrum:
    """Eigenvalues in discs and the spectral radius in an interval, both certain.

    Args:
        W: (n, n), whatever `Matrix.of` takes.

    Raises:
        BadInput: no square matrix of finite numbers; its norm is above 2^1020, so that the radius
            may be beyond binary64.
        WorkFailed: LAPACK doesn't converge.

    >>> answer = spectrum([[0.0, 1.0], [-0.25, 0.0]])
    >>> answer.low <= 0.5 <= answer.high < 0.500000001
    True
    """
    matrix = Matrix.of(W)
    with np.errstate(over="ignore"):
        sizes = np.abs(matrix.values)
        norm = min(sizes.sum(axis=0).max(), sizes.sum(axis=1).max())
    if not norm < 2.0**1020:
        raise BadInput(
            f"W's entries, up to {sizes.max():.3g}, are too large: its eigenvalues may be beyond "
            "binary64; divide W by a power of two"
        )
    if not sizes.any():
        zero = np.zeros(matrix.size)
        evidence = {"squarings": 0, "bits": 32}
        return Spectrum(matrix, zero.astype(complex), zero, 0.0, 0.0, evidence, "powers")
    found = by_eigenvectors(matrix)
    if found is not None and found.high - found.low <= GOOD_ENOUGH * found.high:
        return found
    try:
        other = second_way(matrix)
    except WorkFailed:
        if found is None:
            raise
        return found
    return other if found is None or other.high - other.low < found.high - found.low else found


def second_way(matrix: Matrix) -> Spectrum:
    """What there is where the eigenvectors of W are too near to dependent."""
    if matrix.size * (1 + matrix.is_complex) <= POWER_SIZE:
        return by_powers(matrix)
    from unrolled.recurrences.chains import by_polynomial  # only what needs it imports flint

    return by_polynomial(matrix)


def real_form(W: np.ndarray) -> Float[np.ndarray, "m m"]:
    """W, or for complex W the real matrix of twice the size, a + bi as [[a, -b], [b, a]]."""
    if W.dtype.kind != "c":
        return W
    size = len(W)
    result = np.empty((2 * size, 2 * size))
    result[::2, ::2] = result[1::2, 1::2] = W.real
    result[1::2, ::2] = W.imag
    result[::2, 1::2] = -W.imag
    return result


def eigenvectors(
    W: np.ndarray,
) -> tuple[Float[np.ndarray, "m m"], Float[np.ndarray, " k"], Float[np.ndarray, " k"], np.ndarray]:
    """X in real form; a, b of each block; whether it has two rows."""
    try:
        values, vectors = np.linalg.eig(W)
    except np.linalg.LinAlgError as error:
        raise WorkFailed(f"LAPACK found no eigenvalues: {error}") from None
    if W.dtype.kind == "c":
        # x = u + iv has in real form the columns (u, v) and (-v, u), so the block [[a, -b], [b, a]]
        return real_form(vectors), values.real, -values.imag, np.ones(len(values), dtype=np.bool_)
    if values.dtype.kind != "c":
        return vectors, values, np.zeros_like(values), np.zeros(len(values), dtype=np.bool_)
    first = np.flatnonzero(values.imag >= 0)  # LAPACK puts the conjugate behind
    second = values.imag > 0
    X = vectors.real.copy()
    X[:, np.flatnonzero(second) + 1] = vectors.imag[:, second]
    return X, values.real[first], values.imag[first], second[first]


def whole(A: Float[np.ndarray, "m m"]) -> tuple[Float[np.ndarray, "m m"], int]:
    """A 2^k rounded to whole numbers below 2^53, and k."""
    k = 53 - math.frexp(float(np.abs(A).max()))[1]
    return np.round(np.ldexp(A, k)), k


def by_eigenvectors(matrix: Matrix) -> Spectrum | None:
    """Discs around LAPACK's eigenvalues; None if X is too near to singular."""
    W = matrix.values
    scale = float(max(np.abs(W.real).max(), np.abs(W.imag).max()))
    exponent = math.frexp(scale)[1] if scale else 0
    half = exponent // 2
    W = W * 2.0**-half * 2.0 ** (half - exponent)
    X, a, b, two = eigenvectors(W)
    with np.errstate(all="ignore"):
        try:
            inverse = np.linalg.inv(X)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(inverse).all():
            return None
        X, k = whole(X)
        Y, m = whole(inverse)
    if not 0 <= k + m <= 127:
        return None
    rows = row_bounds(real_form(W), X, Y, k + m, (a, b, two))
    if rows is None:
        return None
    starts = np.cumsum(1 + two) - (1 + two)
    radii = np.add.reduceat(rows, starts) * (1 + 4 * UNIT)
    low, high = radius(a, np.abs(b), radii)
    up = np.ldexp(1.0, half), np.ldexp(1.0, exponent - half)
    blocks = [
        [x, y] if pair else [x]
        for x, y, pair in zip(
            (a * up[0] * up[1]).tolist(), (b * up[0] * up[1]).tolist(), two.tolist(), strict=True
        )
    ]
    evidence = {"X": X, "Y": Y, "blocks": blocks, "shift": k + m}
    values, around = a + 1j * b, radii
    if not matrix.is_complex:
        values = np.concatenate([values, values[two].conj()])
        around = np.concatenate([radii, radii[two]])
    else:
        values = values.conj()
    order = np.argsort(-np.abs(values), kind="stable")
    values, around = values[order] * up[0] * up[1], around[order] * up[0] * up[1]
    tiny = np.finfo(float).tiny  # where scaling back was no longer exact
    low = max(0.0, low * up[0] * up[1] - (tiny if exponent < -900 else 0))
    high = high * up[0] * up[1] + (tiny if exponent < -900 else 0)
    if not math.isfinite(high):
        return None
    return Spectrum(matrix, values, around, float(low), float(high), evidence)


def row_bounds(
    W: Float[np.ndarray, "m m"],
    X: Float[np.ndarray, "m m"],
    Y: Float[np.ndarray, "m m"],
    shift: int,
    D: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Float[np.ndarray, " m"] | None:
    """Upper bounds on the row sums of |G|, in W's units; None if ||I - Y X|| isn't below 1.

    W has entries below 1; X and Y are whole, Y X near 2^shift.
    """
    a, b, two = D
    size = len(W)
    at = np.cumsum(1 + two) - (1 + two)
    diagonal, off = np.empty(size), np.zeros(size)
    diagonal[at], diagonal[at[two] + 1] = a, a[two]
    XD = X * diagonal
    first, second = at[two], at[two] + 1
    XD[:, first] -= X[:, second] * b[two]
    XD[:, second] += X[:, first] * b[two]
    off[first] = off[second] = np.abs(b[two])
    E = W @ X - XD
    F = Y @ X
    F[np.diag_indices(size)] -= 2.0**shift
    gamma = (size + 8) * UNIT / (1 - (size + 8) * UNIT)
    X1, absolute_Y = np.abs(X), np.abs(Y)
    sums = X1.sum(axis=1)
    both = np.abs(diagonal) + off
    both[second] = np.maximum(both[first], both[second])
    # Per row: what rounding can have changed in E; then what the checker's own fixed point can.
    error = gamma * (np.abs(W) @ sums + 2 * X1 @ both + np.abs(E).sum(axis=1))
    error += 2.0**-59 * sums + 2.0**-120 * sums.sum() + size * LONG_PRODUCT
    YE = np.abs(Y @ E).sum(axis=1) + absolute_Y @ (gamma * np.abs(E).sum(axis=1) + error)
    f = np.abs(F).sum(axis=1) + gamma * (absolute_Y @ sums + 2.0**shift)
    slack = 1 + 4 * gamma
    f = f * slack * 2.0**-shift
    G = YE * slack * 2.0**-shift + 2.0**-59
    if not f.max() < 0.99:
        return None
    return np.asarray((G + f * (G.max() / (1 - f.max())) * slack) * slack)


def radius(
    a: Float[np.ndarray, " k"], b: Float[np.ndarray, " k"], radii: Float[np.ndarray, " k"]
) -> tuple[float, float]:
    """The interval of the largest modulus, from discs in the upper half plane."""
    modulus = np.hypot(a, b)
    down, up = 1 - 8 * UNIT, 1 + 8 * UNIT
    high = float(((modulus * up + radii) * up).max())
    here = np.zeros(len(a), dtype=np.bool_)
    stack = [int(np.argmax(modulus - radii))]
    here[stack[0]] = True
    while stack:
        i = stack.pop()
        near = np.hypot(a - a[i], b - b[i]) * down <= (radii + radii[i]) * up
        new = np.flatnonzero(near & ~here)
        here[new] = True
        stack += new.tolist()
    low = float((modulus * down - radii * up)[here].min())
    return max(0.0, low * down), high


def hex_rows(A: Float[np.ndarray, "m m"]) -> list[str]:
    """Whole numbers as 64-bit two's complement, 16 hexadecimal digits each, a text a row."""
    return [row.tobytes().hex() for row in A.astype(">i8")]


# --- powers --------------------------------------------------------------------------------------


def by_powers(matrix: Matrix) -> Spectrum:
    """The radius is in [(|trace W^m| / n)^(1/m), ||W^m||^(1/m)] for m = 2^k, in whole numbers."""
    W = [[x.as_integer_ratio() for x in row] for row in matrix.fractions()]
    size = len(W)
    values = np.linalg.eigvals(matrix.values)
    order = np.argsort(-np.abs(values), kind="stable")
    best: tuple[float, float, dict[str, int]] | None = None
    for squarings, bits in ((48, 1280), (24, 640), (14, 320)):
        if not check.affordable(size**3 * (squarings + 1) * bits**2, size):
            continue
        low, high = power_interval(check.powers(W, squarings, bits), size)
        if best is None or high - low < best[1] - best[0]:
            best = (low, high, {"squarings": squarings, "bits": bits})
        if high - low <= GOOD_ENOUGH * high:
            break
    assert best is not None
    low, high, evidence = best
    wide = np.full(len(values), high) + np.abs(values)
    return Spectrum(matrix, values[order].astype(complex), wide, low, high, evidence, "powers")


def power_interval(found: list[check.Power], size: int) -> tuple[float, float]:
    """The best ends that these powers prove, rounded outwards."""
    last = found[-1]
    k = len(found) - 1
    high = root(last.norm, last.q, k) * (1 + 1e-14) if last.norm else 0.0
    lows = [root(p.trace, p.q, j, size) * (1 - 1e-14) for j, p in enumerate(found) if p.trace]
    return min(max(lows, default=0.0), high), high


def root(number: int, q: int, k: int, size: int = 1) -> float:
    """(number / 2^q / size)^(1 / 2^k)."""
    cut = max(0, number.bit_length() - 64)
    # The whole exponent is divided first: q may have twenty digits.
    whole_part, rest = divmod(cut - q, 1 << k)
    fractional = (rest + math.log2(number >> cut) - math.log2(size)) / (1 << k)
    return math.ldexp(2.0**fractional, whole_part)
