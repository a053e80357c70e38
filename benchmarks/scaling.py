"""How fast is a robust fit of a scaling law, and its bootstrap, next to the plain scheme?

    python benchmarks/scaling.py [--rounds 3] [--starts 4500]

240 runs of Besiroglu's law with 1 % of noise (t, 4 degrees of freedom). The plain scheme is
Hoffmann et al. 2022's grid of 4,500 starts, each by SciPy's L-BFGS-B with numerical gradients; a
stronger one has analytic gradients and a tolerance that doesn't stop early. Seconds are the
processor's, one thread; in turns, medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from unrolled.scaling import LAWS, PUBLISHED, Fit, Runs, allocate, fit
from unrolled.scaling.fit import bootstrap
from unrolled.scaling.sensitivity import plain_scheme

DELTA, BUDGET, BOOTSTRAPS = 1e-3, 5.76e23, 4000


def made(runs: int = 240, seed: int = 0) -> Runs:
    """Runs around the compute-optimal line, over four decades of compute."""
    rng = np.random.default_rng(seed)
    true = PUBLISHED["besiroglu"]
    C = 10 ** rng.uniform(18, 22, runs)
    N = np.sqrt(C / 120) * 10 ** rng.uniform(-0.7, 0.7, runs)
    D = C / 6 / N
    loss = true.law.predict(true.parameters, parameters=N, tokens=D)
    return Runs(N, D, loss * np.exp(0.01 * rng.standard_t(4, runs)))


def with_gradients(runs: Runs, starts: int) -> Fit:
    """The same grid by L-BFGS-B with analytic gradients, to the end."""
    n, d, y = np.log(runs.parameters), np.log(runs.tokens), np.log(runs.loss)

    def loss(phi: np.ndarray) -> tuple[float, np.ndarray]:
        e, a, b, alpha, beta = phi
        size, data = a - alpha * n, b - beta * d
        top = np.maximum(np.maximum(size, data), e)
        first, second, floor = np.exp(size - top), np.exp(data - top), np.exp(e - top)
        total = first + second + floor
        r = top + np.log(total) - y
        pull = np.clip(r, -DELTA, DELTA)
        s, t, f = (pull * part / total for part in (first, second, floor))
        slope = np.array([f.sum(), s.sum(), t.sum(), -(s * n).sum(), -(t * d).sum()])
        return float((pull * (r - 0.5 * pull)).sum()), slope

    axes = [np.linspace(-1, 1, 5), *2 * [np.arange(0, 30, 5)], *2 * [np.linspace(0, 2, 5)]]
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], 1).astype(float)
    chosen = grid[np.linspace(0, len(grid) - 1, starts).astype(int)]
    options = {"ftol": 1e-15, "gtol": 1e-12, "maxiter": 5000, "maxfun": 20_000}
    ends = [minimize(loss, x, jac=True, method="L-BFGS-B", options=options) for x in chosen]
    values = np.array([end.fun for end in ends])
    best = ends[int(values.argmin())]
    theta = np.concatenate([np.exp(best.x[:3]), best.x[3:]])
    reached = int((values <= values.min() * (1 + 1e-6)).sum())
    return Fit(LAWS["hoffmann"], runs, DELTA, theta, float(best.fun), np.nan, starts, reached)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=4500)
    given = parser.parse_args()
    runs = made()
    once = fit(LAWS["hoffmann"], runs)
    contenders: dict[str, Callable[[], Fit]] = {
        "fit, 256 starts": lambda: fit(LAWS["hoffmann"], runs),
        f"{BOOTSTRAPS:,} bootstraps": lambda: bootstrap(once, BOOTSTRAPS),
        "plain scheme, summed": lambda: plain_scheme(runs, starts=given.starts),
        "plain scheme, averaged": lambda: plain_scheme(runs, reduction="mean", starts=given.starts),
        "analytic gradients, to the end": lambda: with_gradients(runs, given.starts),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(given.rounds):
        found: dict[str, Fit] = {}
        for name, work in contenders.items():
            started = time.process_time()
            found[name] = work()
            seconds[name].append(time.process_time() - started)
        report(turn + 1, seconds, found)


def report(rounds: int, seconds: dict[str, list[float]], found: dict[str, Fit]) -> None:
    """Medians so far."""
    ours = statistics.median(seconds["fit, 256 starts"])
    columns = f"{'seconds':>9}{'x ours':>8}{'objective':>15}{'reached':>13}{'D / N':>8}"
    print(f"{f'round {rounds}':32}{columns}")
    for name, answer in found.items():
        median = statistics.median(seconds[name])
        ratio = allocate(answer, BUDGET).tokens_per_parameter
        print(
            f"{name:32}{median:9.2f}{median / ours:8.1f}{answer.objective:15.10f}"
            f"{answer.reached:6}/{answer.starts:<6}{ratio:8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
