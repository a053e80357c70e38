"""How large is the spectral radius of a large sparse matrix?

Nonnegative: for any x > 0, min (Ax)_i / x_i <= rho(A) <= max (Ax)_i / x_i (Collatz 1942, Wielandt
1950). The radius is the largest of the strongly connected components', so each has its own bounds,
from the same power iteration. Others: rho(W) <= rho(|W|) and rho(W) <= ||W^k||^(1/k) are certain;
from below there is ARPACK's estimate, which is called one.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from unrolled.errors import BadInput

UNIT = 2.0**-53
MAX_ENTRIES = 20_000_000  # of a power that is formed


@dataclass(frozen=True)
class SparseRadius:
    """Bounds of the spectral radius; `low` is 0 and `estimate` ARPACK's where signs are mixed."""

    low: float
    high: float
    components: int
    iterations: int
    estimate: float | None = None
    """Not certified; None if nonnegative (not needed) or not found in time."""


def sparse_radius(W: Any, *, tolerance: float = 1e-6, seconds: float = 60.0) -> SparseRadius:
    """Certified bounds of rho(W).

    Args:
        W: scipy.sparse matrix or array, (n, n), real.
        tolerance: the interval's relative width that is enough.
        seconds: after which the best bounds so far are returned.

    Raises:
        BadInput: not sparse, not square, empty, complex or not finite.
    """
    import scipy.sparse as sp  # whoever has such a matrix has scipy

    if not sp.issparse(W):
        raise BadInput(f"expected a scipy.sparse matrix, got {type(W).__name__}; dense: `spectrum`")
    if W.shape[0] != W.shape[1] or not W.shape[0]:
        raise BadInput(f"W must be square and not empty, got shape {W.shape}")
    if W.dtype.kind not in "biuf":
        raise BadInput(f"a sparse W must be real, got {W.dtype}")
    A = sp.csr_array(W, dtype=np.float64)
    A.sum_duplicates()
    if not np.isfinite(A.data).all():
        raise BadInput("W has an entry that is no number")
    deadline = time.monotonic() + seconds
    if not len(A.data) or A.data.min() >= 0:
        return nonnegative(A, tolerance, deadline)
    above = nonnegative(abs(A), 1e-3, time.monotonic() + seconds / 3)
    high = min(above.high, powers_norm(A, deadline - seconds / 3))
    return SparseRadius(0.0, high, above.components, above.iterations, estimate(A, deadline))


def nonnegative(A: Any, tolerance: float, deadline: float) -> SparseRadius:
    """Collatz–Wielandt bounds, all components at once."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    count, label = connected_components(A, directed=True, connection="strong")
    coo = A.tocoo()
    own = label[coo.coords[0]] == label[coo.coords[1]]
    rows, columns = coo.coords[0][own], coo.coords[1][own]
    B = sp.csr_array((coo.data[own], (rows, columns)), shape=A.shape)
    terms = int(np.diff(B.indptr).max(initial=0))
    slack = (terms + 4) * UNIT  # of a row's sum, in any order, and the division
    x = np.ones(A.shape[0])
    low, high = np.zeros(count), np.full(count, math.inf)
    iterations = 0
    while True:
        y = B @ x
        iterations += 1
        ratio = y / x
        low = np.maximum(low, group(np.minimum, ratio, label, count) * (1 - slack))
        high = np.minimum(high, group(np.maximum, ratio, label, count) * (1 + slack))
        best = float(low.max())
        done = float(high.max()) - best <= tolerance * float(high.max())
        if done or time.monotonic() > deadline:
            return SparseRadius(best, float(high.max()), count, iterations)
        # A shift keeps a component whose cycles have a common divisor from going in circles.
        x = y + 0.25 * np.maximum(low, 1e-3 * high)[label] * x
        x /= np.maximum(group(np.maximum, x, label, count), np.finfo(float).tiny)[label]
        x = np.maximum(x, 1e-280)  # any positive x gives bounds


def group(
    function: Any, values: Float[np.ndarray, " n"], label: Int[np.ndarray, " n"], count: int
) -> Float[np.ndarray, " count"]:
    """The largest or smallest value of each component."""
    result = np.full(count, math.inf if function is np.minimum else -math.inf)
    function.at(result, label, values)
    return result


def powers_norm(A: Any, deadline: float) -> float:
    """The least ||A^k||^(1/k) of k = 1, 2, 4, …, as long as the powers stay sparse."""
    P, k, best = A, 1, math.inf
    bound = np.asarray(abs(A).sum(axis=1)).ravel()
    terms = int(np.diff(A.indptr).max(initial=0))
    while True:
        size = float((np.asarray(abs(P).sum(axis=1)).ravel() + k * terms * 4 * UNIT * bound).max())
        best = min(best, (size * (1 + k * 1e-12)) ** (1 / k) * (1 + 1e-14))
        filled = float(np.diff(P.indptr)[P.indices].sum())
        if time.monotonic() > deadline or filled > MAX_ENTRIES or k >= 64:
            return float(best)
        for _ in range(k):
            bound = abs(A) @ bound
        P, k = P @ P, 2 * k


def estimate(A: Any, deadline: float) -> float | None:
    """ARPACK's largest |eigenvalue|, unless it takes too long."""
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigs

    class OutOfTimeError(Exception):
        """Raised within ARPACK's products, the only place it can be stopped."""

    def product(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        if time.monotonic() > deadline:
            raise OutOfTimeError
        return np.asarray(A @ x)

    if A.shape[0] < 3:
        return float(np.abs(np.linalg.eigvals(A.toarray())).max())
    operator = LinearOperator(A.shape, matvec=product, dtype=A.dtype)
    try:
        start = np.random.default_rng(0).normal(size=A.shape[0])
        found = eigs(operator, k=1, which="LM", v0=start, tol=1e-6, return_eigenvectors=False)
    except (ArpackError, OutOfTimeError):
        return None
    return float(np.abs(found).max())
