"""What is h_t = (W^T)^t h_0, for t up to 10^12 and beyond, without overflow or underflow?

Unrolling h_t = W^T h_{t-1} gives h_t = (W^T)^t h_0 (transpose, not conjugate transpose). Few steps
are taken one by one; many by squaring the matrix: W^T, (W^T)^2, (W^T)^4, …, multiplied into h_0
where t has a bit. Both are brought back to norm 1 each time, and the logarithms added up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Inexact

from unrolled.errors import BadInput
from unrolled.recurrences.matrix import Matrix


@dataclass(frozen=True)
class State:
    """h = exp(log_norm) * direction; the zero vector has log_norm -inf and direction 0."""

    log_norm: float
    """Natural logarithm of the Euclidean norm."""
    direction: Inexact[np.ndarray, " n"]
    """Of norm 1."""

    @property
    def vector(self) -> Inexact[np.ndarray, " n"]:
        """The vector h itself; infinite or 0 where that is beyond binary64."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            scale = math.exp(self.log_norm) if self.log_norm < 709 else np.inf
            return np.where(self.direction == 0, 0, self.direction * scale)


def power(W: object, h0: npt.ArrayLike, t: int) -> State:
    """h_t = (W^T)^t h_0 as a logarithm and a direction.

    Args:
        W: (n, n), whatever `Matrix.of` takes.
        h0: (n,), the state at step 0.
        t: steps, 0 to 10^15; the relative error grows like t * 1e-16 in the logarithm.

    Raises:
        BadInput: h0 of another length or not finite, t negative.

    >>> power([[0.5]], [1.0], 10**12).log_norm
    -693147180559.9453
    """
    matrix = Matrix.of(W)
    state = start(matrix, h0)
    check_steps(t)
    # Coordinates that h never reaches may grow so fast that the others would underflow beside them.
    here = reachable(matrix.values, state.direction)
    if 0 < len(here) < matrix.size:
        rest = power(matrix.values[np.ix_(here, here)], state.direction[here], t)
        direction = np.zeros(matrix.size, dtype=rest.direction.dtype)
        direction[here] = rest.direction
        return State(state.log_norm + rest.log_norm, direction)
    if t <= 2 * matrix.size:
        M, log_scale = balanced(matrix.values.T)
        for _ in range(t):
            state = apply(M, log_scale, state)
        return state
    # Whole numbers of bits: scaling by powers of two loses nothing, and their sum is exact.
    M, exponent = two_scaled(matrix.values.T)
    h, bits = two_scaled(state.direction)
    while t and h.any():
        if t & 1:
            h, more = two_scaled(M @ h)
            bits += exponent + more
        t >>= 1
        if t:
            M, more = two_scaled(M @ M)
            exponent = 2 * exponent + more
    return normalised(h, state.log_norm, bits)


def check_steps(t: int) -> None:
    """Refuse what is no number of steps."""
    if not isinstance(t, int) or isinstance(t, bool) or not 0 <= t <= 10**15:
        raise BadInput(f"steps are a whole number from 0 to 10^15, got {t!r}")


def reachable(
    values: Inexact[np.ndarray, "n n"], h: Inexact[np.ndarray, " n"]
) -> npt.NDArray[np.intp]:
    """The coordinates in which some h_t can differ from 0."""
    found = h != 0
    while (more := found | (values[found] != 0).any(axis=0)).sum() > found.sum():
        found = more
    return np.flatnonzero(found)


def start(matrix: Matrix, h0: npt.ArrayLike) -> State:
    """h_0 as a state. Raises `BadInput` if it doesn't fit W."""
    try:
        h = np.asarray(h0)
        h = h.astype(np.complex128 if h.dtype.kind == "c" else np.float64)
    except (ValueError, TypeError):
        raise BadInput("h_0 must be a list of numbers") from None
    if h.shape != (matrix.size,):
        raise BadInput(f"h_0 must have {matrix.size} entries, as W has rows, got shape {h.shape}")
    if not np.isfinite(h).all():
        raise BadInput("h_0 has an entry that is no number")
    h, bits = two_scaled(h)
    return normalised(h, 0.0, bits)


def two_scaled(
    A: Inexact[np.ndarray, ...],
) -> tuple[Inexact[np.ndarray, ...], int]:
    """A 2^-k with its largest entry near 1, and k."""
    top = float(max(np.abs(A.real).max(), np.abs(A.imag).max()))
    if not top:
        return A, 0
    k = math.frexp(top)[1]
    half = k // 2  # in two steps: 2^-k alone may be beyond binary64
    return A * 2.0**-half * 2.0 ** (half - k), k


def normalised(h: Inexact[np.ndarray, " n"], log_norm: float, bits: int) -> State:
    """exp(log_norm) 2^bits h as a state."""
    length = float(np.linalg.norm(h))
    if not length:
        return State(-math.inf, np.zeros_like(h))
    return State(log_norm + bits * math.log(2) + math.log(length), h / length)


def balanced(A: Inexact[np.ndarray, "n n"]) -> tuple[Inexact[np.ndarray, "n n"], float]:
    """A with its largest entry near 1, and the logarithm that was taken out."""
    M, bits = two_scaled(A)
    return M, bits * math.log(2)


def apply(M: Inexact[np.ndarray, "n n"], log_scale: float, state: State) -> State:
    """One step."""
    return normalised(M @ state.direction, state.log_norm + log_scale, 0)


def trajectory(W: object, h0: npt.ArrayLike, steps: int) -> Float[np.ndarray, " steps_1"]:
    """The logarithms of ||h_t|| for t = 0, …, steps; -inf once h_t is zero."""
    matrix = Matrix.of(W)
    state = start(matrix, h0)
    M, log_scale = balanced(matrix.values.T)
    result = [state.log_norm]
    for _ in range(steps):
        state = apply(M, log_scale, state)
        result.append(state.log_norm)
    return np.array(result)


def gradient(W: object, gradient_t: npt.ArrayLike, t: int) -> State:
    """dL/dh_0 = W^t dL/dh_t: h_t is linear in h_0 with Jacobian (W^T)^t, and a gradient is
    multiplied by the Jacobian's transpose, so what W^T does forwards W does backwards.

    For complex W this is the transpose too (holomorphic derivative); autograd conventions that
    conjugate it, PyTorch's among them, use conj(W)^t.
    """
    matrix = Matrix.of(W)
    exact = matrix.text and tuple(zip(*matrix.text, strict=True))
    return power(Matrix(np.ascontiguousarray(matrix.values.T), exact or None), gradient_t, t)
