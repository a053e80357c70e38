"""How does the best size grow with compute, found in Hoffmann's three ways?

Hoffmann et al. 2022: the minimum over training curves (section 3.1), parabolas through runs of
equal compute (section 3.2), the parametric law (section 3.3). Each gives N ~ C^a, D ~ C^b; where
they disagree, the runs don't determine the answer, or a run isn't what the approach takes it for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unrolled.errors import BadInput
from unrolled.scaling.allocate import allocate
from unrolled.scaling.fit import Fit, interval
from unrolled.scaling.law import Array
from unrolled.scaling.runs import Runs

SAME_BUDGET = 1.15
"""Runs whose compute differs by less belong to one budget."""
PLACES = 64
"""Budgets along the range at which the least curve is looked for."""
BOOTSTRAPS = 400


@dataclass(frozen=True)
class Approach:
    """N_opt = k C^a by one of the three ways."""

    name: str
    exponent: float
    """The a of N ~ C^a; D ~ C^(1 - a), since C = 6 N D."""
    interval: tuple[float, float]
    """Of the exponent, 95 %."""
    compute: Array
    """Budgets at which a best size was found, shape (budgets,)."""
    best: Array
    """Those sizes."""

    def parameters(self, flops: float) -> float:
        """N at a budget, by the power law through the best sizes."""
        a, k = line(self.compute, self.best)
        return float(np.exp(k + a * np.log(flops)))


def line(compute: Array, best: Array) -> tuple[float, float]:
    """Slope and intercept of log N on log C, by least squares."""
    slope, intercept = np.polyfit(np.log(compute), np.log(best), 1)
    return float(slope), float(intercept)


def training_curves(runs: Runs, curves: Runs | None = None) -> tuple[Array, Array]:
    """Budgets and the size whose curve is lowest there.

    `curves` holds points on the way, named by run; without them the runs of one size, ended at
    different tokens, are taken for its curve (each then ends with its own learning rate, which is
    what the approach asks for). Between points, log loss is linear in log compute.
    """
    points = runs if curves is None else curves
    sizes = points.parameters
    groups = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
    if curves is not None and curves.names:
        labels = np.array(curves.names)
        groups = [np.flatnonzero(labels == name) for name in dict.fromkeys(curves.names)]
    groups = [group for group in groups if len(group) > 1]
    if len(np.unique([sizes[group[0]] for group in groups])) < 3:
        raise BadInput("training curves of at least three sizes are needed, with two points each")
    places = np.geomspace(points.compute.min(), points.compute.max(), PLACES)
    table = np.full((len(groups), PLACES), np.inf)
    for i, group in enumerate(groups):
        order = group[np.argsort(points.compute[group])]
        x = np.log(points.compute[order])
        table[i] = np.interp(
            np.log(places), x, np.log(points.loss[order]), left=np.inf, right=np.inf
        )
    seen = np.isfinite(table).sum(0) >= 2
    winner = np.array([sizes[groups[i][0]] for i in table[:, seen].argmin(0)])
    if len(np.unique(winner)) < 2:
        raise BadInput("one size has the lowest curve everywhere: give more sizes")
    return places[seen], winner


def isoflop(runs: Runs) -> tuple[Array, Array]:
    """Budgets and the vertex of the parabola of loss in log N through the runs of each."""
    order = np.argsort(runs.compute)
    logs = np.log(runs.compute[order])
    cuts = np.flatnonzero(np.diff(logs) > np.log(SAME_BUDGET)) + 1
    found = []
    for group in np.split(order, cuts):
        n = np.log(runs.parameters[group])
        if len(np.unique(n)) < 4:
            continue
        middle = n.mean()
        bend, slope, _ = np.polyfit(n - middle, runs.loss[group], 2)
        vertex = middle - slope / (2 * bend) if bend > 0 else np.nan
        # A vertex outside the runs is the parabola's opinion, not theirs.
        if n.min() <= vertex <= n.max():
            found.append((np.exp(np.log(runs.compute[group]).mean()), np.exp(vertex)))
    if len(found) < 2:
        raise BadInput(
            "two budgets with a best size between their runs are needed, each of four sizes or "
            "more: `unrolled scaling sweep` makes such a grid"
        )
    compute, best = zip(*found, strict=True)
    return np.array(compute), np.array(best)


def parametric(fitted: Fit) -> Approach:
    """The third approach, by a fit of Hoffmann's law with bootstrap samples."""
    compute = np.geomspace(fitted.runs.compute.min(), fitted.runs.compute.max(), 16)
    best = np.array([allocate(fitted, c).parameters for c in compute])
    exponents = [t[..., 4:5] / (t[..., 3:4] + t[..., 4:5]) for t in fitted.drawn()]
    (low,), (high,) = interval(exponents[0], exponents[1], exponents[2], 0.95)
    exponent = line(compute, best)[0]
    return Approach("parametric fit", exponent, (float(low), float(high)), compute, best)


def side_by_side(fitted: Fit, curves: Runs | None = None, seed: int = 0) -> list[Approach | str]:
    """The three approaches; where one can't be followed, the reason why.

    The first two have intervals by resampling runs (of the curves: whole curves).
    """
    generator = np.random.default_rng(seed)
    runs = fitted.runs
    ways: list[tuple[str, Callable[[Runs], tuple[Array, Array]], Runs]] = [
        ("training curves", lambda r: training_curves(r, None if curves is None else r),
         runs if curves is None else curves),
        ("isoFLOP parabolas", isoflop, runs),
    ]  # fmt: skip
    answers: list[Approach | str] = []
    for name, way, data in ways:
        try:
            compute, best = way(data)
        except BadInput as error:
            answers.append(f"{name}: {error}")
            continue
        slopes = resampled(way, data, generator)
        low, high = np.nan, np.nan
        if slopes:
            low, high = np.percentile(slopes, [2.5, 97.5])
        exponent = line(compute, best)[0]
        answers.append(Approach(name, exponent, (float(low), float(high)), compute, best))
    return [*answers, parametric(fitted)]


def resampled(
    way: Callable[[Runs], tuple[Array, Array]], data: Runs, generator: np.random.Generator
) -> list[float]:
    """Exponents of bootstrap samples for which the approach has an answer."""
    labels = np.array(data.names if data.names else [str(i) for i in range(len(data))])
    units = {name: np.flatnonzero(labels == name) for name in dict.fromkeys(labels)}
    names = list(units)
    slopes = []
    for _ in range(BOOTSTRAPS):
        drawn = generator.integers(0, len(names), len(names))
        rows = np.concatenate([units[names[i]] for i in drawn])
        try:
            slopes.append(line(*way(data.take(rows)))[0])
        except BadInput:
            continue
    return slopes
