"""What is the best hypothesis, and what can a prefix still become?

A hypothesis with log-probability s and length n (the end token counts) scores

    log-probability      s
    length-normalised:α  s / n^α
    gnmt:α               s / ((5 + n) / 6)^α                Wu et al. 2016, equation 14
    word-reward:γ        s + γ n                             He et al. 2016
    bounded-reward:γ:L   s + γ min(n, L)                     Huang et al. 2017, Yang et al. 2018

**The bound.** Let s ≤ 0 be a live prefix's log-probability and t its length. A completion has a
length n in t + 1 .. N (N = max_length) and a log-probability s' ≤ s, because each token adds
log p ≤ 0. All scores grow with s' at fixed n, so none is above max over n of score(s, n). That is
monotone in n, and its maximum stands at an end: with s ≤ 0, s / n^α grows towards 0 with n for
α ≥ 0 (at N) and falls for α < 0 (at t + 1); γ n and γ min(n, L) grow for γ ≥ 0 and fall for γ < 0.
A prefix of length N has no completion: the bound is -inf.

α and γ are decimals, read as exact fractions. `compare` decides by whole numbers where binary64 is
too coarse, so a tie is a tie: s / n^(p/q) is compared as |s|^q n'^p with |s'|^q n^p.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from unrolled.errors import BadInput

POWERS = {"length-normalised": 0, "gnmt": 5}
"""What is added to the length before it is raised to the power."""
NAMES = "log-probability, length-normalised:0.6, gnmt:0.6, word-reward:0.5 or bounded-reward:0.5:20"
NUMBER = re.compile(r"-?[0-9]{1,3}(\.[0-9]{1,3})?")
CLOSE = 1e-11
"""Scores nearer than this, relative to their size, are compared by whole numbers."""


@dataclass(frozen=True)
class Objective:
    """A score of (log-probability, length), parsed by `parse_objective`."""

    name: str
    kind: str
    number: Fraction = Fraction(0)
    """α or γ."""
    limit: int = 0
    """L."""

    @cached_property
    def grows(self) -> bool:
        """Whether a longer hypothesis of the same log-probability scores no worse."""
        return self.number >= 0

    @property
    def alpha(self) -> float:
        """The power of the length, for the two that have one; else 0."""
        return float(self.number) if self.kind in POWERS else 0.0

    def _divisor(self, length: int) -> float:
        shift = POWERS[self.kind]
        return float(((length + shift) / (1 + shift)) ** float(self.number))

    def _reward(self, length: int) -> Fraction:
        counted = min(length, self.limit) if self.kind == "bounded-reward" else length
        return self.number * counted

    def score(self, log_prob: float, length: int) -> float:
        """The score of a hypothesis; powers to 2 units in the last place, else rounded once."""
        if log_prob == -math.inf:
            return -math.inf
        if self.kind in POWERS:
            return log_prob / self._divisor(length)
        return float(Fraction(log_prob) + self._reward(length)) if self.number else log_prob

    def best_length(self, length: int, max_length: int) -> int | None:
        """The length in length + 1 .. max_length at which a completion scores best, if any."""
        if length >= max_length:
            return None
        return max_length if self.grows else length + 1

    def bound(self, log_prob: float, length: int, max_length: int) -> float:
        """No completion of a live prefix with this log-probability and length scores higher.

        For log-probabilities that are at most 0 (see the file's docstring); -inf where
        `max_length` leaves no room for an end token.
        """
        best = self.best_length(length, max_length)
        return -math.inf if best is None else self.score(log_prob, best)

    def least(self, score: float, length: int) -> float:
        """A log-probability just below what scores `score` at this length: for choosing rows."""
        if score == -math.inf:
            return -math.inf
        exact = score * self._divisor(length) if self.kind in POWERS else score
        exact -= 0.0 if self.kind in POWERS else float(self._reward(length))
        return exact - 1e-9 * (1.0 + abs(exact))

    def compare(self, s: float, n: int, other_s: float, other_n: int) -> int:
        """-1, 0 or 1: (s, n) scores lower than, the same as, or higher than the other; exact."""
        if n == other_n or not self.number:  # at one length all scores grow with s
            return (s > other_s) - (s < other_s)
        a, b = self.score(s, n), self.score(other_s, other_n)
        # A sum may be near 0 while its parts, and their rounding, are not: hence the second term.
        near = CLOSE * max(abs(a), abs(b)) + (0.0 if self.kind in POWERS else 1e-9)
        if math.isinf(a) or math.isinf(b) or abs(a - b) > near:
            return (a > b) - (a < b)
        return self._compare_exactly(s, n, other_s, other_n)

    def _compare_exactly(self, s: float, n: int, other_s: float, other_n: int) -> int:
        x, y = Fraction(s), Fraction(other_s)
        if self.kind not in POWERS or x * y <= 0:
            if self.kind not in POWERS:
                x, y = x + self._reward(n), y + self._reward(other_n)
            return (x > y) - (x < y)
        p, q = self.number.numerator, self.number.denominator
        m, other_m = n + POWERS[self.kind], other_n + POWERS[self.kind]
        if p < 0:
            p, m, other_m = -p, other_m, m
        left: Fraction
        right: Fraction
        left, right = abs(x) ** q * other_m**p, abs(y) ** q * m**p
        sign = 1 if x > 0 else -1
        return sign * ((left > right) - (left < right))


def parse_objective(name: str) -> Objective:
    """The objective of that name. Raises `BadInput` with the list of them."""
    kind, *numbers = name.split(":")
    wanted = {"log-probability": 0, "bounded-reward": 2}.get(kind, 1)
    known = kind in POWERS or kind in ("log-probability", "word-reward", "bounded-reward")
    if not known or len(numbers) != wanted or (wanted and not NUMBER.fullmatch(numbers[0])):
        raise BadInput(
            f"unknown objective {name!r}: choose {NAMES} (numbers up to 3 decimals; a length L)"
        )
    number = Fraction(numbers[0]) if numbers else Fraction(0)
    if kind in POWERS and abs(number) > 10:
        raise BadInput(f"objective {name!r}: α lies in -10 .. 10")
    limit = 0
    if wanted == 2:
        if not re.fullmatch("[1-9][0-9]{0,5}", numbers[1]):
            raise BadInput(f"objective {name!r}: L is a length of 1 token or more")
        limit = int(numbers[1])
    return Objective(name, kind, number, limit)
