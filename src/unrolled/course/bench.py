"""How is a student's part asked, and how is what came compared with what was expected?

A test makes objects with weights drawn by the grader, asks for values, and compares kind, shape,
type, finiteness and numbers, in that order. What differs is `Wrong`, with the first place that
does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.course import reference
from unrolled.course.reference import Sizes, Weights
from unrolled.course.session import Died, Limits, Process, Refused, Server
from unrolled.errors import printable

Array = NDArray[Any]
TOLERANCE = 2e-4
"""Of a value, relative to the largest expected one: far above 32-bit rounding, far below a
mistake.
"""
CHANCE = 1e-6
"""Probability that a right sampler fails a test of its distribution."""
STEP = 1e-5
DEEPEST = 4
"""Tuples in tuples that are still read."""


class Wrong(Exception):
    """An answer that isn't the expected one; the message shows both."""


class Unloadable(Exception):
    """The submission's file can't be run as a module; the message says why."""


class Subject:
    """A submission under test: its process, started again where it died."""

    def __init__(self, server: Server, source: str, slot: int, limits: Limits) -> None:
        self.server, self.source, self.slot, self.limits = server, source, slot, limits
        self.process: Process | None = None
        self.deadline = time.monotonic() + limits.total

    def ask(self, command: str, tensors: Sequence[Array] = (), **header: Any) -> Any:
        """The answer as Python values and arrays. Raises `Died`, `Refused` or `Unloadable`."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Died("the time for the whole submission is over")
        if self.process is None:
            self.process = Process(self.server, self.slot, self.limits)
            try:
                self.process.ask("load", [], min(self.limits.load, left), source=self.source)
            except (Died, Refused) as error:
                raise Unloadable(f"the file can't be imported: {error}") from None
        value, arrays = self.process.ask(
            command, list(tensors), min(self.limits.call, left), **header
        )
        return decode(value, arrays)

    def end(self) -> None:
        """End its process, if there is one."""
        if self.process is not None:
            self.process.end()
            self.process = None


def decode(value: Any, arrays: list[Array], depth: int = 0) -> Any:
    """What the worker described, or an `Other`; never anything else, whatever came."""
    match value:
        case {"tensor": int(number)} if 0 <= number < len(arrays):
            return arrays[number]
        case {"items": [*items]} if len(items) <= 1024 and depth < DEEPEST:
            return tuple(decode(item, arrays, depth + 1) for item in items)
        case {"none": True}:
            return None
        case {"plain": bool() | int() | float() as plain}:
            return plain
        case {"other": str(name)}:
            return Other(printable(name)[:100])
    return Other("no value")


class Other:
    """A value that is no tensor, number, tuple or None."""

    def __init__(self, name: str) -> None:
        self.name = name


class Bench:
    """One test's dealings with a submission: its generator, and the objects it made."""

    def __init__(self, subject: Subject, seed: int, standing_in: bool) -> None:
        self.subject, self.seed, self.standing_in = subject, seed, standing_in
        self.rng = np.random.default_rng(seed)

    def weights(self, kind: str, *sizes: Sizes) -> Weights:
        """Weights at random for an object of a class, 32-bit numbers in 64 bits."""
        shapes = reference.shapes(kind, *sizes)
        drawn = reference.draw(shapes, self.rng)
        return {name: w.astype(np.float64) for name, w in drawn.items()}

    def make(
        self, kind: str, *sizes: Sizes, parts: Sequence[str] = (), weights: Weights | None = None,
        **dropout: float,
    ) -> Weights:  # fmt: skip
        """Make the object of a class, with random weights or those given; answers them.

        `parts` are the classes that stand-ins take the place of where the test runs with them.
        """
        weights = weights or self.weights(kind, *sizes)
        configs = [size.config(**dropout) for size in sizes]
        stand_ins = list(parts) if self.standing_in else []
        told: dict[str, Any] = {"class": kind, "configs": configs, "stand_ins": stand_ins}
        state = [w.astype(np.float32) for w in weights.values()]
        if self.subject.ask("new", state, name=kind, keys=list(weights), **told) != ():
            raise Wrong(f"{kind} has other weights than gtgpt gives it")
        return weights

    def call(
        self, kind: str | None, *arguments: Any, method: str | None = None,
        train: bool = False, **named: Any,
    ) -> Any:  # fmt: skip
        """Call an object, its method, or a function of the module."""
        tensors, header = spoken(arguments, named)
        target = {"object": kind, "train": train} if kind else {}
        return self.subject.ask("call", tensors, method=method, **target, **header)

    def gradients(
        self, kind: str, weights: Weights, groups: Sequence[Sequence[str]],
        answer: Callable[[Weights], Array], *arguments: Any, item: int | None = None, **named: Any,
    ) -> None:  # fmt: skip
        """Compare gradients with differences of the reference, in one random direction a group.

        A group is the names' beginnings; the derivative of Σ answer · c for random c along a random
        d is Σ gradient · d, and (f(w + εd) - f(w - εd)) / 2ε to within ε².
        """
        folded = self.rng.normal(size=answer(weights).shape).astype(np.float32)
        tensors, header = spoken(arguments, named)
        found = self.subject.ask(
            "grads", [*tensors, folded], object=kind, train=False, keys=list(weights), item=item,
            **header,
        )  # fmt: skip
        if not isinstance(found, tuple) or len(found) != len(weights):
            raise Wrong("expected gradients of all weights")
        by_name = dict(zip(weights, found, strict=True))
        for group in groups:
            names = [name for name in weights if name.startswith(tuple(group))]
            ways = {n: self.rng.normal(size=weights[n].shape) for n in names}

            def moved(step: float, ways: dict[str, Array] = ways) -> float:
                there = {n: w + step * ways[n] if n in ways else w for n, w in weights.items()}
                return float((answer(there) * folded).sum())

            expected = (moved(STEP) - moved(-STEP)) / (2 * STEP)
            slope, size = 0.0, 1e-3
            for name in names:
                if by_name[name] is None:
                    raise Wrong(f"no gradient reaches {name}")
                gradient = tensor(f"the gradient of {name}", by_name[name], weights[name].shape)
                terms = gradient.astype(np.float64) * ways[name]
                slope, size = slope + terms.sum(), size + float(np.sqrt((terms**2).sum()))
            if not abs(slope - expected) <= 2e-3 * size + 1e-3 * abs(expected):
                raise Wrong(f"expected a slope of {expected:.6g}, got {slope:.6g}, along {group}")


def spoken(arguments: Sequence[Any], named: dict[str, Any]) -> tuple[list[Array], dict[str, Any]]:
    """Arguments as the worker takes them: arrays by number beside them."""
    tensors: list[Array] = []

    def word(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            tensors.append(value.astype(np.float32) if value.dtype.kind == "f" else value)
            return {"tensor": len(tensors) - 1}
        return value

    words = [word(value) for value in arguments]
    return tensors, {"arguments": words, "named": {k: word(v) for k, v in named.items()}}


def tensor(name: str, found: Any, shape: tuple[int, ...], kind: str = "float32") -> Array:
    """`found` if it is a finite tensor of that shape and type ("int" also takes truth values)."""
    if not isinstance(found, np.ndarray):
        called = found.name if isinstance(found, Other) else type(found).__name__
        raise Wrong(f"{name}: expected a tensor, got {called}")
    if found.shape != shape:
        raise Wrong(f"{name}: expected shape {shape}, got {found.shape}")
    good = found.dtype.kind in "iub" if kind == "int" else str(found.dtype) == kind
    if not good:
        raise Wrong(f"{name}: expected {kind}, got {found.dtype}")
    if not np.isfinite(found).all():
        raise Wrong(f"{name}: {first(~np.isfinite(found))} is not finite")
    return found


def close(name: str, found: Any, expected: Array, kind: str = "float32") -> None:
    """Raise `Wrong` unless `found` is `expected`, to within 32-bit arithmetic or exactly for
    "int".
    """
    checked = tensor(name, found, expected.shape, kind)
    bound = 0.0 if kind == "int" else TOLERANCE * (1e-3 + float(np.abs(expected).max(initial=0)))
    off = np.abs(checked.astype(np.float64) - expected) > bound
    if off.any():
        place = tuple(int(i) for i in np.argwhere(off)[0])
        came, wanted = checked[place].item(), expected[place].item()
        shown = [f"{float(v):.6g}" for v in (wanted, came)]
        raise Wrong(
            f"{name}: expected {shown[0]}, got {shown[1]} at index {list(place)}; "
            f"{int(off.sum())} of {off.size} values differ"
        )


def first(flags: Array) -> str:
    """Where the first true one is."""
    return f"index {[int(i) for i in np.argwhere(flags)[0]]}"


def several(found: Any, count: int) -> tuple[Any, ...]:
    """`found` if it is a tuple of that many."""
    if not isinstance(found, tuple) or len(found) != count:
        raise Wrong(f"expected {count} values, (logits, loss), got {kind_of(found)}")
    return found


def kind_of(found: Any) -> str:
    """What to call a value in a message."""
    return found.name if isinstance(found, Other) else type(found).__name__


def scalar(name: str, found: Any, expected: float) -> None:
    """Raise `Wrong` unless `found` is a tensor of one number, the expected one."""
    if isinstance(found, np.ndarray) and found.size == 1:
        found = found.reshape(())
    close(name, found, np.array(expected))


def distributed(name: str, draws: Array, chances: Array) -> None:
    """Pearson's chi-squared test that tokens were drawn with these chances, none of them rare.

    With an odd number of tokens the degrees of freedom 2m are even, and the chance of at least x is
    e^(-x/2) Σ_{k<m} (x/2)^k / k!.
    """
    if draws.min() < 0 or draws.max() >= len(chances):
        raise Wrong(f"{name}: tokens outside the vocabulary of {len(chances)}")
    counts = np.bincount(draws, minlength=len(chances))
    expected = chances * draws.size
    if expected.min() < 5:
        raise ValueError(
            "too few draws for the chi-squared distribution to be a good approximation"
        )
    half = float(((counts - expected) ** 2 / expected).sum()) / 2
    terms = (half**k / math.factorial(k) for k in range((len(chances) - 1) // 2))
    if math.exp(-half) * sum(terms) < CHANCE:
        raise Wrong(
            f"{name}: expected shares {np.round(chances, 3).tolist()}, "
            f"got {np.round(counts / draws.size, 3).tolist()}"
        )
