"""Does h_t = W^T h_{t-1} vanish, explode or stay, how fast, and from which h_0 on?

h_t = (W^T)^t h_0. In the basis of W^T's generalised eigenvectors (left eigenvectors of W), a Jordan
block of size k at lambda contributes terms lambda^(t-j) C(t, j), j < k. So with rho = max |lambda|:
rho < 1, everything vanishes like rho^t; rho > 1, everything explodes but h_0 without a part in the
directions of |lambda| >= 1; rho = 1, the largest block on the circle decides, of size 1: bounded,
of size k: growth like t^(k-1) (Horn and Johnson 2013, section 3.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from jaxtyping import Complex, Float, Inexact

from unrolled.errors import WorkFailed
from unrolled.receipts import Receipt
from unrolled.recurrences.chains import MAX_ROWS, by_polynomial, largest_power
from unrolled.recurrences.exact import Exact, decide
from unrolled.recurrences.matrix import Matrix
from unrolled.recurrences.power import start
from unrolled.recurrences.spectrum import Spectrum, spectrum
from unrolled.recurrences.transient import Transient, transient

GOOD_BASIS = 1e6  # condition of eigenvectors that are there for certain
Behaviour = Literal["vanishes", "explodes", "bounded", "polynomial", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """What W does to h_0 as t grows."""

    behaviour: Behaviour
    """"polynomial": rho is 1 and ||(W^T)^t|| grows like t^degree."""
    spectrum: Spectrum
    exact: Exact | None = None
    """The decision by polynomials, where the interval of rho contains 1."""

    @property
    def degree(self) -> int:
        """The power of t in ||(W^T)^t||, where rho is 1."""
        return self.exact.degree if self.exact else 0

    @cached_property
    def growth_degree(self) -> int:
        """The d of ||(W^T)^t|| ~ t^d rho^t in the long run: the size of the largest Jordan block of
        an eigenvalue of modulus rho, less one. 0 where W is too large to find that.
        """
        if self.exact is not None and self.behaviour in ("bounded", "polynomial"):
            return self.degree
        if not self.spectrum.high or self.transient.condition < GOOD_BASIS:
            return 0
        try:
            known = self.spectrum.method == "polynomial"
            found = self.spectrum if known else by_polynomial(self.spectrum.matrix)
        except WorkFailed:
            return 0
        return largest_power(found.evidence) - 1

    @property
    def rate(self) -> float:
        """The factor a step in the long run: the middle of rho's interval, or exactly 1."""
        if self.behaviour in ("bounded", "polynomial"):
            return 1.0
        return (self.spectrum.low + self.spectrum.high) / 2

    @property
    def steps_to_halve_or_double(self) -> float:
        """Half-life where it vanishes, doubling time where it explodes: ln 2 / |ln rho| steps.

        0 for rho = 0 (gone after at most n steps), inf where rho is 1 or too near.
        """
        if not self.rate:
            return 0.0
        if self.spectrum.low <= 1 <= self.spectrum.high:
            return math.inf
        return math.log(2) / abs(math.log(self.rate))

    @cached_property
    def transient(self) -> Transient:
        """Growth before the long run."""
        return transient(self.spectrum.matrix)

    @cached_property
    def growing(self) -> Inexact[np.ndarray, "n k"]:
        """Orthonormal q_1, …, q_k: h_t explodes exactly for the h_0 with some q_i^T h_0 not 0.

        They span the invariant subspace of W of the eigenvalues outside the circle: with W Q = Q T,
        Q^T h_t = (T^T)^t Q^T h_0, and T has those eigenvalues alone. An estimate.
        """
        return outer_subspace(self.spectrum.matrix.values, np.abs(self.spectrum.eigenvalues))

    def receipt(self) -> Receipt:
        """`recurrence.exact` where rho is 1, else `recurrence.spectrum`."""
        if self.exact is not None and self.behaviour in ("bounded", "polynomial"):
            return self.exact.receipt()
        return self.spectrum.receipt()


def verdict(W: object) -> Verdict:
    """The behaviour of the recurrence, certified.

    Args:
        W: (n, n), whatever `Matrix.of` takes. Where the interval of rho contains 1, up to 200
            rows are decided exactly, as the rational numbers their entries are.

    Raises:
        BadInput: no square matrix of finite numbers.

    >>> verdict([[0, 1], [-1, 0]]).behaviour
    'bounded'
    """
    found = spectrum(W)
    sure: dict[str, Behaviour] = {"vanishing": "vanishes", "exploding": "explodes"}
    if found.outcome in sure:
        return Verdict(sure[found.outcome], found)
    matrix = found.matrix
    if matrix.size * (1 + matrix.is_complex) > MAX_ROWS:
        return Verdict("undecided", found)
    exact = decide(matrix)
    sure |= {"bounded": "bounded", "polynomial": "polynomial"}
    return Verdict(sure[exact.verdict], found, exact)


def outer_subspace(
    values: Inexact[np.ndarray, "n n"], moduli: Float[np.ndarray, " n"]
) -> Inexact[np.ndarray, "n k"]:
    """An orthonormal basis of W's invariant subspace for |lambda| > 1, defective ones too.

    A circle through the gap goes to the imaginary axis by (V - I)(V + I)^-1, where Newton's
    iteration finds the sign function: 1 for what was outside, -1 inside (Roberts 1980).
    """
    size, outside = len(values), int((moduli > 1 + 1e-12).sum())
    if outside in (0, size):
        return np.eye(size)[:, :outside]
    gap = math.sqrt(moduli[outside - 1] * max(moduli[outside], 0.25))
    V, identity = values / gap, np.eye(size)
    S = np.linalg.solve((V + identity).T, (V - identity).T).T
    for _ in range(60):
        new = (S + np.linalg.inv(S)) / 2
        done = np.abs(new - S).max() <= 1e-12 * np.abs(new).max()
        S = new
        if done:
            break
    return np.linalg.svd(S + identity)[0][:, :outside]


@dataclass(frozen=True)
class Part:
    """The share of h_0 in the invariant subspaces of W^T, split by |lambda|."""

    growing: float
    """Norm of h_0's component with |lambda| > 1, relative to h_0; 0 means it doesn't explode."""
    steady: float
    decaying: float


def coordinates(
    matrix: Matrix, h0: npt.ArrayLike
) -> tuple[Complex[np.ndarray, " n"], Complex[np.ndarray, "n n"]]:
    """W^T's eigenvalues, and h_0 / ||h_0|| split along its eigenvectors, a column each.

    Raises:
        BadInput: h_0 doesn't fit W.
        WorkFailed: W has too few eigenvectors to split h_0 into.
    """
    state = start(matrix, h0)
    values, vectors = np.linalg.eig(matrix.values.T)
    with np.errstate(all="ignore"):
        if not np.linalg.cond(vectors) < 1e12:
            raise WorkFailed("W has too few eigenvectors to split h_0 by them")
    weights = np.linalg.solve(vectors, state.direction.astype(complex))
    return values.astype(complex), vectors * weights


def rate_of(W: object, h0: npt.ArrayLike, tolerance: float = 1e-9) -> float | None:
    """The factor a step in the long run of this h_0: the largest |lambda| that it has a part of.

    None where W has too few eigenvectors to tell. An estimate.

    >>> rate_of([[2, 0], [0, 0.5]], [0, 1])
    0.5
    """
    try:
        values, split = coordinates(Matrix.of(W), h0)
    except WorkFailed:
        return None
    found = np.abs(values)[np.linalg.norm(split, axis=0) > tolerance]
    return float(found.max(initial=0.0))


def parts(W: object, h0: npt.ArrayLike, tolerance: float = 1e-9) -> Part:
    """How much of h_0 lies where. An estimate, by W^T's eigenvectors.

    Raises:
        BadInput: h_0 doesn't fit W.
        WorkFailed: W has too few eigenvectors to split h_0 into.
    """
    values, split = coordinates(Matrix.of(W), h0)

    def share(which: npt.NDArray[np.bool_]) -> float:
        size = float(np.linalg.norm(split[:, which].sum(axis=1)))
        return size if size > tolerance else 0.0

    modulus = np.abs(values)
    return Part(
        share(modulus > 1 + tolerance),
        share(np.abs(modulus - 1) <= tolerance),
        share(modulus < 1 - tolerance),
    )
