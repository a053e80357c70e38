"""Runs of known constants, for the tests of this room."""

from __future__ import annotations

import numpy as np

from unrolled.scaling import PUBLISHED, Runs

TRUE = PUBLISHED["besiroglu"]


def synthetic(
    runs: int,
    noise: float,
    seed: int,
    *,
    heavy: bool = False,
    flops: tuple[float, float] = (18, 22),
) -> Runs:
    """Runs around the compute-optimal line of Besiroglu's law, normal or t4 noise in log loss."""
    rng = np.random.default_rng(seed)
    C = 10 ** rng.uniform(*flops, runs)
    N = np.sqrt(C / 120) * 10 ** rng.uniform(-0.7, 0.7, runs)
    D = C / 6 / N
    draws = rng.standard_t(4, runs) if heavy else rng.standard_normal(runs)
    clean = TRUE.law.predict(TRUE.parameters, parameters=N, tokens=D)
    return Runs(N, D, clean * np.exp(noise * draws))


def isoflop_grid(noise: float, seed: int = 0) -> Runs:
    """Five budgets, nine sizes each."""
    rng = np.random.default_rng(seed)
    C = np.repeat(10.0 ** np.arange(18, 23), 9)
    N = np.sqrt(C / 120) * np.tile(10 ** np.linspace(-0.6, 0.6, 9), 5)
    D = C / 6 / N
    clean = TRUE.law.predict(TRUE.parameters, parameters=N, tokens=D)
    return Runs(N, D, clean * np.exp(noise * rng.standard_normal(len(C))))
