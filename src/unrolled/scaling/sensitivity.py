"""How far is a fit to be believed? What moves when its choices, its runs or its reach change.

The choices: the Huber loss's delta, and whether the loss is summed or averaged. Averaged, the loss
of 240 runs is some 1e-5, and optimizers stop by default where a step gains 1e-9: Besiroglu et al.
2024 found that Hoffmann et al. 2022 had stopped so, which moved tokens a parameter several-fold.
Newton's method here doesn't stop at a tolerance of the loss; `plain_scheme` is what does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unrolled.errors import BadInput
from unrolled.scaling.allocate import allocate
from unrolled.scaling.chinchilla import Hoffmann
from unrolled.scaling.fit import Fit, fit, refit
from unrolled.scaling.law import Array
from unrolled.scaling.runs import Runs

DELTAS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True)
class Influence:
    """What one run does to the answer."""

    run: int
    """Its row, from 0."""
    residual: float
    """Log of predicted over measured loss in the fit of all runs."""
    tokens_per_parameter: float
    """Compute-optimal, without the run."""


@dataclass(frozen=True)
class Extrapolation:
    """A fit to the smaller runs, asked about the largest."""

    fitted: Fit
    left_out: Runs
    predicted: Array

    @property
    def errors(self) -> Array:
        """Predicted over measured loss, less 1."""
        return self.predicted / self.left_out.loss - 1


def deltas(fitted: Fit, flops: float, values: Sequence[float] = DELTAS) -> dict[float, Fit]:
    """The same runs fitted with other deltas; a budget is given to compare allocations at."""
    allocate(fitted, flops)
    return {delta: fit(fitted.law, fitted.runs, delta=delta, least_reached=0.0) for delta in values}


def influences(fitted: Fit, flops: float) -> list[Influence]:
    """Each run left out in turn, the most influential first; all of them in one batch."""
    found = []
    for row, theta in enumerate(refit(fitted, 1 - np.eye(len(fitted.runs)))[0]):
        other = Fit(fitted.law, fitted.runs, fitted.delta, theta, 0.0, 0.0, 1, 1)
        ratio = allocate(other, flops).tokens_per_parameter
        found.append(Influence(row, float(fitted.residuals[row]), ratio))
    base = allocate(fitted, flops).tokens_per_parameter
    return sorted(found, key=lambda i: -abs(np.log(i.tokens_per_parameter / base)))


def extrapolate(fitted: Fit, share: float = 0.2) -> Extrapolation:
    """Fit without the runs of most compute, a share of all, and predict those."""
    runs = fitted.runs
    if not 0 < share < 1:
        raise BadInput(f"a share of the runs lies between 0 and 1, as 0.2: {share}")
    # Runs of one budget go together: leaving some of them in would not be an extrapolation.
    edge = np.sort(runs.compute)[len(runs) - max(1, round(share * len(runs)))]
    large = runs.compute >= edge * 0.95
    smaller = fit(fitted.law, runs.take(np.flatnonzero(~large)), delta=fitted.delta)
    rest = runs.take(np.flatnonzero(large))
    inputs = {name: rest.column(name) for name in fitted.law.inputs}
    return Extrapolation(smaller, rest, smaller.law.predict(smaller.parameters, **inputs))


def plain_scheme(
    runs: Runs,
    *,
    reduction: Literal["sum", "mean"] = "sum",
    delta: float = 1e-3,
    starts: int = 4500,
    ftol: float = 2.220446049250313e-09,
) -> Fit:
    """Hoffmann's law as it is usually fitted: L-BFGS-B with numerical gradients, from a grid.

    The grid is Hoffmann et al. 2022's, appendix D.2: a and b in 0..25, e in -1..1, alpha and beta
    in 0..2. `starts` takes so many of its 4,500 at even distances. `ftol` is SciPy's default. This
    is here to be compared with, by value and by time. Raises `BadInput` without SciPy.
    """
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise BadInput("this comparison needs SciPy: pip install 'unrolled[scaling]'") from None
    log_n, log_d, log_y = np.log(runs.parameters), np.log(runs.tokens), np.log(runs.loss)
    scale = 1.0 if reduction == "sum" else 1 / len(runs)

    def loss(phi: Array) -> float:
        e, a, b, alpha, beta = phi
        size, data = a - alpha * log_n, b - beta * log_d
        residual = np.logaddexp(np.logaddexp(size, data), e) - log_y
        inner = np.clip(residual, -delta, delta)
        return scale * float((inner * (residual - 0.5 * inner)).sum())

    axes = (
        [-1.0, -0.5, 0.0, 0.5, 1.0],
        range(0, 30, 5),
        range(0, 30, 5),
        *2 * [(0, 0.5, 1, 1.5, 2)],
    )
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], 1).astype(float)
    chosen = grid[np.linspace(0, len(grid) - 1, min(starts, len(grid))).astype(int)]
    ends = [minimize(loss, phi, method="L-BFGS-B", options={"ftol": ftol}) for phi in chosen]
    values = np.array([end.fun for end in ends])
    best = int(values.argmin())
    e, a, b, alpha, beta = ends[best].x
    theta = np.array([np.exp(e), np.exp(a), np.exp(b), alpha, beta])
    reached = int((values <= values[best] * (1 + 1e-6)).sum())
    return Fit(
        Hoffmann(), runs, delta, theta, float(values[best] / scale), np.nan, len(chosen), reached
    )
