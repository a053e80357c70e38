"""How far does h_t grow before the eigenvalues have their say?

For non-normal W the norm of (W^T)^t can rise by orders of magnitude although rho < 1. Bounds from
Trefethen and Embree, Spectra and Pseudospectra (2005): the numerical abscissa, the largest
eigenvalue of (W + W*) / 2, is the slope at 0 of the semigroup exp(tW) (chapter 17); the numerical
radius w(W) bounds |W^t| <= 2 w^t; the Kreiss constant K = sup_{|z| > 1} (|z| - 1) ||(z - W)^-1||
says K <= sup_t ||W^t|| <= e n K (chapter 18). All here are estimates in floating point, spectral
norms; the Kreiss constant is a lower bound, as it is the largest of finitely many z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Inexact

from unrolled.recurrences.matrix import Matrix
from unrolled.recurrences.power import two_scaled

ANGLES = 48  # directions of z and of the numerical range; refined around the best
RADII = 24
WORK = 10**10  # steps times rows cubed
SMALL = 400  # rows up to which all of this takes seconds


@dataclass(frozen=True)
class Transient:
    """Largest norms of (W^T)^t, t = 0, 1, …, and what bounds them."""

    peak: float
    """log of the largest ||(W^T)^t||_2 found; 0 if it never exceeds that of t = 0."""
    peak_step: int
    numerical_abscissa: float
    numerical_radius: float
    kreiss: float | None
    """A lower bound of the Kreiss constant, so of the peak; None where rho > 1 (it is infinite)."""
    condition: float
    """Condition of the eigenvector matrix: ||W^t|| <= condition * rho^t; inf if defective."""
    departure: float
    """Henrici's sqrt(||W||_F^2 - sum |lambda|^2) / ||W||_F: 0 exactly for normal W."""


def transient(W: object, steps: int = 10_000) -> Transient:
    """The transient growth of h_t = W^T h_{t-1}, up to `steps` or until it has surely fallen.

    Large matrices are followed for fewer steps: 1,250 at 200 rows, 100 from 465 on.
    """
    values = Matrix.of(W).values
    eigenvalues, vectors = np.linalg.eig(values)
    rho = float(np.abs(eigenvalues).max())
    # A norm is a decomposition: large matrices get fewer, for seconds in all.
    steps = min(steps, max(100, WORK // len(values) ** 3))
    norms = log_norms(values, steps, fallen=rho < 1)
    top = int(np.argmax(norms))
    scale = float(np.abs(values).max()) or 1.0  # its square may be beyond binary64
    frobenius = float(np.linalg.norm(values / scale))
    kept = float(np.linalg.norm(eigenvalues / scale))
    departure = math.sqrt(max(0.0, 1 - (kept / frobenius) ** 2)) if frobenius else 0.0
    return Transient(
        peak=float(norms[top]),
        peak_step=top,
        numerical_abscissa=float(np.linalg.eigvalsh((values + values.conj().T) / 2)[-1]),
        numerical_radius=numerical_radius(values),
        kreiss=kreiss(values) if rho <= 1 and len(values) <= SMALL else None,
        condition=condition(vectors),
        departure=departure if departure > 1e-7 else 0.0,
    )


def condition(vectors: Inexact[np.ndarray, "n n"]) -> float:
    """The 2-norm condition; beyond 1e15 it is rounding alone, and called infinite."""
    with np.errstate(all="ignore"):
        found = float(np.linalg.cond(vectors))
    return found if found < 1e15 else math.inf


def log_norms(
    values: Inexact[np.ndarray, "n n"], steps: int, *, fallen: bool = False
) -> Float[np.ndarray, " steps_1"]:
    """The logarithms of ||W^t||_2, t = 0, …, steps; with `fallen`, it may stop once they fell.

    A power below 1/2 ends it: with ||W^m|| < 1/2, later ones are at most half as large as one of
    the m before.
    """
    norms, bits = [0.0], 0
    M, exponent = two_scaled(values)
    P = np.eye(len(values), dtype=values.dtype)
    for _ in range(steps):
        P, more = two_scaled(P @ M)
        bits += exponent + more
        size = float(np.linalg.norm(P, 2))
        norms.append(bits * math.log(2) + math.log(size) if size else -math.inf)
        if fallen and norms[-1] < -math.log(2):
            break
    return np.array(norms)


def numerical_radius(values: Inexact[np.ndarray, "n n"]) -> float:
    """The largest |x* W x| over unit x: the largest eigenvalue of Re(e^{i a} W) over angles a."""

    def at(angle: float) -> float:
        turned = np.exp(1j * angle) * values
        return float(np.linalg.eigvalsh((turned + turned.conj().T) / 2)[-1])

    angles = np.linspace(0, 2 * math.pi, ANGLES, endpoint=False)
    return refine(at, angles.tolist(), 2 * math.pi / ANGLES)


def refine(function, points: list[float], step: float) -> float:  # type: ignore[no-untyped-def]
    """The largest value at the points, then around the best by halving steps."""
    best_value, best = max((function(x), x) for x in points)
    while step > 1e-6:
        step /= 2
        for x in (best - step, best + step):
            if (value := function(x)) > best_value:
                best_value, best = value, x
    return float(best_value)


def kreiss(values: Inexact[np.ndarray, "n n"]) -> float:
    """The largest (|z| - 1) ||(z - W)^-1|| over a grid of z outside the circle, refined.

    W is brought to triangular form first, so that each z costs a product, not a decomposition.
    """
    size = len(values)
    identity = np.eye(size)

    def at(angle: float, distance: float) -> float:
        z = (1 + distance) * np.exp(1j * angle)
        smallest = np.linalg.svd(z * identity - values, compute_uv=False)[-1]
        return float(distance / smallest) if smallest else math.inf

    angles = np.linspace(0, math.pi if values.dtype.kind != "c" else 2 * math.pi, ANGLES)
    if size > 60:
        angles = angles[::4]
    distances = np.geomspace(1e-6, 10, RADII if size <= 60 else RADII // 3)
    best, a, d = max((at(a, d), a, d) for a in angles.tolist() for d in distances.tolist())
    step, ratio = float(angles[1]), float(distances[1] / distances[0])
    for _ in range(12 if size <= 60 else 5):
        step, ratio = step / 2, math.sqrt(ratio)
        near = [(a + s, d * r) for s in (-step, 0, step) for r in (1 / ratio, 1, ratio)]
        best, a, d = max((at(x, y), x, y) for x, y in near)
    return max(1.0, best)  # z at infinity gives 1
