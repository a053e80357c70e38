"""What is a scaling law? A loss as a function of size and data, and its derivatives.

Kaplan et al. 2020 ("Scaling Laws for Neural Language Models"): equations 1.1-1.3 and 1.5. Hoffmann
et al. 2022 ("Training Compute-Optimal Large Language Models"): equation 2. Muennighoff et al. 2023
("Scaling Data-Constrained Language Models"): equations 4-6. Pearce and Song 2024 ("Reconciling
Kaplan and Chinchilla Scaling Laws"): N = N' + omega N'^(1/3).

Every law here is the logarithm of a sum of powers, so it is worked with as log L in coordinates in
which that is smooth and unconstrained: logarithms of coefficients, exponents as they are. Inputs
are centred: a coefficient then says what the loss is in the middle of the data, not at N = 1, and
a fit is well conditioned. Derivatives are analytic throughout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import BadInput
from unrolled.scaling.runs import Runs

Array = NDArray[np.float64]
Parameters = Mapping[str, float]


class Inputs(NamedTuple):
    """A law's inputs: one array of shape (runs,) each, and the centres of their logarithms."""

    columns: tuple[Array, ...]
    centres: tuple[float, ...]


class Expansion(NamedTuple):
    """A law to the second order around working coordinates."""

    log_loss: Array
    slopes: Array
    curvature: Callable[[Array], Array]
    """As `Law.curvature`, of weights."""


@dataclass(frozen=True)
class Law(ABC):
    """A loss in nats a token.

    Working coordinates `phi` have shape (..., p): all leading dimensions are independent laws.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]
    """Names, in the order of `jacobian`'s columns."""
    units: ClassVar[tuple[str, ...]]
    inputs: ClassVar[tuple[str, ...]]

    # --- what a user calls ---

    def predict(self, constants: Parameters, /, **inputs: float | Array) -> Array:
        """The loss L in nats a token; inputs by name, as in `predict(p, parameters=N, tokens=D)`.

        Raises `BadInput` for a missing or unknown parameter or input, or one that isn't positive.
        """
        phi, columns = self._checked(constants, inputs)
        return np.asarray(np.exp(self.log_loss(phi, columns)))

    def jacobian(self, constants: Parameters, /, **inputs: float | Array) -> Array:
        """Derivatives of L to the parameters, shape (inputs, p); raises as `predict` does."""
        phi, columns = self._checked(constants, inputs)
        values = np.exp(self.log_loss(phi, columns))
        theta = np.array([constants[name] for name in self.parameters])
        chain = self.working_jacobian(theta)
        return np.asarray((values * self.slopes(phi, columns)).T @ chain)

    def _checked(
        self, parameters: Parameters, inputs: Mapping[str, float | Array]
    ) -> tuple[Array, Inputs]:
        if set(parameters) != set(self.parameters):
            raise BadInput(f"the law {self.name} has the parameters {', '.join(self.parameters)}")
        if set(inputs) != set(self.inputs):
            raise BadInput(f"the law {self.name} is a function of {', '.join(self.inputs)}")
        columns = [np.atleast_1d(np.asarray(inputs[name], dtype=float)) for name in self.inputs]
        if not all(np.all(np.isfinite(column) & (column > 0)) for column in columns):
            raise BadInput(f"{' and '.join(self.inputs)} have to be positive")
        theta = np.array([parameters[name] for name in self.parameters])
        wide = tuple(np.broadcast_arrays(*columns))
        plain = Inputs(wide, (0.0,) * len(wide))
        return self.to_working(theta, plain), plain

    def prepare(self, runs: Runs) -> Inputs:
        """The inputs of runs, centred at the means of their logarithms."""
        columns = tuple(runs.column(name) for name in self.inputs)
        return Inputs(columns, tuple(float(np.log(column).mean()) for column in columns))

    # --- what a fit calls, with phi of shape (..., p) and results of shape (..., [p,] runs) ---

    @abstractmethod
    def log_loss(self, phi: Array, inputs: Inputs) -> Array:
        """Log L."""

    @abstractmethod
    def slopes(self, phi: Array, inputs: Inputs) -> Array:
        """The derivatives of log L to phi."""

    def curvature(self, phi: Array, inputs: Inputs, weights: Array) -> Array:
        """The sum over runs of weights times the second derivatives of log L, (..., p, p).

        By central differences of the analytic slopes, unless a law knows better.
        """
        p, step = phi.shape[-1], 1e-5
        rows = []
        for j in range(p):
            move = step * np.eye(p)[j]
            difference = self.slopes(phi + move, inputs) - self.slopes(phi - move, inputs)
            rows.append(np.einsum("...pn,...n->...p", difference, weights) / (2 * step))
        return np.stack(rows, axis=-2)

    def expand(self, phi: Array, inputs: Inputs) -> Expansion:
        """Log L and its slopes and curvature at once."""
        log_loss, slopes = self.log_loss(phi, inputs), self.slopes(phi, inputs)
        return Expansion(log_loss, slopes, lambda weights: self.curvature(phi, inputs, weights))

    @abstractmethod
    def to_working(self, theta: Array, inputs: Inputs) -> Array:
        """Parameters, in the order of their names, as working coordinates."""

    @abstractmethod
    def from_working(self, phi: Array, inputs: Inputs) -> Array:
        """The reverse."""

    @abstractmethod
    def working_jacobian(self, theta: Array) -> Array:
        """The derivatives of phi to theta at centres of 0, shape (p, p)."""

    @abstractmethod
    def starts(self, inputs: Inputs, loss: Array) -> Array:
        """Where a fit begins, shape (starts, p)."""


@dataclass(frozen=True)
class Power(Law):
    """L = (Xc / X)^alpha, with phi = (alpha (log Xc - centre), alpha)."""

    def log_loss(self, phi: Array, inputs: Inputs) -> Array:
        """A straight line in log X."""
        x = np.log(inputs.columns[0]) - inputs.centres[0]
        return np.asarray(phi[..., :1] - phi[..., 1:] * x)

    def slopes(self, phi: Array, inputs: Inputs) -> Array:
        """Do not depend on phi."""
        x = np.log(inputs.columns[0]) - inputs.centres[0]
        both = np.stack([np.ones_like(x), -x])
        return np.broadcast_to(both, (*phi.shape[:-1], *both.shape))

    def curvature(self, phi: Array, inputs: Inputs, weights: Array) -> Array:
        """None."""
        return np.zeros((*phi.shape, 2))

    def to_working(self, theta: Array, inputs: Inputs) -> Array:
        """From (Xc, alpha)."""
        return np.stack(
            [theta[..., 1] * (np.log(theta[..., 0]) - inputs.centres[0]), theta[..., 1]], -1
        )

    def from_working(self, phi: Array, inputs: Inputs) -> Array:
        """To (Xc, alpha)."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            scale = np.exp(phi[..., 0] / phi[..., 1] + inputs.centres[0])
        return np.stack([scale, phi[..., 1]], -1)

    def working_jacobian(self, theta: Array) -> Array:
        """Of (alpha log Xc, alpha)."""
        return np.array([[theta[1] / theta[0], np.log(theta[0])], [0.0, 1.0]])

    def starts(self, inputs: Inputs, loss: Array) -> Array:
        """The middle of the data, with slopes on both sides of what has been seen."""
        slopes = np.linspace(0.01, 1.0, 24)
        return np.stack([np.full_like(slopes, np.log(loss).mean()), slopes], -1)


class KaplanN(Power):
    """L(N) = (Nc / N)^alpha_N: trained to convergence on enough data; N without embeddings."""

    name = "kaplan-n"
    formula = "L = (Nc / N)^alpha_N"
    parameters = ("Nc", "alpha_N")
    units = ("parameters", "1")
    inputs = ("parameters",)


class KaplanD(Power):
    """L(D) = (Dc / D)^alpha_D: a large model, stopped early."""

    name = "kaplan-d"
    formula = "L = (Dc / D)^alpha_D"
    parameters = ("Dc", "alpha_D")
    units = ("tokens", "1")
    inputs = ("tokens",)


class KaplanC(Power):
    """L(C_min) = (Cc / C_min)^alpha_C: the best split of the compute; here in FLOPs."""

    name = "kaplan-c"
    formula = "L = (Cc / C)^alpha_C"
    parameters = ("Cc", "alpha_C")
    units = ("FLOPs", "1")
    inputs = ("compute",)


@dataclass(frozen=True)
class KaplanND(Law):
    """L(N, D) = ((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D.

    phi = (u (log Nc - centre), log Dc - centre, u, alpha_D) with u = alpha_N / alpha_D.
    """

    name = "kaplan-nd"
    formula = "L = ((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D"
    parameters = ("Nc", "Dc", "alpha_N", "alpha_D")
    units = ("parameters", "tokens", "1", "1")
    inputs = ("parameters", "tokens")

    def _terms(self, phi: Array, inputs: Inputs) -> tuple[Array, Array, Array]:
        n, d = (np.log(c) - m for c, m in zip(*inputs, strict=True))
        return phi[..., :1] - phi[..., 2:3] * n, phi[..., 1:2] - d, n

    def log_loss(self, phi: Array, inputs: Inputs) -> Array:
        """alpha_D times a logarithm of a sum."""
        size, data, _ = self._terms(phi, inputs)
        return np.asarray(phi[..., 3:4] * np.logaddexp(size, data))

    def slopes(self, phi: Array, inputs: Inputs) -> Array:
        """By the share that each term has of the sum."""
        size, data, n = self._terms(phi, inputs)
        both = np.logaddexp(size, data)
        share = np.exp(size - both) * phi[..., 3:4]
        return np.stack([share, phi[..., 3:4] - share, -share * n, both], -2)

    def to_working(self, theta: Array, inputs: Inputs) -> Array:
        """From (Nc, Dc, alpha_N, alpha_D)."""
        Nc, Dc, aN, aD = np.moveaxis(theta, -1, 0)
        u = aN / aD
        return np.stack(
            [u * (np.log(Nc) - inputs.centres[0]), np.log(Dc) - inputs.centres[1], u, aD], -1
        )

    def from_working(self, phi: Array, inputs: Inputs) -> Array:
        """To (Nc, Dc, alpha_N, alpha_D)."""
        size, data, u, aD = np.moveaxis(phi, -1, 0)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            Nc, Dc = np.exp(size / u + inputs.centres[0]), np.exp(data + inputs.centres[1])
        return np.stack([Nc, Dc, u * aD, aD], -1)

    def working_jacobian(self, theta: Array) -> Array:
        """Of (u log Nc, log Dc, u, alpha_D)."""
        Nc, Dc, aN, aD = theta
        u = aN / aD
        du = np.array([0.0, 0.0, 1 / aD, -u / aD])
        first = np.log(Nc) * du
        first[0] += u / Nc
        return np.array([first, [0, 1 / Dc, 0, 0], du, [0, 0, 0, 1.0]])

    def starts(self, inputs: Inputs, loss: Array) -> Array:
        """A grid over the exponents and the share of the first term in the middle of the data."""
        u, aD, share = np.meshgrid(
            np.linspace(0.3, 2.0, 8), np.linspace(0.02, 0.6, 10), [0.1, 0.5, 0.9], indexing="ij"
        )
        middle = np.log(loss).mean() / aD
        stacked = np.stack([middle + np.log(share), middle + np.log1p(-share), u, aD], -1)
        return stacked.reshape(-1, 4)
