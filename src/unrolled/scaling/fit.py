"""Which constants of a law fit runs best, how sure is that, and was the best found at all?

The estimator is Hoffmann et al. 2022, section 3.3: a Huber loss on log residuals, summed, from many
starts. What they warn of is counted: how many starts end at the best optimum found. Intervals come
from the pairs bootstrap (Efron 1979): runs drawn with replacement, fitted again. Plain percentiles
of those are too wide on few runs, so they are corrected for bias and skewness (Efron 1987).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from unrolled.errors import BadInput, WorkFailed
from unrolled.receipts.check import Malformed, Refuted
from unrolled.receipts.receipt import Receipt
from unrolled.scaling.law import Array, Law
from unrolled.scaling.minimise import minimise
from unrolled.scaling.runs import Runs

DELTA = 1e-3
SAME = 1e-6
"""Starts whose objectives differ by a smaller share have reached the same optimum."""
LEAST_SAMPLES = 40
"""As many are needed for one of them to lie beyond each end of a 95 % interval."""
LEAST_REACHED = 0.1
"""A smaller share of starts at the best optimum is no fit to be trusted."""
BATCH = 500
"""Fits that are made at once."""
CONVERGED = 1e-6
"""Largest slope, as a share of the pulls, at what is called an optimum."""


def silent(done: int, total: int) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True)
class Fit:
    """A law fitted to runs."""

    law: Law
    runs: Runs
    delta: float
    theta: Array
    """The parameters, in the order of the law's names."""
    objective: float
    """Summed Huber loss of the log residuals."""
    gradient: float
    """Largest slope at the optimum, as a share of what the runs pull either way."""
    starts: int
    reached: int
    """Starts that ended at the best optimum found."""
    samples: Array | None = None
    """Parameters fitted to bootstrap samples, shape (bootstraps, p)."""
    left_out: Array | None = None
    """Parameters fitted without each run in turn, shape (runs, p), where there are samples."""
    unconverged: int = 0
    """Bootstrap samples whose fit hadn't come to rest; they are among `samples` all the same."""

    @property
    def parameters(self) -> dict[str, float]:
        """The constants by name."""
        return dict(zip(self.law.parameters, map(float, self.theta), strict=True))

    @cached_property
    def residuals(self) -> Array:
        """Log of predicted over measured loss, shape (runs,)."""
        inputs = {name: self.runs.column(name) for name in self.law.inputs}
        return np.asarray(np.log(self.law.predict(self.parameters, **inputs) / self.runs.loss))

    def intervals(self, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """BCa intervals of the constants. Raises `BadInput` if nothing was bootstrapped."""
        low, high = interval(*self.drawn(), level)
        return {name: (float(low[j]), float(high[j])) for j, name in enumerate(self.law.parameters)}

    def drawn(self) -> tuple[Array, Array, Array]:
        """Parameters, bootstrap samples of them, and those without each run: what `interval` takes.

        Raises `BadInput` if there are no samples.
        """
        if self.samples is None or self.left_out is None:
            raise BadInput("this fit has no bootstrap samples: fit with bootstraps=4000")
        return self.theta, self.samples, self.left_out

    def receipt(self, budgets: tuple[float, ...] = ()) -> Receipt:
        """The receipt `scaling.fit`: a stationary point, and, for Hoffmann's law, allocations.

        Args:
            budgets: FLOPs, 6 N D, at which the compute-optimal N and D are stated and proved.
        """
        from unrolled.scaling.allocate import allocate

        given: dict[str, Any] = {"law": self.law.name, "delta": self.delta, "runs": {}}
        for name in (*self.law.inputs, "loss"):
            given["runs"][name] = [float(v) for v in self.runs.column(name)]
        for setting in ("omega", "ratio"):
            if hasattr(self.law, setting):
                given[setting] = float(getattr(self.law, setting))
        given["flops"] = [float(budget) for budget in budgets]
        points = [allocate(self, budget) for budget in budgets]
        answer = {
            "parameters": self.parameters,
            "objective": self.objective,
            "allocation": [[p.parameters, p.tokens] for p in points],
        }
        try:
            return Receipt.prove("scaling.fit", given, answer, {})
        except (Malformed, Refuted) as error:
            raise WorkFailed(f"this fit can't be given a receipt: {error}") from None


def interval(value: Array, samples: Array, left_out: Array, level: float) -> tuple[Array, Array]:
    """Both ends of the BCa interval of each column (Efron 1987; Efron and Tibshirani 1993, 14.3).

    They are the percentiles Phi(z0 + (z0 -+ z) / (1 - a (z0 -+ z))) of the samples: z0 says how
    many samples lie below the value, and a how skewed it is, by leaving out each run:
    a = sum d^3 / (6 (sum d^2)^(3/2)), d the mean of those less each. Numbers that are no number,
    where a sample has no answer, are left out.

    Args:
        value: shape (columns,).
        samples: shape (bootstraps, columns).
        left_out: shape (runs, columns).
        level: as 0.95.
    """
    if not 0 < level < 1:
        raise BadInput(f"a level lies between 0 and 1, as 0.95: {level}")
    normal, ends = NormalDist(), np.empty((2, len(value)))
    for j, (mine, drawn, others) in enumerate(zip(value, samples.T, left_out.T, strict=True)):
        drawn, others = drawn[~np.isnan(drawn)], others[np.isfinite(others)]
        if not len(drawn):
            ends[:, j] = np.nan
            continue
        below = ((drawn < mine).sum() + 0.5 * (drawn == mine).sum()) / len(drawn)
        bias = normal.inv_cdf(float(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn))))
        d = others.mean() - others if len(others) else np.zeros(1)
        scale = np.abs(d).max() or 1.0  # so that no power of it overflows
        spread = ((d / scale) ** 2).sum() ** 1.5
        skew = ((d / scale) ** 3).sum() / (6 * spread) if spread else 0.0
        for side, tail in enumerate(((1 - level) / 2, (1 + level) / 2)):
            z = bias + normal.inv_cdf(tail)
            share = normal.cdf(bias + z / max(1 - skew * z, 0.1))
            ends[side, j] = np.percentile(drawn, 100 * share)
    return ends[0], ends[1]


def fit(
    law: Law,
    runs: Runs,
    *,
    delta: float = DELTA,
    bootstraps: int = 0,
    seed: int = 0,
    least_reached: float = LEAST_REACHED,
    progress: Callable[[int, int], None] = silent,
) -> Fit:
    """Fit a law to runs.

    Args:
        law: one of `unrolled.scaling.LAWS`.
        runs: more of them than the law has parameters, at different sizes and tokens.
        delta: where the Huber loss turns from a square into an absolute value, in log loss.
        bootstraps: samples drawn for intervals, at least `LEAST_SAMPLES`; 0: none.
        seed: of those draws.
        least_reached: the share of starts that has to end at the best optimum.
        progress: told how many fits of the bootstrap are made, of how many.

    Raises:
        BadInput: too few runs, or runs that can't tell the law's parameters apart.
        WorkFailed: fewer starts than `least_reached` ended at the best optimum, or it is none.
    """
    check(law, runs, delta)
    if 0 < bootstraps < LEAST_SAMPLES:
        raise BadInput(
            f"{bootstraps} bootstrap samples don't reach the ends of a 95 % interval: draw "
            f"{LEAST_SAMPLES} or more (1000 is usual), or 0 for no intervals"
        )
    inputs = law.prepare(runs)
    ends = minimise(law, inputs, runs.loss, law.starts(inputs, runs.loss), delta)
    best = int(np.nanargmin(ends.objective))
    # A sum of squares of numbers near 1 is not known to more than about 1e-32 a run.
    same = ends.objective <= ends.objective[best] * (1 + SAME) + 1e-30 * len(runs)
    # Of the starts at the optimum the flattest: the others are as low to the last bits.
    best = int(np.argmin(np.where(same, ends.gradient, np.inf)))
    reached, starts = int(same.sum()), len(ends.objective)
    if ends.gradient[best] > CONVERGED and ends.objective[best] > 1e-24 * len(runs):
        raise WorkFailed(
            f"no start came to rest (the largest slope is {ends.gradient[best]:.1e} of the pulls): "
            "the runs hardly determine this law; give more of them, or fit a law with fewer "
            "parameters; a larger delta makes the loss smoother, too"
        )
    if reached < least_reached * starts:
        raise WorkFailed(
            f"only {reached} of {starts} starts reached the best optimum "
            f"({100 * least_reached:g} % are asked for): the runs hardly determine this law; give "
            "more of them, over a wider range of sizes and tokens, or fit a law with fewer "
            "parameters"
        )
    found = Fit(
        law,
        runs,
        delta,
        law.from_working(ends.phi[best], inputs),
        float(ends.objective[best]),
        float(ends.gradient[best]),
        starts,
        reached,
    )
    return bootstrap(found, bootstraps, seed, progress) if bootstraps else found


def bootstrap(
    found: Fit, samples: int, seed: int = 0, progress: Callable[[int, int], None] = silent
) -> Fit:
    """The same fit with so many bootstrap samples, each begun at the optimum of all runs."""
    size = len(found.runs)
    draws = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), samples)
    theta, slopes = refit(found, np.concatenate([draws, 1 - np.eye(size)]), progress)
    return replace(
        found,
        samples=theta[:samples],
        left_out=theta[samples:],
        unconverged=int((slopes[:samples] > CONVERGED).sum()),
    )


def refit(
    found: Fit, weights: Array, progress: Callable[[int, int], None] = silent
) -> tuple[Array, Array]:
    """The same law fitted again with runs counted otherwise, each time begun at the optimum.

    `weights` has shape (fits, runs); back come the parameters, (fits, p), and the largest slopes.
    """
    law, inputs = found.law, found.law.prepare(found.runs)
    start = law.to_working(found.theta, inputs)
    first = max(found.delta, float(np.median(np.abs(found.residuals))))
    theta, slopes = [], []
    progress(0, len(weights))
    for begin in range(0, len(weights), BATCH):
        rows = weights[begin : begin + BATCH].astype(float)
        starts = np.tile(start, (len(rows), 1))
        ends = minimise(law, inputs, found.runs.loss, starts, found.delta, rows, first)
        theta.append(law.from_working(ends.phi, inputs))
        slopes.append(ends.gradient)
        progress(begin + len(rows), len(weights))
    return np.concatenate(theta), np.concatenate(slopes)


def check(law: Law, runs: Runs, delta: float) -> None:
    """Raise `BadInput` for runs that no fit of this law could be based on."""
    if not 0 < delta < np.inf:
        raise BadInput(f"delta is a positive number, as 0.001; it came as {delta}")
    p = len(law.parameters)
    if len(runs) <= p:
        raise BadInput(
            f"{len(runs)} runs can't determine the {p} parameters of the law {law.name}: give at "
            f"least {p + 1}"
        )
    for name in law.inputs:
        least = 3 if len(law.inputs) > 1 else 2
        different = len(np.unique(runs.column(name)))
        if name == "unique_tokens":
            if np.array_equal(runs.column(name), runs.tokens):
                raise BadInput("no run repeats a token: the law muennighoff needs some that do")
        elif different < least:
            raise BadInput(
                f"the runs have {different} different {name}; the law {law.name} needs at least "
                f"{least} to tell its exponents"
            )
