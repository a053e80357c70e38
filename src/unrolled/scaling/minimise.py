"""Where is the sum of Huber losses of log residuals least, from many starts at once?

    F(phi) = sum over runs of w h(log L(phi) - log y)
    h(r) = r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2)

(Huber 1964; Hoffmann et al. 2022, equation 3). All starts, or all bootstrap samples, are one batch:
a step of all of them is a handful of NumPy operations. The step is Newton's with the exact second
derivatives, damped as Levenberg and Marquardt do it, but by the matrix of iteratively reweighted
least squares, which is positive and bounds the Huber loss from above: where Newton's matrix has a
negative direction the damping takes over. delta = 1e-3 makes F nearly a sum of absolute values,
full of creases; it is approached from a smooth F by shrinking delta, each stage from the last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unrolled.scaling.law import Array, Inputs, Law

STEPS = 120
"""Most steps at the last delta."""
STAGES = 6
"""Most steps at each delta before it."""
SHRINK = 4.0
"""Ratio of one delta to the next."""
GRADIENT = 1e-9
"""A start has converged where no slope is larger, as a share of what its runs pull either way."""


class Minima(NamedTuple):
    """What each start came to, in working coordinates."""

    phi: Array
    """Shape (starts, p)."""
    objective: Array
    """F, shape (starts,)."""
    gradient: Array
    """Largest |sum of pulls| / sum of |pulls| over the coordinates, shape (starts,)."""


def minimise(
    law: Law,
    inputs: Inputs,
    loss: Array,
    phi: Array,
    delta: float,
    weights: Array | None = None,
    first: float | None = None,
) -> Minima:
    """Minimise F from every row of `phi`, shape (starts, p).

    Args:
        law: whose log loss it is.
        inputs: the runs', centred.
        loss: shape (runs,), or (starts, runs) for data that differs between starts.
        phi: the starts.
        delta: of the Huber loss.
        weights: how often each run counts, (starts, runs); once unless given.
        first: the delta of the first stage; a quarter of the largest residual unless given.
    """
    log_y = np.broadcast_to(np.log(loss), (len(phi), loss.shape[-1]))
    counts = np.ones_like(log_y) if weights is None else weights
    stage = 0.25 if first is None else first
    while stage > SHRINK * delta:
        phi, _, _ = descend(law, inputs, log_y, phi, stage, counts, STAGES)
        stage /= SHRINK
    return Minima(*descend(law, inputs, log_y, phi, delta, counts, STEPS))


def descend(
    law: Law,
    inputs: Inputs,
    log_y: Array,
    phi: Array,
    delta: float,
    counts: Array,
    steps: int,
) -> tuple[Array, Array, Array]:
    """Steps at one delta; rows that have converged are left alone."""
    phi = phi.copy()
    objective = huber(law.log_loss(phi, inputs) - log_y, delta, counts)
    gradient = np.full(len(phi), np.inf)
    damping = np.full(len(phi), 1e-2)
    alive = np.arange(len(phi))
    for _ in range(steps):
        here, y, w = phi[alive], log_y[alive], counts[alive]
        slope, newton, major, share = derivatives(law, inputs, y, here, delta, w)
        gradient[alive] = share
        step = solve(newton + damping[alive, None, None] * major, slope)
        tried = here - step
        with np.errstate(over="ignore", invalid="ignore"):
            value = huber(law.log_loss(tried, inputs) - y, delta, w)
        better = value < objective[alive]  # False where the value is no number
        rows = alive[better]
        phi[rows], objective[rows] = tried[better], value[better]
        factor = np.where(better, 0.2, 6.0)
        damping[alive] = np.clip(damping[alive] * factor, 1e-9, 1e12)
        stuck = ~better & (damping[alive] > 1e9)
        alive = alive[(share > GRADIENT) & ~stuck]
        if not len(alive):
            break
    return phi, objective, gradient


def huber(residual: Array, delta: float, counts: Array) -> Array:
    """The summed Huber loss, over the last dimension."""
    inner = np.clip(residual, -delta, delta)
    return np.asarray((counts * inner * (residual - 0.5 * inner)).sum(-1))


def derivatives(
    law: Law, inputs: Inputs, log_y: Array, phi: Array, delta: float, counts: Array
) -> tuple[Array, Array, Array, Array]:
    """Gradient, Newton's matrix, the majorising one, and the gradient as a share of the pulls."""
    here = law.expand(phi, inputs)
    residual, slopes = here.log_loss - log_y, here.slopes
    pull = counts * np.clip(residual, -delta, delta)
    size = np.abs(residual)
    inside = counts * (size < delta)
    bound = counts * (delta / np.maximum(size, delta))
    turned = np.swapaxes(slopes, -1, -2)
    gradient = (slopes @ pull[..., None])[..., 0]
    newton = (slopes * inside[..., None, :]) @ turned + here.curvature(pull)
    major = (slopes * bound[..., None, :]) @ turned
    p = phi.shape[-1]
    floor = 1e-12 * np.einsum("sii->s", major) + 1e-300
    major = major + floor[:, None, None] * np.eye(p)
    total = (np.abs(slopes) @ np.abs(pull)[..., None])[..., 0]
    # A coordinate that no run pulls on is at rest: a term that has vanished from the law.
    share = np.max(
        np.abs(gradient) / np.maximum(total, 1e-30 + 1e-10 * total.max(-1, keepdims=True)), -1
    )
    return gradient, newton, major, share


def solve(matrix: Array, vector: Array) -> Array:
    """Solutions of symmetric systems, scaled to a unit diagonal; nan where there is none."""
    scale = 1 / np.sqrt(np.maximum(np.abs(np.einsum("sii->si", matrix)), 1e-300))
    scaled = matrix * scale[:, :, None] * scale[:, None, :]
    scaled = scaled + 1e-14 * np.eye(matrix.shape[-1])
    try:
        return np.asarray(np.linalg.solve(scaled, (vector * scale)[..., None])[..., 0] * scale)
    except np.linalg.LinAlgError:
        return np.asarray((np.linalg.pinv(scaled) @ (vector * scale)[..., None])[..., 0] * scale)
