"""What does a tree of prefixes show? The best sequence in it, and what no sequence scores above.

A prefix of the tree is completed, open, or expanded: then some of its next tokens are prefixes of
their own and the others are known by the best and the sum of their probabilities. So nothing is
left out, and the tree is the evidence of a `beam.map` receipt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from unrolled.decoding.decoded import Decoded, Hypothesis, named, proved
from unrolled.decoding.objectives import Objective
from unrolled.errors import BadInput
from unrolled.receipts import Receipt
from unrolled.receipts.check import MAX_PREFIXES

WORST_TOLERANCE = 1e-3
"""Of the sum of next-token probabilities: beyond this they are no distribution."""


@dataclass
class Expansion:
    """A prefix whose next tokens are known, the best of them first, as far as they can matter."""

    values: Float[Tensor, " children"]
    tokens: Tensor
    below: float
    """The best log-probability among the tokens that can't matter."""
    mass: float
    """The sum of all next-token probabilities."""
    cursor: int = 0
    listed: dict[int, float] = field(default_factory=dict)
    """Children that are prefixes of their own: token and log-probability."""

    def rest(self) -> float:
        """The best log-probability among the tokens that aren't listed."""
        while self.cursor < len(self.tokens) and int(self.tokens[self.cursor]) in self.listed:
            self.cursor += 1
        return float(self.values[self.cursor]) if self.cursor < len(self.tokens) else self.below


@dataclass
class Node:
    """A prefix in the tree."""

    parent: int
    token: int
    log_prob: float
    total: float
    length: int
    expansion: Expansion | None = None


@dataclass(frozen=True)
class Exact:
    """The best sequence found, and what no sequence scores above."""

    best: Hypothesis | None
    upper_bound: float
    optimal: bool
    rows: int
    """Model rows used, beside those of beam search."""
    reason: str
    tree: list[Node]
    source: list[int]
    objective: Objective
    vocab_size: int
    end_token: int
    max_length: int
    first: Decoded
    """What beam search found, from which the search set out."""
    ruled: bool = False
    """Whether processors changed the model's probabilities."""
    weights: str = "float32"
    """The format of the model's weights."""

    @property
    def gap(self) -> float:
        """How far above the answer another sequence could score at most; inf without an answer."""
        if self.optimal:
            return 0.0
        return math.inf if self.best is None else self.upper_bound - self.best.score

    def receipt(self) -> Receipt:
        """Kind `beam.map`: every prefix that was looked at, and the best of all that was not.

        Raises `BadInput` where nothing was completed, where the next-token probabilities don't add
        up to 1, and for a map of more prefixes than the checker reads.
        """
        if self.best is None:
            raise BadInput("no hypothesis completed: there is nothing to give a receipt for")
        if self.ruled:
            raise BadInput(
                "rules change the probabilities, which then don't add up to 1, and nothing shows "
                "that a map is whole: leave the rules out, or take beam search's own receipt"
            )
        if len(self.tree) - 1 > MAX_PREFIXES:
            count = len(self.tree) - 1
            raise BadInput(
                f"the map has {count:,} prefixes and the checker reads {MAX_PREFIXES:,}"
                f": a budget of {MAX_PREFIXES // 2:,} rows or fewer always leads to one that fits"
            )
        rejected, worst = [], 1e-9
        for number, node in enumerate(self.tree):
            if node.expansion is None:
                continue
            best, mass = _rest(node.expansion, self.vocab_size)
            off = abs(sum(map(math.exp, node.expansion.listed.values())) + math.exp(mass) - 1.0)
            worst = max(worst, 1.001 * off)
            if len(node.expansion.listed) < self.vocab_size:
                rejected.append([number, _finite(best), _finite(mass)])
        if worst > WORST_TOLERANCE:
            raise BadInput(
                "the scorer's next-token probabilities don't add up to 1 "
                f"(off by {worst:.2g}): nothing shows that the map is whole"
            )
        prefixes = [[n.parent, n.token, _finite(n.log_prob)] for n in self.tree[1:]]
        given = {
            "vocab_size": self.vocab_size,
            "end_token": self.end_token,
            "max_length": self.max_length,
            "objective": self.objective.name,
            "source": self.source,
            **named(self.weights),
        }
        answer = {"tokens": self.best.tokens, "score": self.best.score}
        tolerance = 10.0 ** math.ceil(math.log10(worst))
        evidence = {"prefixes": prefixes, "rejected": rejected, "tolerance": tolerance}
        return proved("beam.map", given, answer, evidence)


def _finite(value: float) -> float | None:
    return value if value > -math.inf else None


def _rest(expansion: Expansion, vocab_size: int) -> tuple[float, float]:
    """The best and the sum of the probabilities of all unlisted next tokens, as logarithms."""
    best, count = expansion.rest(), vocab_size - len(expansion.listed)
    if best == -math.inf or not count:
        return -math.inf, -math.inf
    left = expansion.mass - sum(map(math.exp, expansion.listed.values()))
    # The difference is known to 1e-16 or so, which may be more than what is left.
    log = math.log(left) if left > 0.0 else -math.inf
    return best, min(max(log, best), best + math.log(count))
