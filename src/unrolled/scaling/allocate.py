"""How large a model, on how many tokens, for a budget of compute?

The N that minimises L(N, D(N)) where the budget pays for D(N) tokens (Hoffmann et al. 2022,
equation 4): in closed form for their law at 6 N D FLOPs, otherwise by a search over log N. Every
bootstrap sample of a fit is asked as well, which gives intervals on the answer, not on the
constants alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from unrolled.errors import BadInput, WorkFailed
from unrolled.scaling.chinchilla import Hoffmann, PearceSong
from unrolled.scaling.fit import Fit, interval
from unrolled.scaling.law import Array, Inputs, Law
from unrolled.scaling.published import Published

FAR = 100.0
"""A budget so many times outside the runs' own is answered with a warning."""
GRID, ZOOMS = 65, 8


@runtime_checkable
class Cost(Protocol):
    """FLOPs of training on one token."""

    def per_token(self, parameters: Array) -> Array:
        """Of a model with so many parameters, the embedding included."""


@dataclass(frozen=True)
class SixN:
    """6 N: a multiplication and an addition forward, twice that backward (Kaplan et al. 2020)."""

    def per_token(self, parameters: Array) -> Array:
        """6 N."""
        return 6 * parameters


@dataclass(frozen=True)
class Decoder:
    """Exact FLOPs of a decoder of one shape at every size: attention, head and embedding.

    Width h, h / aspect_ratio layers of 12 h^2 weights, and one V h matrix that is embedding and
    output layer. N = 12 h^3 / aspect_ratio + V h. A token takes 6 a weight, the output layer's
    included (looking an embedding up is free), and 12 h T a layer for attention over T positions.
    """

    vocab_size: int
    row_length: int
    aspect_ratio: float = 32.0
    """Width over layers."""

    def width(self, parameters: Array) -> Array:
        """The h that has so many parameters: Newton's method on a convex function, from above."""
        cubic, linear = 12 / self.aspect_ratio, float(self.vocab_size)
        h = np.minimum(np.cbrt(parameters / cubic), parameters / linear)
        for _ in range(60):
            h = h - (cubic * h**3 + linear * h - parameters) / (3 * cubic * h * h + linear)
        return np.asarray(h)

    def per_token(self, parameters: Array) -> Array:
        """6 N + 12 h T h / aspect_ratio."""
        h = self.width(parameters)
        return np.asarray(6 * parameters + 12 * self.row_length * h * h / self.aspect_ratio)


@dataclass(frozen=True)
class Allocation:
    """What to train for a budget."""

    flops: float
    parameters: float
    """N, as the law counts it."""
    tokens: float
    loss: float
    """Predicted, in nats a token."""
    best_loss: float
    """The loss of the best split of the same budget, where N or D was given; else the same."""
    intervals: Mapping[str, tuple[float, float]]
    """Of parameters, tokens, tokens_per_parameter and loss; empty without bootstrap samples."""
    warnings: tuple[str, ...] = ()

    @property
    def tokens_per_parameter(self) -> float:
        """D / N."""
        return self.tokens / self.parameters


def allocate(
    fitted: Fit | Published,
    flops: float,
    *,
    parameters: float | None = None,
    tokens: float | None = None,
    cost: Cost | None = None,
    unique_tokens: float | None = None,
    level: float = 0.95,
) -> Allocation:
    """The compute-optimal N and D of a budget, or what a given N or D leaves.

    Args:
        fitted: a fit, or published constants, of a law of both N and D.
        flops: the budget, C.
        parameters: N, where inference decides it: then D is what the budget pays for.
        tokens: D, where the data decides it: then N is what the budget pays for.
        cost: FLOPs a token; 6 N unless given.
        unique_tokens: for a law of repeated data, how many different tokens there are.
        level: of the intervals.

    Raises:
        BadInput: a budget or size that isn't positive, both N and D given, a law without N or D.
    """
    law = fitted.law
    ask = Question(law, float(flops), cost or SixN(), unique_tokens)
    for name, value in (("budget", flops), ("size", parameters), ("tokens", tokens)):
        if value is not None and not 0 < value < np.inf:
            raise BadInput(f"the {name} is a positive number, not {value:g}")
    if parameters is not None and tokens is not None:
        raise BadInput("a budget with N and with D given leaves nothing to choose: give one")
    theta = np.array([[fitted.parameters[name] for name in law.parameters]])
    drawn = fitted.drawn() if isinstance(fitted, Fit) and fitted.samples is not None else None
    # The parameters, then the bootstrap's, then those fitted without each run.
    everything = theta if drawn is None else np.concatenate([theta, *drawn[1:]])
    free = ask.best(everything)
    if parameters is not None:
        N = np.full(len(everything), float(parameters))
    elif tokens is not None:
        N = np.full(len(everything), ask.size_for(float(tokens)))
    else:
        N = free
    D = ask.tokens(N)
    loss = ask.loss(everything, N[:, None])[:, 0]
    best = loss if N is free else ask.loss(everything, free[:, None])[:, 0]
    return Allocation(
        float(flops),
        float(N[0]),
        float(D[0]),
        float(loss[0]),
        float(best[0]),
        {} if drawn is None else ranges(N, D, loss, len(drawn[2]), level),
        warnings(fitted, float(flops)),
    )


def ranges(
    N: Array, D: Array, loss: Array, runs: int, level: float
) -> dict[str, tuple[float, float]]:
    """Intervals of what a user acts on: from the first row, samples, and the last rows, `runs`."""
    columns = {"parameters": N, "tokens": D, "tokens_per_parameter": D / N, "loss": loss}
    table = np.stack(list(columns.values()), 1)
    low, high = interval(table[0], table[1:-runs], table[-runs:], level)
    return {name: (float(low[j]), float(high[j])) for j, name in enumerate(columns)}


def warnings(fitted: Fit | Published, flops: float) -> tuple[str, ...]:
    """What is to be said of a budget far from the runs."""
    if not isinstance(fitted, Fit):
        return ()
    low, high = fitted.runs.compute.min(), fitted.runs.compute.max()
    for far, word in ((flops / high, "above the largest"), (low / flops, "below the smallest")):
        if far > FAR:
            return (
                f"the budget of {flops:.3g} FLOPs is {far:,.0f} times {word} of the runs "
                f"({low:.3g} to {high:.3g}): this answer is an extrapolation, and its interval "
                "doesn't know whether the law holds there",
            )
    return ()


@dataclass(frozen=True)
class Question:
    """One budget, asked of many constants at once."""

    law: Law
    flops: float
    cost: Cost
    unique_tokens: float | None

    def __post_init__(self) -> None:
        if not {"parameters", "tokens"} <= set(self.law.inputs):
            raise BadInput(
                f"the law {self.law.name} is one of {' and '.join(self.law.inputs)}: a budget is "
                "split by a law of parameters and tokens, such as hoffmann"
            )
        if "unique_tokens" in self.law.inputs and not (self.unique_tokens or 0) > 0:
            raise BadInput(
                f"the law {self.law.name} needs to know how many unique tokens there are"
            )

    def all_parameters(self, N: Array) -> Array:
        """What of the model is paid for, where the law counts N without embeddings."""
        whole = N + self.law.omega * np.cbrt(N) if isinstance(self.law, PearceSong) else N
        return np.asarray(whole)

    def tokens(self, N: Array) -> Array:
        """D that the budget pays for."""
        return np.asarray(self.flops / self.cost.per_token(self.all_parameters(N)))

    def loss(self, theta: Array, N: Array) -> Array:
        """L on the budget's frontier; theta has shape (laws, p), N (laws, sizes)."""
        D = self.tokens(N)
        columns: tuple[Array, ...] = (N, D)
        if "unique_tokens" in self.law.inputs:
            columns += (np.minimum(D, self.unique_tokens or np.inf),)
        plain = Inputs(columns, (0.0,) * len(columns))
        return np.asarray(np.exp(self.law.log_loss(self.law.to_working(theta, plain), plain)))

    def best(self, theta: Array) -> Array:
        """The N of least loss for each law, shape (laws,)."""
        if type(self.law) is Hoffmann and isinstance(self.cost, SixN):
            _, A, B, alpha, beta = theta.T
            if min(alpha[0], beta[0]) <= 0:
                raise WorkFailed(
                    f"the fitted law rises with {'N' if alpha[0] <= 0 else 'D'}: no budget has a "
                    "best split under it; look at the runs"
                )
            # A sample whose law rises somewhere has no answer; it is left out of the interval.
            with np.errstate(invalid="ignore", divide="ignore"):
                log_g = (np.log(alpha * A) - np.log(beta * B)) / (alpha + beta)
                best = np.exp(log_g + beta / (alpha + beta) * np.log(self.flops / 6))
            return np.asarray(best)
        # From a model of one parameter to one that sees a single token.
        low = np.zeros(len(theta))
        high = np.full(len(theta), np.log(self.flops / 6))
        for _ in range(ZOOMS):
            places = np.linspace(low, high, GRID, axis=1)
            least = self.loss(theta, np.exp(places)).argmin(1)
            rows = np.arange(len(theta))
            low = places[rows, np.maximum(least - 1, 0)]
            high = places[rows, np.minimum(least + 1, GRID - 1)]
        return np.asarray(np.exp((low + high) / 2))

    def size_for(self, tokens: float) -> float:
        """The N with which the budget pays for just so many tokens, by bisection."""
        low, high = 0.0, float(np.log(self.flops))
        for _ in range(200):
            middle = (low + high) / 2
            more = self.tokens(np.array([np.exp(middle)]))[0] > tokens
            low, high = (middle, high) if more else (low, middle)
        return float(np.exp((low + high) / 2))
