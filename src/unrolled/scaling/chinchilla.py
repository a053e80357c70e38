"""How does the loss fall with size and data to a floor? Hoffmann's law and the two made from it.

L = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, equation 2). Pearce and Song 2024 give N by
the parameters without embeddings; Muennighoff et al. 2023 let repeated tokens, and parameters
beyond what the unique tokens warrant, count for less. In each, log L is the logarithm of a sum of
three exponentials that are linear in (log E, log A, log B, alpha, beta), hence convex in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from unrolled.scaling.law import Array, Expansion, Inputs, Law


@dataclass(frozen=True)
class Hoffmann(Law):
    """Phi = (log E, log A, log B, alpha, beta), A and B where the inputs are centred."""

    name = "hoffmann"
    formula = "L = E + A / N^alpha + B / D^beta"
    parameters: ClassVar[tuple[str, ...]] = ("E", "A", "B", "alpha", "beta")
    units: ClassVar[tuple[str, ...]] = (
        "nats",
        "nats parameters^alpha",
        "nats tokens^beta",
        "1",
        "1",
    )
    inputs: ClassVar[tuple[str, ...]] = ("parameters", "tokens")

    def effective(self, phi: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Centred logarithms of the size and the data that the law counts."""
        return self.size(inputs), np.log(inputs.columns[1]) - inputs.centres[1]

    def size(self, inputs: Inputs) -> Array:
        """The centred logarithm of the size."""
        return np.asarray(np.log(inputs.columns[0]) - inputs.centres[0])

    def _shares(self, phi: Array, inputs: Inputs) -> tuple[Array, ...]:
        """Log L, the shares of the terms of A and B in L, and the effective inputs."""
        n, d = self.effective(phi, inputs)
        floor, size, data = (
            phi[..., :1],
            phi[..., 1:2] - phi[..., 3:4] * n,
            phi[..., 2:3] - phi[..., 4:5] * d,
        )
        top = np.maximum(np.maximum(size, data), floor)
        first, second = np.exp(size - top), np.exp(data - top)
        total = np.exp(floor - top) + first + second
        return top + np.log(total), first / total, second / total, n, d

    def log_loss(self, phi: Array, inputs: Inputs) -> Array:
        """The logarithm of the sum of the three terms."""
        return self._shares(phi, inputs)[0]

    def slopes(self, phi: Array, inputs: Inputs) -> Array:
        """Shares of the terms, and shares times logarithms."""
        _, size, data, n, d = self._shares(phi, inputs)
        return np.stack([1 - size - data, size, data, -size * n, -data * d], -2)

    def curvature(self, phi: Array, inputs: Inputs, weights: Array) -> Array:
        """Of a logarithm of a sum of exponentials: the covariance of the terms' slopes."""
        _, size, data, n, d = self._shares(phi, inputs)
        return curvature(size, data, n, d, weights)

    def expand(self, phi: Array, inputs: Inputs) -> Expansion:
        """All three at once: the shares are most of the work."""
        log_loss, size, data, n, d = self._shares(phi, inputs)
        slopes = np.stack([1 - size - data, size, data, -size * n, -data * d], -2)
        return Expansion(log_loss, slopes, lambda weights: curvature(size, data, n, d, weights))

    def to_working(self, theta: Array, inputs: Inputs) -> Array:
        """From (E, A, B, alpha, beta)."""
        E, A, B, alpha, beta = np.moveaxis(theta, -1, 0)[:5]
        n, d = inputs.centres[:2]
        with np.errstate(divide="ignore"):
            return np.stack(
                [np.log(E), np.log(A) - alpha * n, np.log(B) - beta * d, alpha, beta], -1
            )

    def from_working(self, phi: Array, inputs: Inputs) -> Array:
        """To (E, A, B, alpha, beta)."""
        e, a, b, alpha, beta = np.moveaxis(phi, -1, 0)[:5]
        n, d = inputs.centres[:2]
        with np.errstate(over="ignore"):
            return np.stack(
                [
                    np.exp(np.maximum(e, LEAST)),
                    np.exp(a + alpha * n),
                    np.exp(b + beta * d),
                    alpha,
                    beta,
                ],
                -1,
            )

    def working_jacobian(self, theta: Array) -> Array:
        """Of (log E, log A, log B, alpha, beta)."""
        return np.diag([1 / theta[0], 1 / theta[1], 1 / theta[2], 1.0, 1.0])

    def starts(self, inputs: Inputs, loss: Array) -> Array:
        """A grid over the exponents; E, A, B by variable projection (Golub and Pereyra 1973).

        For given exponents the relative residuals L / y - 1 are linear in E, A and B, so those are
        solved for; what comes out negative is set to a small share of the loss instead.
        """
        alpha, beta = (
            grid.reshape(-1, 1) for grid in np.meshgrid(EXPONENTS, EXPONENTS, indexing="ij")
        )
        blank = np.zeros((len(alpha), len(self.parameters)))
        n, d = self.effective(blank + self.extra_starts(), inputs)
        columns = (
            np.stack([np.ones_like(alpha * n), np.exp(-alpha * n), np.exp(-beta * d)], -1)
            / loss[:, None]
        )
        gram = np.einsum("snp,snq->spq", columns, columns)
        gram += 1e-10 * np.einsum("spp->s", gram)[:, None, None] * np.eye(3)
        solved = np.linalg.solve(gram, columns.sum(1)[..., None])[..., 0]
        least = 0.01 * loss.min()
        logs = np.log(np.maximum(solved, least))
        first = np.concatenate([logs, alpha, beta], 1)
        return np.concatenate([first, (blank + self.extra_starts())[:, 5:]], 1)

    def extra_starts(self) -> Array:
        """Where coordinates beyond Hoffmann's begin."""
        return np.zeros(len(self.parameters))


FARTHEST = 50.0
"""Logarithms of R* beyond which it might as well be 0 or infinite."""
LEAST = -700.0
"""The logarithm of the smallest floor: one that has vanished stays a number above 0."""
EXPONENTS = np.geomspace(0.05, 2.5, 16)
"""Exponents that a fit begins with: of size, and of data."""


def curvature(size: Array, data: Array, n: Array, d: Array, weights: Array) -> Array:
    """Sums over runs of the weighted second derivatives, from the shares s and t of two terms.

    Every entry is a sum of s, t, s^2, st or t^2 times powers of the logarithms n and d, shape
    (runs,), so a few products of matrices give them all.
    """
    one = np.ones_like(n)
    by_n, by_d = np.stack([one, n, n * n], 1), np.stack([one, d, d * d], 1)
    first, second = weights * size, weights * data
    s, t, both = first - first * size, second - second * data, first * data
    (s0, s1, s2), (t0, t1, t2) = np.moveaxis(s @ by_n, -1, 0), np.moveaxis(t @ by_d, -1, 0)
    b0, bn, bd, bnd = np.moveaxis(both @ np.stack([one, n, d, n * d], 1), -1, 0)
    rows = [
        [s0 + t0 - 2 * b0, b0 - s0, b0 - t0, s1 - bn, t1 - bd],
        [b0 - s0, s0, -b0, -s1, bd],
        [b0 - t0, -b0, t0, bn, -t1],
        [s1 - bn, -s1, bn, s2, -bnd],
        [t1 - bd, bd, -t1, -bnd, t2],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


@dataclass(frozen=True)
class PearceSong(Hoffmann):
    """Hoffmann's law of N + omega N^(1/3), N the parameters without embeddings.

    The width of a model whose shape is kept goes as the cube root of its inner parameters, and the
    embedding as the width, so omega = (vocab_size + positions) (aspect_ratio / 12)^(1/3); it is
    given, not fitted. The paper's own fit to Chinchilla's models is 47,491.
    """

    omega: float = 47_491.0

    name = "pearce-song"
    formula = "L = E + A / (N + omega N^(1/3))^alpha + B / D^beta, N without embeddings"

    def size(self, inputs: Inputs) -> Array:
        """Of all parameters."""
        N = inputs.columns[0]
        return np.asarray(np.log(N + self.omega * np.cbrt(N)) - inputs.centres[0])


@dataclass(frozen=True)
class Muennighoff(Hoffmann):
    """Hoffmann's law of what repeated tokens and excess parameters are worth.

    With U unique tokens of D, R_D = D / U - 1 repetitions are worth
    D' = U + U R_D* (1 - exp(-R_D / R_D*)). Of N parameters, U_N = min(N, ratio U) are what the
    unique tokens warrant, R_N = N / U_N - 1, and N' is made from them as D' is from D. phi has
    (log R_D*, log R_N*) behind Hoffmann's.
    """

    ratio: float = 0.051
    """Compute-optimal parameters a token; 0.051 is what the paper's own fit gives (equation 17)."""

    name = "muennighoff"
    formula = "L = E + A / N'^alpha + B / D'^beta, X' = U + U R* (1 - exp(-(X / U - 1) / R*))"
    parameters: ClassVar[tuple[str, ...]] = ("E", "A", "B", "alpha", "beta", "R_D", "R_N")
    units: ClassVar[tuple[str, ...]] = (*Hoffmann.units, "1", "1")
    inputs: ClassVar[tuple[str, ...]] = ("parameters", "tokens", "unique_tokens")

    def _repeated(self, phi: Array, inputs: Inputs) -> tuple[Array, Array, Array, Array]:
        """Log N', log D' and their derivatives to log R_N* and log R_D*."""
        N, D, U = inputs.columns
        found = []
        for x, unique, log_r in (
            (N, np.minimum(N, self.ratio * U), phi[..., 6:7]),
            (D, U, phi[..., 5:6]),
        ):
            worth, turns = np.exp(np.clip(log_r, -FARTHEST, FARTHEST)), x / unique - 1
            left = np.exp(-turns / worth)
            whole = 1 + worth * (1 - left)
            found += [np.log(unique * whole), (worth * (1 - left) - turns * left) / whole]
        return found[0], found[2], found[1], found[3]

    def effective(self, phi: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Centred log N' and log D'."""
        n, d, _, _ = self._repeated(phi, inputs)
        return n - inputs.centres[0], d - inputs.centres[1]

    def slopes(self, phi: Array, inputs: Inputs) -> Array:
        """Hoffmann's, and through N' and D'."""
        _, size, data, n, d = self._shares(phi, inputs)
        _, _, by_n, by_d = self._repeated(phi, inputs)
        alpha, beta = phi[..., 3:4], phi[..., 4:5]
        rows = [1 - size - data, size, data, -size * n, -data * d]
        return np.stack([*rows, -beta * data * by_d, -alpha * size * by_n], -2)

    def curvature(self, phi: Array, inputs: Inputs, weights: Array) -> Array:
        """By differences of the slopes."""
        return Law.curvature(self, phi, inputs, weights)

    def expand(self, phi: Array, inputs: Inputs) -> Expansion:
        """One by one."""
        return Law.expand(self, phi, inputs)

    def to_working(self, theta: Array, inputs: Inputs) -> Array:
        """From (E, A, B, alpha, beta, R_D*, R_N*)."""
        return np.concatenate([super().to_working(theta, inputs), np.log(theta[..., 5:])], -1)

    def from_working(self, phi: Array, inputs: Inputs) -> Array:
        """To (E, A, B, alpha, beta, R_D*, R_N*)."""
        with np.errstate(over="ignore"):
            return np.concatenate([super().from_working(phi, inputs), np.exp(phi[..., 5:])], -1)

    def working_jacobian(self, theta: Array) -> Array:
        """Of the logarithms and exponents."""
        scale = [1 / theta[0], 1 / theta[1], 1 / theta[2], 1.0, 1.0, 1 / theta[5], 1 / theta[6]]
        return np.diag(scale)

    def extra_starts(self) -> Array:
        """Ten repetitions each."""
        return np.array([0.0] * 5 + [np.log(10.0)] * 2)
