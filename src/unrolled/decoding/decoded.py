"""What did beam search find, why did it stop, and is its answer the best there is?

Every sequence leaves the beam in one of three ways: it is completed in it, it continues a prefix
that was live at the end, or it continues a candidate that was rejected. So no sequence scores above
the largest of: the best completed score, the bound of the best live prefix, and for each step t the
bound of the best rejected candidate over the lengths t .. max_length (it may have ended itself).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from unrolled.decoding.objectives import Objective
from unrolled.errors import BadInput
from unrolled.receipts import Receipt
from unrolled.receipts.check import Malformed


class Kept(NamedTuple):
    """A candidate that entered the beam."""

    parent: int
    """Its parent's rank among the kept of the step before; 0 in the first step."""
    token: int
    log_prob: float
    """Of the token alone."""
    total: float
    """Of the whole prefix."""


class Step(NamedTuple):
    """One step of the search: what was kept, best first, and the best that was not."""

    kept: list[Kept]
    rejected: float | None
    """The log-probability of the best rejected prefix; None if nothing possible was rejected."""


@dataclass(frozen=True)
class Hypothesis:
    """A sequence with its scores."""

    tokens: list[int]
    """The end token included, where it was reached."""
    log_prob: float
    score: float
    completed: bool
    """False only under Hugging Face's rules, which let what is cut at max_length compete."""


@dataclass(frozen=True)
class Decoded:
    """The answer for one source; `hypotheses` is empty where nothing was completed in time."""

    hypotheses: list[Hypothesis]
    """Best first."""
    trace: Sequence[Step]
    live: list[tuple[list[int], float]]
    """Prefixes that were still live at the end, best first, with their log-probabilities."""
    reason: str
    """Why the search stopped, in words."""
    stop: str
    """The rule that was used: `exhaustive` where a processor takes the others' proof away."""
    source: list[int]
    objective: Objective
    vocab_size: int
    end_token: int
    beam_size: int
    max_length: int
    below_zero: bool = True
    """Whether no step could add to a score: False with a processor that breaks the bound."""
    rules: tuple[str, ...] = ()
    """What changed the model's log-probabilities, as `processors.rule_of` writes it."""
    weights: str = "float32"
    """The format of the model's weights."""

    @property
    def steps(self) -> int:
        """Steps of the model that were used."""
        return len(self.trace)

    def bounds(self) -> list[tuple[float, int]]:
        """(log-probability, length) pairs; no sequence outside the beam scores above all."""
        pairs = []
        for t, step in enumerate(self.trace, 1):
            best = self.objective.best_length(t - 1, self.max_length)
            if step.rejected is not None and best is not None:
                pairs.append((step.rejected, best))
        best = self.objective.best_length(self.steps, self.max_length)
        if self.live and best is not None:
            pairs.append((self.live[0][1], best))
        return pairs

    @property
    def upper_bound(self) -> float:
        """No sequence of at most max_length tokens scores above this."""
        if not self.below_zero:
            return math.inf
        scores = [self.objective.score(s, n) for s, n in self.bounds()]
        return max([h.score for h in self.hypotheses[:1]] + scores, default=-math.inf)

    @property
    def optimal(self) -> bool:
        """Whether the answer is the best of all sequences, not only the beam's."""
        if not self.below_zero or not self.hypotheses or not self.hypotheses[0].completed:
            return False
        best = self.hypotheses[0]
        compare, length = self.objective.compare, len(best.tokens)
        return all(compare(s, n, best.log_prob, length) <= 0 for s, n in self.bounds())

    @property
    def gap(self) -> float:
        """How far above the answer another sequence could score at most; inf without an answer."""
        if self.optimal:
            return 0.0
        return self.upper_bound - self.hypotheses[0].score if self.hypotheses else math.inf

    def places(self) -> set[tuple[int, int]]:
        """(step, rank) of every token of the answer, steps from 1."""
        if not self.hypotheses:
            return set()
        wanted = self.hypotheses[0].tokens
        for rank in range(len(self.trace[len(wanted) - 1].kept)):
            places, found, at = set(), [], rank
            for step in range(len(wanted), 0, -1):
                kept = self.trace[step - 1].kept[at]
                places.add((step, at))
                found.append(kept.token)
                at = kept.parent
            if found[::-1] == wanted:
                return places
        return set()

    def receipt(self) -> Receipt:
        """Kind `beam.stop`: the trace, from which the checker finds the answer and the stop again.

        Raises `BadInput` under Hugging Face's rules, which prove nothing.
        """
        if self.stop.startswith("hf:"):
            raise BadInput(
                f"the stop rule {self.stop} proves nothing about its answer: "
                "use optimal, nth or exhaustive for a receipt"
            )
        given: dict[str, Any] = {
            "vocab_size": self.vocab_size,
            "end_token": self.end_token,
            "beam_size": self.beam_size,
            "max_length": self.max_length,
            "objective": self.objective.name,
            "source": self.source,
        }
        if not self.below_zero:
            given["keeps_bound"] = False
        if self.rules:
            given["rules"] = list(self.rules)
        given |= named(self.weights)
        answer: dict[str, Any] = {}
        if self.hypotheses:
            best = self.hypotheses[0]
            answer = {"tokens": best.tokens, "score": best.score}
        steps = [
            {"kept": [[k.parent, k.token, k.log_prob] for k in s.kept], "rejected": s.rejected}
            for s in self.trace
        ]
        length = self.objective.best_length(self.steps, self.max_length)
        bound = None
        if self.live and length is not None:
            bound = self.objective.score(self.live[0][1], length)
        return proved("beam.stop", given, answer, {"steps": steps, "bound": bound})


def named(weights: str) -> dict[str, Any]:
    """What a receipt's "given" says of the format of the weights: nothing if it is float32."""
    return {} if weights == "float32" else {"weights": weights}


def proved(
    kind: str, given: dict[str, Any], answer: dict[str, Any], evidence: dict[str, Any]
) -> Receipt:
    """The receipt; raises `BadInput` for a search larger than the checker reads."""
    try:
        return Receipt.prove(kind, given, answer, evidence)
    except Malformed as error:
        raise BadInput(f"this search is too large for a receipt: {error}") from None
